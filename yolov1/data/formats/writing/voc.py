"""PASCAL VOC, as `yolov1.data.formats.voc` reads it.

``Annotations/*.xml``, ``JPEGImages/*``, ``ImageSets/Main/<split>.txt`` and ``classes.txt``. A
corner is the fraction of the image times its side, nothing added: what the reader takes away. It is
a whole number where the box lies on whole pixels, else it has three decimals, as some of VOC's own
have: rounding to whole pixels would make boxes of different objects one. A detection has its
``<score>``.
"""

import dataclasses
import os
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from yolov1.data.formats.writing import labelled
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    labelled.require_xml(splits, "voc")
    names = _names(splits)
    for place in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for split, dataset in splits.items():
        for name, example in zip(names[split], dataset, strict=True):
            place_image(example, folder / "JPEGImages" / name, options.link)
            root = _annotation(folder.name, name, example, dataset.classes)
            labelled.write_xml(folder / "Annotations" / f"{Path(name).stem}.xml", root)
        with replacing(folder / "ImageSets" / "Main" / f"{split or 'train'}.txt") as file:
            file.writelines(f"{Path(name).stem}\n" for name in names[split])
    with replacing(folder / "labelmap.txt") as file:  # for Datumaro and CVAT
        file.writelines(["# label:color_rgb:parts:actions\n"])
        file.writelines(f"{name}:::\n" for name in dataset.classes if ":" not in name)
    with replacing(folder / "classes.txt") as file:
        file.writelines(f"{name}\n" for name in dataset.classes)
    return []


def _names(splits):
    """{split: file names}, for all of them in one folder; an image of two splits has one."""
    sources = defaultdict(set)  # id -> the different images that have it
    for dataset in splits.values():
        for example in dataset:
            sources[example.image_id].add(_key(example))
    once = {}
    for split, dataset in splits.items():
        for example in dataset:
            one = example.image_id
            other = one if len(sources[one]) == 1 else f"{split}/{one}"
            once.setdefault(_key(example), dataclasses.replace(example, image_id=other))
    name_of = dict(zip(once, file_names(once.values(), "data.write"), strict=True))
    return {
        split: [name_of[_key(example)] for example in dataset] for split, dataset in splits.items()
    }


def _key(example):
    """Which image of which id it is."""
    path = example.path and os.path.realpath(example.path)
    return example.image_id, path or example.place or id(example)


def _annotation(folder, name, example, classes):
    root = ElementTree.Element("annotation")
    labelled.add(root, "folder", folder)
    labelled.add(root, "filename", name)
    size = labelled.add(root, "size")
    for side, value in zip(("width", "height", "depth"), (*example.size[::-1], 3), strict=True):
        labelled.add(size, side, value)
    labelled.add(root, "segmented", 0)
    boxes = labelled.in_pixels(labelled.corners(example), example.size)
    for box, label, difficult, score in labelled.rows(boxes, example):
        node = labelled.add(root, "object")
        labelled.add(node, "name", classes[label])
        labelled.add(node, "pose", "Unspecified")
        labelled.add(node, "truncated", 0)
        labelled.add(node, "difficult", int(difficult))
        if score is not None:
            labelled.add(node, "score", score)
        bndbox = labelled.add(node, "bndbox")
        for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            labelled.add(bndbox, corner, value)
    return root
