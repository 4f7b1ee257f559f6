"""Pictures of the worst errors: what is around a box, small enough that a page holds a hundred."""

import itertools

import numpy as np
from PIL import Image, ImageDraw

from yolov1 import boxes as box_formats
from yolov1 import inference
from yolov1.data import images
from yolov1.evaluation import GroundTruth
from yolov1.inference import Detections

SIDE = 208  # pixels of a picture's longer side
AROUND = 1.7  # sides of the window, of the longest side of what it shows
LEAST = 0.3  # of the image's shorter side
QUALITY = 75


def write_crops(folder, worst, dataset):
    """One JPEG for each of `worst`, ``000.jpg`` and so on; those of an earlier time are removed.

    A false detection is in the colour of its class with its score, a missed object with its name
    alone; all objects there are thin and white, and the one that a detection is about is thicker.

    Args:
        folder: made where there is something to draw.
        worst: of `evaluation.shortcomings`.
        dataset: what was measured.
    """
    for old in folder.glob("[0-9][0-9][0-9].jpg"):
        old.unlink()
    if worst:
        folder.mkdir(parents=True, exist_ok=True)
    order = sorted(range(len(worst)), key=lambda k: worst[k]["index"])
    for index, mine in itertools.groupby(order, lambda k: worst[k]["index"]):
        example = dataset[index]
        image = example.image  # read once for all that is in it
        for k in mine:
            picture = Image.fromarray(crop(image, example, worst[k], dataset.classes))
            picture.save(folder / f"{k:03d}.jpg", quality=QUALITY)


def crop(image, example, entry, classes):
    """What is around the boxes of an entry of `worst`, drawn: uint8 ``[h, w, 3]``."""
    missed = entry["kind"] == "missed"
    subject = entry["object" if missed else "detection"]
    shown = [part["box_xyxy"] for part in (entry["detection"], entry["object"]) if part]
    if missed and (entry["iou"] or 0) == 0:
        shown = [subject["box_xyxy"]]
    window = _window(np.array(shown, float), image.shape[:2])
    left, top, right, bottom = window
    part = images.turn(image[top:bottom, left:right], example.orientation)
    scale = SIDE / max(part.shape[:2])
    size = [max(1, round(side * scale)) for side in part.shape[1::-1]]
    part = Image.fromarray(part).resize(size, Image.BICUBIC)

    def inside(boxes_xyxy):
        """Fractions of the image to those of the turned window, clipped to it."""
        height, width = image.shape[:2]
        pixels = box_formats.scale_xyxy(np.asarray(boxes_xyxy, float), width, height)
        moved = (pixels - (left, top, left, top)) / np.tile((right - left, bottom - top), 2)
        return images.turn_boxes(box_formats.clip_xyxy(moved), example.orientation)

    truth = inside(box_formats.cxcywh_to_xyxy(np.asarray(example.boxes_cxcywh)))
    there = (truth[:, 2] > truth[:, 0]) & (truth[:, 3] > truth[:, 1])
    truth = GroundTruth(truth[there], example.labels[there])
    label = np.array([classes.index(subject["class"])])
    box = inside([subject["box_xyxy"]])
    boxes = GroundTruth(box, label) if missed else Detections(box, [subject["score"]], label)
    if entry["object"] and not missed:  # which of the objects it is about
        (corners,) = box_formats.scale_xyxy(inside([entry["object"]["box_xyxy"]]), *size)
        ImageDraw.Draw(part).rectangle(tuple(corners.round()), outline="white", width=3)
    return inference.draw(np.asarray(part), boxes, classes, truth=truth)


def _window(boxes_xyxy, size):
    """(left, top, right, bottom) in pixels of a square around all boxes, moved into the image."""
    limits = np.array(size[::-1], float)
    corners = box_formats.clip_xyxy(boxes_xyxy) * np.tile(limits, 2)
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    side = max(AROUND * (high - low).max(), LEAST * limits.min(), 1)
    sides = np.minimum(np.ceil(side), limits)
    start = np.clip(np.round((low + high - sides) / 2), 0, limits - sides)
    return (*start.astype(int), *(start + sides).astype(int))
