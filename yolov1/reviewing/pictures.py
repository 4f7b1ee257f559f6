"""A suspect as a picture: what is around it, the label in question and what the network sees."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from yolov1 import inference
from yolov1.data import images
from yolov1.reviewing.boxes import corners

SIDE = 300  # of a picture, in pixels
AROUND = 2.4  # how much is shown, in lengths of the longer side
LEAST = 0.12  # of the image's shorter side: a tiny object needs its surroundings to be recognised


class Drawn(NamedTuple):
    """Boxes as `inference.draw` takes them."""

    boxes_xyxy: np.ndarray
    labels: np.ndarray


def draw(suspect, example, classes) -> np.ndarray:
    """The neighbourhood of a suspect, upright: all labels thin and white, the one in question and
    what the network sees (or the label that it repeats) in colours with their names.

    Returns:
        uint8 ``[SIDE, SIDE, 3]``; grey beyond the edge of the image.
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
    boxes = images.turn_boxes(np.array(boxes, np.float64), example.orientation)
    picture = images.turn(example.image, example.orientation)
    window = _window(boxes, picture.shape[:2])
    # A label keeps its colour, whatever there is besides.
    colours = np.arange(len(boxes)) + (suspect.label is None)
    return inference.draw(
        _cut(picture, window),
        Drawn(_inside(boxes, window, picture.shape), colours),
        ["", *names] if suspect.label is None else names,
        truth=_others(images.turn_boxes(labels, example.orientation), window, picture.shape),
    )


def jpeg(picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=82)
    return stream.getvalue()


def _window(boxes_xyxy, size):
    """(left, top, side) in pixels of a square around the boxes."""
    height, width = size
    low = boxes_xyxy[:, :2].min(axis=0) * (width, height)
    high = boxes_xyxy[:, 2:].max(axis=0) * (width, height)
    side = max(AROUND * (high - low).max(), LEAST * min(size), 8)
    left, top = (low + high) / 2 - side / 2
    return round(left), round(top), round(side)


def _cut(picture, window):
    left, top, side = window
    square = Image.new("RGB", (side, side), (128, 128, 128))
    square.paste(Image.fromarray(picture).convert("RGB"), (-left, -top))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _others(boxes_xyxy, window, shape):
    boxes = _inside(boxes_xyxy, window, shape)
    boxes = boxes[(boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < 1).all(axis=1)]
    return Drawn(boxes, np.zeros(len(boxes), int))


def _inside(boxes_xyxy, window, shape):
    """Corners in fractions of the window."""
    left, top, side = window
    height, width = shape[:2]
    return (boxes_xyxy * (width, height, width, height) - (left, top, left, top)) / side
