"""What the writers share: options, boxes in pixels, images where they lie, texts for XML."""

import dataclasses
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from yolov1.boxes import clip_xyxy, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolov1.data import images
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing

DECIMALS = 3  # of a pixel; whole ones are written as such
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclasses.dataclass(frozen=True)
class Options:
    """How to write.

    Attributes:
        link: hard links to the images instead of copies, where that is possible.
        difficult: write boxes marked difficult also where the format cannot mark them.
        upright: a photo that EXIF turns becomes an upright PNG in the formats of data sets, with
            its boxes turned, so that every program sees the same, whether it minds EXIF or not.
        image_url: what comes before the path of an image in Label Studio's tasks.
        image_root: the folder that this path is relative to.
        program: what found the boxes that have scores.
    """

    link: bool = True
    difficult: bool = False
    upright: bool = False
    image_url: str = "/data/local-files/?d="
    image_root: str = "/"
    program: str = "yolov1"


def upright(example):
    """The example as a person sees it: of a photo that EXIF turns, one that is drawn upright."""
    if example.orientation == 1:
        return example
    boxes, size = as_seen(example)
    return dataclasses.replace(
        example,
        boxes_cxcywh=xyxy_to_cxcywh(boxes),
        size=size,
        orientation=1,
        jpeg=False,
        path=None,
        place=None,
        draw=lambda: images.decode(example.path or example.encoded, upright=True),
    )


def as_seen(example):
    """(corners ``[M, 4]`` float64 in fractions, (height, width)) of the picture upright."""
    boxes = images.turn_boxes(corners(example), example.orientation)
    return boxes, example.size[::-1] if example.orientation >= 5 else example.size


def corners(example) -> np.ndarray:
    """float64 ``[M, 4]``, fractions of the image as it is stored."""
    return clip_xyxy(cxcywh_to_xyxy(example.boxes_cxcywh.astype(np.float64)))


def in_pixels(boxes_xyxy, size) -> list[list[float]]:
    """Corners in pixels, rounded to `DECIMALS`; a box that would vanish is not rounded.

    Whole numbers are ints, so that what came from whole pixels is written as it was.
    """
    height, width = size
    exact = boxes_xyxy * (width, height, width, height)
    rounded = np.round(exact, DECIMALS)
    vanished = (rounded[:, 2:] <= rounded[:, :2]).any(axis=1, keepdims=True)
    rows = np.where(vanished, exact, rounded).tolist()
    return [[int(v) if v.is_integer() else v for v in row] for row in rows]


def of_pixels(value) -> float | int:
    """A difference of corners in pixels, without the digits that binary fractions leave."""
    return round(value, 9)


def scores(example) -> list:
    """A score or None of each box."""
    return [None] * len(example.labels) if example.scores is None else example.scores.tolist()


def remarks(example) -> list[str]:
    """A remark of each box, empty where there is none."""
    return [""] * len(example.labels) if example.remarks is None else list(example.remarks)


def rows(boxes, example):
    """(box, label, whether it is difficult, score or None) of each box."""
    return zip(boxes, example.labels, example.difficult, scores(example), strict=True)


def named(splits, stem):
    """(split, data set, stem of its file): `stem` where there is one split without a name."""
    for split, dataset in splits.items():
        yield split, dataset, stem if split is None else f"{stem}_{split}"


def files_of(splits, folder, options, op):
    """{split: where the image of each example lies}: in its own file, else put into the folder."""
    found = {}
    for split, dataset in splits.items():
        names = file_names(dataset, op)
        found[split] = files = []
        for example, name in zip(dataset, names, strict=True):
            file = example.path
            if file is None:
                file = folder / "images" / (split or "") / name
                place_image(example, file, options.link)
            files.append(Path(os.path.abspath(file)))
    return found


def turned(splits, what):
    """A remark on the photos that EXIF turns, if there are any."""
    found = [e for dataset in splits.values() for e in dataset if e.orientation != 1]
    if not found:
        return []
    more = f", and {len(found) - 1} more photos are turned" if len(found) > 1 else ""
    first = f"EXIF orientation {found[0].orientation}{more}: {what}"
    return [(str(found[0].path or found[0].image_id), first)]


def require_xml(splits, kind):
    """Raises ValueError for a class name with a character that XML has no way to write."""
    for name in next(iter(splits.values())).classes:
        if NO_XML.search(name):
            raise ValueError(
                f"data.write to {kind}: the class name {name!r} has a character that XML cannot "
                "hold. Rename the class."
            )


def xml_text(value) -> str:
    """A value as XML can hold it: what no XML may hold becomes ``_``."""
    return NO_XML.sub("_", str(value))


def add(parent, tag, text=None, /, **attributes):
    """A new element below another; gives it."""
    texts = {key: xml_text(value) for key, value in attributes.items()}
    node = ElementTree.SubElement(parent, tag, texts)
    node.text = None if text is None else xml_text(text)
    return node


def write_xml(file, root, declaration=True):
    ElementTree.indent(root)
    with replacing(file, binary=True) as stream:
        tree = ElementTree.ElementTree(root)
        tree.write(stream, encoding="utf-8", xml_declaration=declaration)
