"""Average precision by the rules of PASCAL VOC; COCO's are in `coco`."""

import dataclasses

import numpy as np

from yolov1.evaluation import coco
from yolov1.evaluation.matching import best_overlap, tabulate

METRICS = ("voc07", "area", "coco")


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """Average precision as fractions of 1.

    Attributes:
        metric: ``voc07``, ``area`` or ``coco``.
        per_class: by class name (by index where no names were given); None for a class without an
            object that counts.
        mean: over the classes with objects; None where there is none.
    """

    metric: str
    per_class: dict
    mean: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision and recall of one class after each detection that counts, by falling score.

    Attributes:
        truth: objects that count (not difficult).
        detections: boxes found, those on difficult objects among them.
        precision, recall, scores: ``[K]``; recall is None where `truth` is 0.
    """

    truth: int
    detections: int
    precision: np.ndarray
    recall: np.ndarray | None
    scores: np.ndarray


def average_precision(
    detections,
    ground_truth,
    metric="voc07",
    *,
    iou_threshold=0.5,
    classes=None,
    pixel_offset=0.0,
    sizes=None,
    inclusive=False,
) -> AveragePrecision:
    """Average precision per class, and its mean.

    A detection goes to the object of its image and class that it overlaps most. It is right where
    their IoU is greater than the threshold and no better scored detection took the object; it does
    not count where that object is difficult; else it is wrong (VOC 2007 devkit, VOCevaldet.m).
    Among equal scores the order given decides: images, then the order inside an image.

    Args:
        detections: one `Detections` per image.
        ground_truth: one `Example` or `GroundTruth` per image, in the same order.
        metric: ``voc07``: mean of the best precision at recalls 0, 0.1 .. 1. ``area``: area below
            the monotone precision-recall curve (VOC 2010 and later). ``coco``: mean over the
            thresholds 0.50, 0.55 .. 0.95 of 101 interpolated points, at most 100 detections of a
            class in an image; its own matching, `iou_threshold` and `inclusive` do not apply.
        iou_threshold: of the VOC metrics.
        classes: class names by label; None counts the labels.
        pixel_offset: added to box sides; 1 gives the devkit's areas, for boxes in pixels only.
        sizes: (height, width) of each image, to bring fractions to pixels; needed for nothing but
            `pixel_offset`. By default an `Example`'s own.
        inclusive: an IoU equal to the threshold suffices (Padilla's toolkit), else it does not
            (the devkit).

    Raises:
        ValueError: an unknown metric; a `pixel_offset` for fractions without sizes; or what
            `matching.tabulate` refuses, NaN scores among it.
    """
    if metric not in METRICS:
        raise ValueError(
            f"average_precision: metric must be one of {', '.join(METRICS)}, got {metric!r}."
        )
    if pixel_offset and sizes is None and all(hasattr(t, "boxes_cxcywh") for t in ground_truth):
        sizes = [example.size for example in ground_truth]
    found, truth, count = tabulate(detections, ground_truth, classes, sizes)
    if pixel_offset and sizes is None and len(truth) and truth.boxes_xyxy.max() <= 1:
        raise ValueError(
            f"average_precision: pixel_offset={pixel_offset} needs boxes in pixels, got fractions "
            "of the image; pass sizes=[(height, width), ...]."
        )
    if metric == "coco":
        values = coco.average_precision(found, truth, count)
    else:
        curves = precision_recall(found, truth, count, iou_threshold, pixel_offset, inclusive)
        values = [AREA_OF[metric](curve) for curve in curves]
    names = range(count) if classes is None else classes
    return AveragePrecision(metric, dict(zip(names, values, strict=True)), mean(values))


def precision_recall(found, truth, count, iou_threshold=0.5, pixel_offset=0.0, inclusive=False):
    """One `Curve` per class, from the tables of `tabulate`."""
    best, iou = best_overlap(found, truth, pixel_offset=pixel_offset)
    hit = (best >= 0) & (iou >= iou_threshold if inclusive else iou > iou_threshold)
    ignored = np.zeros(len(found), bool)
    ignored[hit] = truth.difficult[best[hit]]
    right = first_of_each(best, hit & ~ignored)
    curves = []
    for label in range(count):
        mine = found.labels == label
        counting = mine & ~ignored
        hits = np.cumsum(right[counting])
        objects = int(((truth.labels == label) & ~truth.difficult).sum())
        curves.append(
            Curve(
                truth=objects,
                detections=int(mine.sum()),
                precision=hits / np.arange(1, len(hits) + 1),
                recall=hits / objects if objects else None,
                scores=found.scores[counting],
            )
        )
    return curves


def first_of_each(target, candidate):
    """Marks, among the candidates, the first one of each target: duplicates are wrong."""
    rows = np.flatnonzero(candidate)
    first = np.zeros(len(target), bool)
    first[rows[np.unique(target[rows], return_index=True)[1]]] = True
    return first


def _voc07(curve):
    if curve.recall is None:
        return None
    envelope = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0.0)
    # The devkit's own floating point: its fourth recall is 0.30000000000000004.
    return float(envelope[np.searchsorted(curve.recall, np.arange(0.0, 1.1, 0.1))].mean())


def _area(curve):
    if curve.recall is None:
        return None
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float((np.diff(curve.recall, prepend=0.0) * envelope).sum())


AREA_OF = {"voc07": _voc07, "area": _area}


def mean(values):
    """Mean of the values that are not None; None where there is none."""
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None
