"""Suspects for tools in which people label: pictures with what is proposed, and remarks on it."""

import dataclasses

import numpy as np

from yolov1 import boxes as box_formats
from yolov1.data import Dataset
from yolov1.reviewing.page import proposal


def proposed(found, dataset) -> Dataset:
    """The images that have a suspect, the worst first, with their labels as they are proposed.

    What is to be added is there, what is to be moved or renamed is; what is to be removed stays, to
    be looked at. Each of these has its suspicion as score and says in a remark what was done; a
    label that is not suspected has the score 0 and no remark.

    Returns:
        `Dataset` whose examples have `scores` and `remarks`, for `yolov1.data.write`.
    """
    by_image = {}
    for rank, suspect in enumerate(found, start=1):  # a dict keeps the order
        by_image.setdefault(suspect.image, []).append((rank, suspect))
    examples = [
        _example(dataset[image], ranked, dataset.classes) for image, ranked in by_image.items()
    ]
    return Dataset(examples, dataset.classes, name=f"review of {dataset.name}")


def _example(example, ranked, classes):
    boxes, labels = example.boxes_cxcywh.copy(), example.labels.copy()
    scores, remarks = np.zeros(len(labels)), [""] * len(labels)
    added = []
    for rank, suspect in ranked:
        words = f"{rank} {suspect.kind} {suspect.score:.3f}: {proposal(suspect, example, classes)}"
        seen = suspect.seen_box_xyxy
        seen = None if seen is None else box_formats.xyxy_to_cxcywh(np.clip(seen, 0, 1))
        if suspect.action == "add":
            added.append((seen, suspect.seen_class, suspect.score, words))
            continue
        k = suspect.label
        scores[k], remarks[k] = suspect.score, words
        if suspect.action == "move":
            boxes[k] = seen
        elif suspect.action == "rename":
            labels[k] = suspect.seen_class
    return dataclasses.replace(
        example,
        boxes_cxcywh=[*boxes, *(row[0] for row in added)],
        labels=[*labels, *(row[1] for row in added)],
        difficult=[*example.difficult, *[False] * len(added)],
        scores=np.array([*scores, *(row[2] for row in added)]),
        remarks=[*remarks, *(row[3] for row in added)],
    )
