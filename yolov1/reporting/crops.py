"""Pictures of the worst errors: what is around a box, small enough that a page holds a hundred."""

import itertools

import numpy as np
from PIL import Image, ImageDraw

from yolov1 import inference
from yolov1.evaluation import GroundTruth
from yolov1.inference import Detections
from yolov1.reporting.closeup import CloseUp

SIDE = 208  # pixels of a picture's longer side
AROUND, LEAST = 1.7, 0.3  # of `CloseUp`
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
    view = CloseUp(image, shown, example.orientation, side=SIDE, around=AROUND, least=LEAST)
    label = np.array([classes.index(subject["class"])])
    box = view.inside([subject["box_xyxy"]])
    boxes = GroundTruth(box, label) if missed else Detections(box, [subject["score"]], label)
    picture = Image.fromarray(view.picture)
    if entry["object"] and not missed:  # which of the objects it is about
        (corners,) = view.inside([entry["object"]["box_xyxy"]]) * np.tile(picture.size, 2)
        ImageDraw.Draw(picture).rectangle(tuple(corners.round()), outline="white", width=3)
    return inference.draw(np.asarray(picture), boxes, classes, truth=view.objects(example))
