"""The annotation of one image from any of its forms, and all of a data set as one table."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolov1.boxes import cxcywh_to_xyxy
from yolov1.data.example import Annotation, BadExampleError, usable_boxes
from yolov1.data.formats.fiftyone import names_in, parse_entries, read_labels
from yolov1.data.formats.values import number
from yolov1.data.formats.yolo import parse_labels
from yolov1.files import read_text

COLUMNS = ("id", "objClass", "boxCenterX", "boxCenterY", "boxWidth", "boxHeight")


class Boxes(NamedTuple):
    """The M objects of an image, as `yolov1.inference.draw` takes them."""

    boxes_cxcywh: np.ndarray  # float32 [M, 4], fractions of the image
    labels: np.ndarray  # int32 [M]
    classes: tuple[str, ...]  # names by label


def to_table(dataset) -> dict:
    """A row per object, difficult ones too, in the columns of the TensorFlow 2 post's data frame.

    Returns:
        {``id``: list of image ids, ``objClass``: int32 array, ``boxCenterX``, ``boxCenterY``,
        ``boxWidth``, ``boxHeight``: float32 arrays, fractions of the image}; what
        ``pandas.DataFrame`` takes. An image without objects has no row.
    """
    examples = list(dataset)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(e.boxes_cxcywh for e in examples)])
    labels = np.concatenate([np.zeros(0, np.int32), *(e.labels for e in examples)])
    ids = [e.image_id for e in examples for _ in e.labels]
    return dict(zip(COLUMNS, (ids, labels, *boxes.T), strict=True))


def read_annotation(source, image_id=None, classes=None) -> Boxes:
    """The boxes of one image, by the rules of the readers (see `example.usable_boxes`).

    Args:
        source: a text file with lines ``label cx cy w h``; a ``labels.json`` of FiftyOne; or a
            table: a data frame or a dict with the columns of `to_table`.
        image_id: which image of a ``labels.json`` or a table. Not needed where there is one. An
            image of which a table has no row is one without objects.
        classes: names by label. None: the names that a ``labels.json`` gives; elsewhere the labels
            themselves ("0", "1", ...).

    Raises:
        BadExampleError: a label or a box that cannot be used.
        FileNotFoundError: no such file.
        KeyError: a table without one of the columns, or no image of this id in a ``labels.json``.
        ValueError: there are several images and no `image_id`, or not a source.
    """
    suffix = Path(source).suffix.lower() if isinstance(source, (str, os.PathLike)) else None
    if isinstance(classes, str):
        classes = [name.strip() for name in classes.split(",")]
    if hasattr(source, "keys"):  # a data frame has them too
        annotation, classes = _from_table(source, image_id, classes)
        what = f"image {image_id}"
    elif suffix == ".json":
        annotation, classes = _from_json(source, image_id, classes)
        what = f"{source}: image {image_id}"
    elif suffix == ".txt":
        text = read_text(source)
        labels = (line.split()[0] for line in text.splitlines() if line.strip())
        classes = classes or _guarded(source, _numbers, labels)
        annotation = _guarded(source, parse_labels, text, classes)
        what = str(source)
    else:
        raise ValueError(
            "read_annotation: source must be a .txt file, a labels.json, or a table with the "
            f"columns {', '.join(COLUMNS)}; got {source!r}."
        )
    boxes, kept, _ = _guarded(what, usable_boxes, annotation, (1, 1))
    index_of = {name: k for k, name in enumerate(classes)}
    unknown = sorted(set(annotation.names) - set(index_of))
    if unknown:
        raise BadExampleError(
            f"{what}: unknown class {unknown[0]!r}; expected one of {', '.join(classes)}"
        )
    labels = [index_of[annotation.names[k]] for k in kept]
    return Boxes(boxes.astype(np.float32), np.array(labels, np.int32), tuple(classes))


def _guarded(what, function, *arguments):
    """Calls it; an error about the content says where."""
    try:
        return function(*arguments)
    except BadExampleError as error:
        raise BadExampleError(f"{what}: {error}") from None


def _numbers(labels):
    """Names for labels that have none: "0" up to the highest."""
    highest = -1
    for label in labels:
        try:
            highest = max(highest, int(float(label)))
        except (TypeError, ValueError, OverflowError):
            pass  # refused, with its place, by the caller
    if highest > 9999:
        raise BadExampleError(f"the label {highest} is no class index; give classes if it is one")
    return tuple(map(str, range(highest + 1)))


def _the_one(ids, source):
    if len(ids) != 1:
        raise ValueError(
            f"read_annotation: {source} has {len(ids)} images; say which with image_id."
        )
    return next(iter(ids))


def _from_json(file, image_id, classes):
    listed, labels = read_labels(file)
    if image_id is None:
        image_id = _the_one(labels, file)
    if image_id not in labels:
        raise KeyError(f"read_annotation: {file} has no image {image_id!r}.")
    annotation = _guarded(f"{file}: image {image_id}", parse_entries, labels[image_id], listed)
    return annotation, classes or listed or tuple(sorted(names_in(labels)))


def _from_table(table, image_id, classes):
    missing = [name for name in COLUMNS if name not in table.keys()]
    if missing:
        raise KeyError(f"read_annotation: the table has no column {', '.join(missing)}.")
    ids, labels, *box = (np.asarray(table[name]) for name in COLUMNS)
    if len({len(column) for column in (ids, labels, *box)}) > 1:
        raise ValueError("read_annotation: the columns of the table are of different lengths.")
    if image_id is None:
        image_id = _the_one(dict.fromkeys(ids.tolist()), "the table")
    if isinstance(image_id, str) != any(isinstance(i, str) for i in ids.tolist()) and len(ids):
        raise ValueError(
            f"read_annotation: the ids of the table are like {ids.tolist()[0]!r}, got image_id "
            f"{image_id!r}: one is text, the other not. (pandas reads names such as 0001 as "
            "numbers; dtype={'id': str} keeps them.)"
        )
    rows = ids == image_id
    names = classes or _numbers(labels)
    what = f"image {image_id}"
    cx, cy, w, h = (
        np.array([number(value, f"{what}: {name}") for value in column[rows].tolist()])
        for name, column in zip(COLUMNS[2:], box, strict=True)
    )
    if max((np.abs(column).max() for column in (cx, cy, w, h) if len(column)), default=0) > 2:
        raise BadExampleError(f"{what}: boxes must be fractions of the image, not pixels")
    labels = labels[rows]
    for label in labels.tolist():
        if label not in range(len(names)):
            raise BadExampleError(
                f"image {image_id}: unknown class {label}; expected an index below {len(names)}"
            )
    corners = cxcywh_to_xyxy(np.stack([cx, cy, w, h], axis=-1))
    found = [names[int(label)] for label in labels]
    return Annotation(corners, found, [False] * len(found), (1, 1)), names
