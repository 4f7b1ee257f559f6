"""Label Studio: ``tasks.json`` (``tasks_<split>.json``) to import, ``labeling_config.xml``.

Boxes are per cent of the picture upright, as browsers show it: left, top, width and height. What
has scores are predictions, what has none annotations. An image is given by its address: by default
that of a local file (a Local Files storage must be there for its folder, see docs/data.md).
"""

import json
import os
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from yolov1.data.formats.writing import labelled
from yolov1.files import replacing


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    labelled.require_xml(splits, "label_studio")
    folder.mkdir(parents=True, exist_ok=True)
    files = labelled.files_of(splits, folder, options, "data.write")
    for split, dataset, stem in labelled.named(splits, "tasks"):
        paths = _relative_to(options.image_root, files[split])
        tasks = [
            _task(path, example, dataset.classes, options)
            for path, example in zip(paths, dataset, strict=True)
        ]
        with replacing(folder / f"{stem}.json") as file:
            json.dump(tasks, file)
    # It is pasted as text, and a text that declares an encoding is refused there.
    config = _config(dataset.classes)
    labelled.write_xml(folder / "labeling_config.xml", config, declaration=False)
    return labelled.turned(splits, "boxes are those of the picture upright, as browsers show it")


def _relative_to(root, files) -> list[str]:
    """The files' paths from a folder, with slashes.

    Raises:
        ValueError: one lies elsewhere.
    """
    root = Path(os.path.abspath(os.path.expanduser(root)))
    for file in files:
        if not file.is_relative_to(root):
            raise ValueError(f"the image {file} does not lie in {root} (--image_root).")
    return [file.relative_to(root).as_posix() for file in files]


def _task(path, example, classes, options):
    boxes, (height, width) = labelled.as_seen(example)
    result = [
        {
            "id": f"box{k}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": _value(box, classes[label]),
            **_notes(difficult, remark),
            **({} if score is None else {"score": _score(score)}),
        }
        for k, ((box, label, difficult, score), remark) in enumerate(
            zip(labelled.rows(boxes, example), labelled.remarks(example), strict=True)
        )
    ]
    # A file may have a name that is no UTF-8: the bytes of its name are what an address holds.
    task = {"data": {"image": options.image_url + quote(path, errors="surrogateescape")}}
    if example.scores is None:
        return task | {"annotations": [{"result": result}]}
    mean = sum(map(_score, example.scores)) / len(result) if result else 0.0
    prediction = {"model_version": options.program, "score": mean, "result": result}
    return task | {"predictions": [prediction]}


def _notes(difficult, remark) -> dict:
    """What Label Studio shows beside a region, or nothing."""
    texts = ["difficult"] * bool(difficult) + [remark] * bool(remark)
    return {"meta": {"text": texts}} if texts else {}


def _value(box_xyxy, name):
    x0, y0, x1, y1 = (100 * box_xyxy).tolist()
    sides = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    return sides | {"rotation": 0, "rectanglelabels": [name]}


def _score(score) -> float:
    """Label Studio refuses others than [0, 1]."""
    return min(max(float(score), 0.0), 1.0)


def _config(classes):
    view = ElementTree.Element("View")
    labelled.add(view, "Image", name="image", value="$image")
    labels = labelled.add(view, "RectangleLabels", name="label", toName="image")
    for name in classes:
        labelled.add(labels, "Label", value=name)
    return view
