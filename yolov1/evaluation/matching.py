"""Detections and ground truth of a whole data set as flat arrays, and which box overlaps which.

Everything is one pass of array operations over the data set: the only pairs ever formed are those
of one image (and, for average precision, of one class).
"""

import dataclasses

import numpy as np

from yolov1 import boxes as box_formats


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """The objects of one image, where no `Example` is at hand.

    Attributes:
        boxes_xyxy: ``[M, 4]`` corners in the unit of the detections (fractions, or pixels).
        labels: ``[M]`` class indices.
        difficult: ``[M]`` bool; by default none.
    """

    boxes_xyxy: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """The boxes of all images in one row each: ``image [K]`` and ``boxes_xyxy [K, 4]`` float64,
    ``labels [K]``; detections have ``scores [K]`` and fall in score (stable: equal scores keep the
    order of images, then that inside an image), ground truth has ``difficult [K]``."""

    image: np.ndarray
    boxes_xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    difficult: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)


def tabulate(detections, ground_truth, classes=None, sizes=None):
    """Checks and flattens both sides; returns (found, truth, number of classes).

    Args:
        detections: one `Detections` (or what has its fields) per image.
        ground_truth: one `Example` or `GroundTruth` per image, in the same order.
        classes: names of the classes, or None: as many as the largest label asks for.
        sizes: ``[images, 2]`` (height, width); boxes are multiplied by them, to pixels.

    Raises:
        ValueError: the lengths differ, a score is NaN, a box is not finite, or a label no class.
    """
    if len(detections) != len(ground_truth):
        raise ValueError(
            "evaluation: there must be one Detections per image of the ground truth, got "
            f"{len(detections)} for {len(ground_truth)} images."
        )
    if sizes is not None and len(sizes) != len(ground_truth):
        raise ValueError(
            f"evaluation: sizes must be [{len(ground_truth)}, 2] (height, width), "
            f"got {len(sizes)} of them."
        )
    found = _flatten(detections, sizes, "detections")
    truth = _flatten(ground_truth, sizes, "ground truth")
    scores = _concatenate([d.scores for d in detections], (0,))
    if np.isnan(scores).any():
        image = int(found.image[np.isnan(scores).argmax()])
        raise ValueError(
            f"evaluation: {int(np.isnan(scores).sum())} of {len(scores)} scores are NaN, the first "
            f"in image {image}; a NaN has no rank. Look for a loss that diverged."
        )
    order = np.argsort(-scores, kind="stable")
    found = Table(found.image[order], found.boxes_xyxy[order], found.labels[order], scores[order])
    difficult = [
        np.zeros(len(t.labels), bool) if t.difficult is None else t.difficult for t in ground_truth
    ]
    difficult = _concatenate(difficult, (0,)).astype(bool)
    truth = dataclasses.replace(truth, difficult=difficult)
    highest = max((int(t.labels.max()) for t in (found, truth) if len(t)), default=-1)
    count = highest + 1 if classes is None else len(classes)
    if highest >= count:
        raise ValueError(
            f"evaluation: labels must be below {count}, the number of classes, got {highest}."
        )
    return found, truth, count


def overlaps(found, truth, *, same_class=True, pixel_offset=0.0):
    """All pairs of a detection and an object of one image that meet.

    Args:
        same_class: pair boxes of one class only.
        pixel_offset: added to every side, 1 for boxes whose corners are pixels they contain
            (VOC's devkit); both sides must be in pixels then.

    Returns:
        (detection ``[P]``, object ``[P]``, iou ``[P]`` float64), by detection, then by object.
    """
    classes = 1 + max((int(t.labels.max()) for t in (found, truth) if len(t)), default=0)
    keys = [t.image * classes + t.labels if same_class else t.image for t in (found, truth)]
    by_key = np.argsort(keys[1], kind="stable")
    begin = np.searchsorted(keys[1], keys[0], "left", by_key)
    count = np.searchsorted(keys[1], keys[0], "right", by_key) - begin
    detection = np.repeat(np.arange(len(found)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    target = by_key[np.repeat(begin, count) + within]
    # A pixel more at the right and below is a pixel more of every side, and of every overlap.
    offset = np.array([0, 0, pixel_offset, pixel_offset])
    pairs = (found.boxes_xyxy + offset)[detection], (truth.boxes_xyxy + offset)[target]
    return detection, target, _aligned_iou(*pairs)


def _aligned_iou(a_xyxy, b_xyxy):
    import tensorflow as tf  # not before it is needed: most of this package does without

    from yolov1 import ops

    with tf.device("CPU"):  # where the arrays are
        return ops.aligned_iou(a_xyxy, b_xyxy).numpy()


def best_overlap(found, truth, **options):
    """For each detection its best object: (object ``[K]``, -1 for none; iou ``[K]``, 0 for none).

    The first object wins among equals. `options` are those of `overlaps`.
    """
    return best_of(len(found), *overlaps(found, truth, **options))


def best_of(size, detection, target, iou):
    """For each of `size` detections its best object among these pairs, as `best_overlap`."""
    best, best_iou = np.full(size, -1), np.zeros(size)
    order = np.lexsort((target, -iou, detection))
    which, first = np.unique(detection[order], return_index=True)
    best[which], best_iou[which] = target[order][first], iou[order][first]
    return best, best_iou


def place_in_group(key):
    """Place of each row ``[K]`` among the rows of its group, in the order given."""
    order = np.argsort(key, kind="stable")
    start = np.searchsorted(key[order], key, "left")
    place = np.empty(len(key), np.int64)
    place[order] = np.arange(len(key))
    return place - start


def intersection(a_xyxy, b_xyxy):
    """``[P]`` areas that pairs of boxes share."""
    low = np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    high = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:])
    return np.maximum(high - low, 0).prod(axis=1)


def area(boxes_xyxy):
    """``[P]`` areas; an inverted box is empty."""
    return np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0).prod(axis=1)


def _flatten(images, sizes, what):
    corners = []
    for boxes in images:
        boxes_xyxy = getattr(boxes, "boxes_xyxy", None)
        if boxes_xyxy is None:
            boxes_xyxy = box_formats.cxcywh_to_xyxy(np.asarray(boxes.boxes_cxcywh, np.float64))
        corners.append(boxes_xyxy)
    image = np.repeat(np.arange(len(images)), [len(i.labels) for i in images]).astype(np.int64)
    boxes_xyxy = _concatenate(corners, (0, 4)).astype(np.float64)
    if not np.isfinite(boxes_xyxy).all():
        bad = int(image[~np.isfinite(boxes_xyxy).all(axis=1)][0])
        raise ValueError(f"evaluation: a box of the {what} of image {bad} is not finite.")
    if sizes is not None:
        height, width = np.asarray(sizes, np.float64).reshape(-1, 2)[image].T
        boxes_xyxy = box_formats.scale_xyxy(boxes_xyxy, width, height)
    labels = _concatenate([i.labels for i in images], (0,)).astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise ValueError(f"evaluation: labels of the {what} must be at least 0.")
    return Table(image, boxes_xyxy, labels)


def _concatenate(parts, empty):
    return np.concatenate(
        [np.zeros(empty)] + [np.asarray(p).reshape(-1, *empty[1:]) for p in parts]
    )
