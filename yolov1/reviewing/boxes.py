"""Single boxes of an example: corners, overlap, and an example with others."""

import dataclasses

import numpy as np

from yolov1 import boxes as box_formats


def corners(example) -> np.ndarray:
    """float64 ``[M, 4]`` corners in fractions of the image as it is stored."""
    return box_formats.cxcywh_to_xyxy(example.boxes_cxcywh.astype(np.float64))


def iou(a_xyxy, b_xyxy) -> float:
    """Intersection over union of two boxes that have an area."""
    sides = np.minimum(a_xyxy[2:], b_xyxy[2:]) - np.maximum(a_xyxy[:2], b_xyxy[:2])
    both = np.maximum(sides, 0).prod()
    areas = (a_xyxy[2:] - a_xyxy[:2]).prod() + (b_xyxy[2:] - b_xyxy[:2]).prod()
    return float(both / (areas - both))


def with_rows(example, rows):
    """The example with other labels: (centre and size ``[4]``, label, difficult) of each."""
    boxes, labels, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    return dataclasses.replace(
        example, boxes_cxcywh=np.array(boxes), labels=labels, difficult=difficult, scores=None
    )


def rows_of(example) -> list[tuple]:
    """What `with_rows` takes, of an example's own labels."""
    return list(zip(example.boxes_cxcywh, example.labels, example.difficult, strict=True))
