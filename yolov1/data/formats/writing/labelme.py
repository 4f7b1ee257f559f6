"""LabelMe: a JSON file beside each image, in a folder for each split, and ``labels.txt``.

Corners are in pixels of the picture upright, as LabelMe shows it. A rectangle keeps its score (and
that it is difficult, as a flag); LabelMe hands on what it does not know.
"""

import json
from pathlib import Path

from yolov1.data.formats.writing import labelled
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing

VERSION = "5.5.0"  # whose form this is; later ones read it


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    for split, dataset in splits.items():
        place = folder / (split or "")
        for name, example in zip(file_names(dataset, "data.write"), dataset, strict=True):
            place_image(example, place / name, options.link)
            with replacing(place / f"{Path(name).stem}.json") as file:
                json.dump(_label_file(name, example, dataset.classes), file, indent=1)
    with replacing(folder / "labels.txt") as file:
        file.writelines(f"{name}\n" for name in next(iter(splits.values())).classes)
    return labelled.turned(splits, "boxes are those of the picture upright, as LabelMe shows it")


def _label_file(name, example, classes):
    boxes, size = labelled.as_seen(example)
    boxes = labelled.in_pixels(boxes, size)
    shapes = [
        {
            "label": classes[label],
            "points": [[x0, y0], [x1, y1]],
            "group_id": None,
            "description": "" if score is None else f"score {score:.3f}",
            "shape_type": "rectangle",
            "flags": {"difficult": True} if difficult else {},
            "mask": None,
            **({} if score is None else {"score": score}),
        }
        for (x0, y0, x1, y1), label, difficult, score in labelled.rows(boxes, example)
    ]
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
