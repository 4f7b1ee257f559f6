"""What kind of mistake each detection is, after Hoiem et al. (2012) as the YOLO paper uses it."""

import numpy as np

from yolov1.evaluation.average_precision import first_of_each, mean
from yolov1.evaluation.matching import best_overlap, overlaps, tabulate

KINDS = ("correct", "localisation", "similar", "other", "background")

# Hoiem, Chodpathumwan and Dai, "Diagnosing error in object detectors", section 3.1: all vehicles;
# all animals including person; furniture; aeroplane and bird.
VOC_SIMILAR = (
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)


def error_analysis(detections, ground_truth, *, classes, similar=VOC_SIMILAR):
    """Shares of right and wrong among the N best detections of each class with N objects.

    - ``correct``: right class, IoU > 0.5, the first on its object;
    - ``localisation``: right class, IoU from 0.1 to 0.5, or a second one on an object;
    - ``similar``: IoU > 0.1 with an object of a similar class;
    - ``other``: IoU > 0.1 with an object of another class;
    - ``background``: IoU of at most 0.1 with every object.

    A detection that lies on a difficult object of its class is left out.

    Args:
        detections, ground_truth: as in `average_precision`.
        classes: class names by label.
        similar: groups of names that are taken for each other; names that are no class are ignored.

    Returns:
        (shares, per class): dicts by kind, the first the mean over the classes with detections;
        the second a dict of them by class name. None where nothing was found.
    """
    found, truth, count = tabulate(detections, ground_truth, classes)
    kind = _kinds(found, truth, _similarity(classes, similar))
    per_class = {}
    for label, name in enumerate(classes):
        objects = int(((truth.labels == label) & ~truth.difficult).sum())
        best = kind[(found.labels == label) & (kind >= 0)][:objects]
        shares = np.bincount(best, minlength=len(KINDS)) / max(len(best), 1)
        per_class[name] = dict(zip(KINDS, shares.tolist(), strict=True)) if len(best) else None
    shown = [shares for shares in per_class.values() if shares]
    shares = {kind: mean([s[kind] for s in shown]) for kind in KINDS} if shown else None
    return shares, per_class


def _similarity(classes, groups):
    """bool ``[C, C]``: two different classes that share a group."""
    member = np.array([[name in group for group in groups] for name in classes], bool)
    member = member.reshape(len(classes), len(groups)).astype(int)
    return (member @ member.T > 0) & ~np.eye(len(classes), dtype=bool)


def _kinds(found, truth, similarity):
    """Index into `KINDS` for each detection; -1 where it lies on a difficult object."""
    best, iou = best_overlap(found, truth)
    own = best >= 0
    difficult = np.zeros(len(found), bool)
    difficult[own] = truth.difficult[best[own]]
    correct = first_of_each(best, (iou > 0.5) & ~difficult)
    localisation = iou >= 0.1
    detection, target, iou_any = overlaps(found, truth, same_class=False)
    meets = iou_any > 0.1
    similar, other = np.zeros(len(found), bool), np.zeros(len(found), bool)
    alike = similarity[found.labels[detection], truth.labels[target]]
    similar[detection[meets & alike]] = True
    other[detection[meets & ~alike]] = True
    kind = np.select([correct, localisation, similar, other], range(4), default=4)
    kind[localisation & difficult] = -1
    return kind
