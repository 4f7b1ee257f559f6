"""CVAT for images 1.1: ``annotations.xml`` and ``images/``, in a folder for each split.

Corners are in pixels of the picture upright, as CVAT shows it. Scores, what is difficult and, where
there are some, remarks are attributes, which a task takes whose labels have them: those of
``labels.json`` do (Raw, in the constructor of a task or project). ``annotations.xml`` is uploaded
to a task with these images; or the folder, zipped, is imported into a project.
"""

import json
from xml.etree import ElementTree

from yolov1.data.formats.writing import labelled
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing

ATTRIBUTES = {"score": ("text", ""), "difficult": ("checkbox", "false")}
REMARK = {"remark": ("text", "")}


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    labelled.require_xml(splits, "cvat")
    remarked = any(e.remarks is not None for dataset in splits.values() for e in dataset)
    attributes = ATTRIBUTES | (REMARK if remarked else {})
    for split, dataset in splits.items():
        document = ElementTree.Element("annotations")
        labelled.add(document, "version", "1.1")
        _describe(document, split, dataset, attributes)
        place = folder / (split or "")
        names = file_names(dataset, "data.write")
        for k, (name, example) in enumerate(zip(names, dataset, strict=True)):
            place_image(example, place / "images" / name, options.link)
            _add_image(document, k, name, example, dataset.classes)
        labelled.write_xml(place / "annotations.xml", document)
    with replacing(folder / "labels.json") as file:
        json.dump([_label(name, attributes) for name in dataset.classes], file, indent=1)
    return labelled.turned(splits, "boxes are those of the picture upright, as CVAT shows it")


def _label(name, attributes):
    listed = [
        {
            "name": attribute,
            "mutable": False,
            "input_type": kind,
            "default_value": default,
            "values": [default],
        }
        for attribute, (kind, default) in attributes.items()
    ]
    return {"name": name, "type": "rectangle", "attributes": listed}


def _describe(document, split, dataset, attributes):
    task = labelled.add(labelled.add(document, "meta"), "task")
    labelled.add(task, "name", split or dataset.name)
    labelled.add(task, "size", len(dataset))
    labelled.add(task, "mode", "annotation")
    labels = labelled.add(task, "labels")
    for name in dataset.classes:
        label = labelled.add(labels, "label")
        labelled.add(label, "name", name)
        labelled.add(label, "type", "rectangle")
        listed = labelled.add(label, "attributes")
        for attribute, (kind, default) in attributes.items():
            node = labelled.add(listed, "attribute")
            labelled.add(node, "name", attribute)
            labelled.add(node, "mutable", "False")
            labelled.add(node, "input_type", kind)
            labelled.add(node, "default_value", default)
            labelled.add(node, "values", default)


def _add_image(document, number, name, example, classes):
    boxes, size = labelled.as_seen(example)
    height, width = size
    image = labelled.add(document, "image", id=number, name=name, width=width, height=height)
    boxes = labelled.in_pixels(boxes, size)
    described = zip(labelled.rows(boxes, example), labelled.remarks(example), strict=True)
    for (corners, label, difficult, score), remark in described:
        source = "manual" if score is None else "auto"
        corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True))
        box = labelled.add(
            image, "box", label=classes[label], source=source, occluded=0, **corners, z_order=0
        )
        if score is not None:
            labelled.add(box, "attribute", score, name="score")
        labelled.add(box, "attribute", "true" if difficult else "false", name="difficult")
        if remark:
            labelled.add(box, "attribute", remark, name="remark")
