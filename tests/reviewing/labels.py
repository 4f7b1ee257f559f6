"""Data sets and detections written down by hand."""

import numpy as np

from yolov1 import boxes
from yolov1.data import Dataset, Example
from yolov1.inference import Detections

CLASSES = ("cat", "dog", "fox")
SIZE = (100, 200)  # height, width in pixels


def example(image_id, labels, difficult=()):
    """An example of (class, corners in fractions)."""
    corners = np.array([box for _, box in labels], np.float64).reshape(-1, 4)
    return Example(
        image_id=image_id,
        boxes_cxcywh=boxes.xyxy_to_cxcywh(corners),
        labels=[CLASSES.index(name) for name, _ in labels],
        difficult=[k in difficult for k in range(len(labels))],
        size=SIZE,
        draw=lambda: np.full((*SIZE, 3), 90, np.uint8),
    )


def dataset(*images):
    """A data set: of each image (class, corners) of its labels."""
    return Dataset(
        [example(f"image{k}", labels) for k, labels in enumerate(images)], CLASSES, name="by hand"
    )


def detections(*images):
    """Of each image (class, corners, score)."""
    return [
        Detections(
            np.array([box for _, box, _ in found], np.float64).reshape(-1, 4),
            np.array([score for *_, score in found], np.float64),
            np.array([CLASSES.index(name) for name, *_ in found], np.int32),
        )
        for found in images
    ]


def perfect(labelled, score=0.9):
    """Detections that are what the labels say."""
    return detections(
        *(
            [
                (CLASSES[label], boxes.cxcywh_to_xyxy(box.astype(np.float64)), score)
                for box, label in zip(one.boxes_cxcywh, one.labels, strict=True)
            ]
            for one in labelled
        )
    )
