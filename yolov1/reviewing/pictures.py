"""A suspect as a picture: what is around it, the label in question and what the network sees."""

import numpy as np

from yolov1 import inference
from yolov1.evaluation import GroundTruth
from yolov1.reporting.closeup import CloseUp
from yolov1.reviewing.boxes import corners

SIDE = 300  # of a picture, in pixels
AROUND, LEAST = 2.4, 0.12  # of `CloseUp`


def draw(suspect, example, classes) -> np.ndarray:
    """The neighbourhood of a suspect, upright: all labels thin and white, the one in question and
    what the network sees (or the label that it repeats) in colours with their names.

    Returns:
        uint8 ``[h, w, 3]``, the longer side `SIDE`.
    """
    labels = corners(example)
    boxes, names = [], []
    if suspect.label is not None:
        boxes.append(labels[suspect.label])
        names.append(f"label: {classes[example.labels[suspect.label]]}")
    if suspect.seen_class is not None:
        boxes.append(suspect.seen_box_xyxy)
        names.append(f"seen: {classes[suspect.seen_class]} {suspect.seen_score:.2f}")
    if suspect.other is not None:
        boxes.append(labels[suspect.other])
        names.append(f"label: {classes[example.labels[suspect.other]]}")
    image, turned = example.image, example.orientation
    view = CloseUp(image, boxes, turned, side=SIDE, around=AROUND, least=LEAST)
    # A label keeps its colour, whatever there is besides.
    colours = np.arange(len(boxes)) + (suspect.label is None)
    return inference.draw(
        view.picture,
        GroundTruth(view.inside(boxes), colours),
        ["", *names] if suspect.label is None else names,
        truth=view.objects(example),
    )
