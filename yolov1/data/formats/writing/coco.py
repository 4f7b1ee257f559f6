"""COCO JSON, as `yolov1.data.formats.coco` reads it.

``annotations/instances_<split>.json`` with the images in ``images/<split>/``. A box is (left, top,
width, height) in pixels with three decimals; ids count from 1, over all splits. What is difficult
has the key ``difficult``: ``iscrowd`` means a group. Of detections every annotation has a
``score``, and ``results_<split>.json`` holds the list of results that evaluators read.
"""

import itertools
import json

from yolov1.data.formats.writing import labelled
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    image_ids, annotation_ids = itertools.count(1), itertools.count(1)
    for split, dataset in splits.items():
        split = split or "train"
        listed, annotations = [], []
        for name, example in zip(file_names(dataset, "data.write"), dataset, strict=True):
            place_image(example, folder / "images" / split / name, options.link)
            height, width = example.size
            image = {"id": next(image_ids), "file_name": name, "width": width, "height": height}
            listed.append(image)
            annotations += _annotations(example, image["id"], annotation_ids)
        content = {
            "images": listed,
            "annotations": annotations,
            "categories": [
                {"id": k, "name": name, "supercategory": ""}
                for k, name in enumerate(dataset.classes, start=1)
            ],
        }
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        _dump(content, folder / "annotations" / f"instances_{split}.json")
        if any(example.scores is not None for example in dataset):
            keys = ("image_id", "category_id", "bbox", "score")
            results = [{key: entry[key] for key in keys} for entry in annotations]
            _dump(results, folder / f"results_{split}.json")
    return []


def _annotations(example, image_id, ids):
    boxes = labelled.in_pixels(labelled.corners(example), example.size)
    for (x0, y0, x1, y1), label, difficult, score in labelled.rows(boxes, example):
        width, height = labelled.of_pixels(x1 - x0), labelled.of_pixels(y1 - y0)
        yield {
            "id": next(ids),
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [x0, y0, width, height],
            "area": labelled.of_pixels(width * height),
            "segmentation": [],
            "iscrowd": 0,
            **({"difficult": 1} if difficult else {}),
            **({} if score is None else {"score": score}),
        }


def _dump(content, path):
    with replacing(path) as file:
        json.dump(content, file)
