"""What is wrong with each detection, and what repairing a kind of error would bring: TIDE.

Bolya, Foley, Hays and Hoffman (2020), "TIDE: A General Toolbox for Identifying Object Detection
Errors", by the rules of its program `tidecv`, which the tests hold this against. (Its last release
is of 2020. It takes OpenCV, seaborn and pandas along, 160 MB, and needs 8.7 s for 1000 images with
50,000 boxes, this 0.5 s.)

Every detection is of one of `KINDS`, by its overlap (IoU) with the objects of its image; the first
that holds:

- ``correct``: at least .5 with an object of its class that no better scored one took; where several
  are free, it takes the one that it overlaps most;
- ``localisation``: of the objects of its class it overlaps the best by .1 to .5;
- ``classification``: at least .5 with an object of another class;
- ``duplicate``: at least .5 with an object of its class, which another detection took;
- ``background``: at most .1 with every object;
- ``both``: what is left, so neither class nor place is right.

An object that no detection took, and that none is ``localisation`` or ``classification`` of, is
missed.

Difficult objects count as by VOC's rule: one is never missed, and a detection that overlaps one of
its class by at least .5, and no other object of its class more, is ignored. Any other false
detection stays one. It may be of a kind because of a difficult object ("a car, and badly placed");
repairing it takes it away then, because there is no object to be found.
"""

import dataclasses

import numpy as np

from yolov1.evaluation.average_precision import first_of_each, mean
from yolov1.evaluation.matching import Table, best_of, overlaps, place_in_group, tabulate

KINDS = ("correct", "classification", "localisation", "both", "duplicate", "background")
IGNORED = -1  # in place of a kind
FOREGROUND, BACKGROUND = 0.5, 0.1
_CORRECT, _CLASSIFICATION, _LOCALISATION = range(3)
_RECALLS = np.arange(101) / 100


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What became of K detections and M objects of a data set.

    Attributes:
        found, truth: the `Table` of detections, by falling score, and that of the objects, in the
            order of the images.
        detection_index: ``[K]`` place of a detection among those of its image.
        object_index: ``[M]`` place of an object among those of its image.
        kind: ``[K]`` index into `KINDS`, `IGNORED` for one on a difficult object.
        object: ``[K]`` row of `truth` that the detection is about: the one that it took, should
            have met better, took for another class, found once more, or lies on although it is
            ignored; -1 for ``background``.
        iou: ``[K]`` overlap with that object; 0 for ``background``.
        taken_by: ``[M]`` row of `found` that took the object; -1 for none.
        missed: ``[M]`` bool: nothing found it, and nothing would if it were repaired.
        classes: how many classes there are.
    """

    found: Table
    truth: Table
    detection_index: np.ndarray
    object_index: np.ndarray
    kind: np.ndarray
    object: np.ndarray
    iou: np.ndarray
    taken_by: np.ndarray
    missed: np.ndarray
    classes: int

    def of_kind(self, name: str) -> np.ndarray:
        """Rows of `found` of this kind, the best scored first."""
        return np.flatnonzero(self.kind == KINDS.index(name))


def diagnose(
    detections, ground_truth, *, classes=None, foreground=FOREGROUND, background=BACKGROUND
) -> Diagnosis:
    """The kind of each detection, and the objects that were missed.

    Args:
        detections, ground_truth, classes: as in `average_precision`.
        foreground: the IoU that a detection must have at least with its object.
        background: the IoU up to which it has nothing to do with an object.

    Raises:
        ValueError: what `matching.tabulate` refuses.
    """
    found, truth, count = tabulate(detections, ground_truth, classes)
    size = len(found)
    detection, target, iou = overlaps(found, truth, same_class=False)
    near = iou >= background
    detection, target, iou = detection[near], target[near], iou[near]
    same = found.labels[detection] == truth.labels[target]

    def best(among):
        return best_of(size, detection[among], target[among], iou[among])

    # Ignored are those whose best object is difficult: they take none.
    own, own_iou = best(same)
    ignored = (own_iou >= foreground) & _at(truth.difficult, own)
    may_take = same & (iou >= foreground) & ~ignored[detection] & ~truth.difficult[target]
    takes, taken_by = take(size, len(truth), detection[may_take], target[may_take], iou[may_take])
    other, other_iou = best(~same)
    again, again_iou = best(same & (taken_by[target] >= 0))
    any_one, any_iou = best(slice(None))
    rules = (  # in the order in which they are asked
        ("ignored", ignored, own),
        ("correct", takes >= 0, takes),
        ("localisation", (own_iou >= background) & (own_iou <= foreground), own),
        ("classification", other_iou >= foreground, other),
        ("duplicate", again_iou >= foreground, again),
        ("background", any_iou <= background, np.full(size, -1)),
        ("both", np.ones(size, bool), any_one),
    )
    names, asked, objects = zip(*rules, strict=True)
    number = dict(zip(KINDS, range(len(KINDS)), strict=True)) | {"ignored": IGNORED}
    kind = np.select(asked, [np.full(size, number[name]) for name in names])
    about = np.select(asked, objects)
    # A detection's IoU with what it is about is one of those at hand.
    about_iou = np.zeros(size)
    chosen = about[detection] == target
    about_iou[detection[chosen]] = iou[chosen]
    repairable = np.isin(kind, (_CLASSIFICATION, _LOCALISATION))
    missed = (taken_by < 0) & ~truth.difficult
    missed[about[repairable]] = False
    return Diagnosis(
        found=found,
        truth=truth,
        detection_index=place_in_group(found.image),
        object_index=place_in_group(truth.image),
        kind=kind,
        object=about,
        iou=about_iou,
        taken_by=taken_by,
        missed=missed,
        classes=count,
    )


def gains(diagnosis: Diagnosis) -> dict:
    """The mean average precision at the diagnosis' IoU, and what repairing errors would add to it.

    Repairing is done for one kind at a time, by the paper's rules (its section 2.3):
    ``classification`` and ``localisation`` make the best scored of those that are about an object
    that nothing took a correct detection of it, and take the others away; ``both``, ``duplicate``
    and ``background`` take away; ``missed`` takes the missed objects away.

    Returns:
        dict of ``ap`` (COCO's 101 points, but one IoU and any number of detections; the mean over
        the classes with an object that is not difficult, None where there is none), then what is
        added by repairing each of the six kinds, ``false_positives`` (all that are wrong are taken
        away) and ``false_negatives`` (all that were not found): fractions of 1.
    """
    found, truth, kind = diagnosis.found, diagnosis.truth, diagnosis.kind
    counting = kind != IGNORED
    right = kind == _CORRECT
    objects = np.bincount(truth.labels[~truth.difficult], minlength=diagnosis.classes)
    # Who may have an object that nothing took: the best scored one, of either kind.
    about = diagnosis.object
    free = (about >= 0) & _at((diagnosis.taken_by < 0) & ~truth.difficult, about)
    heirs = first_of_each(about, free & np.isin(kind, (_CLASSIFICATION, _LOCALISATION)))
    labels = np.where(heirs, truth.labels[about] if len(truth) else 0, found.labels)
    missed = np.bincount(truth.labels[diagnosis.missed], minlength=diagnosis.classes)
    known = np.bincount(found.labels[right], minlength=diagnosis.classes)

    def ap(kept=counting, right=right, labels=found.labels, left=objects):
        values = [
            _average_precision(right[kept & (labels == label)], left[label])
            for label in np.flatnonzero(objects)
        ]
        return mean(values)

    before = ap()
    if before is None:
        return dict.fromkeys(("ap", *REPAIRS))
    after = {}
    for index, name in enumerate(KINDS[1:], start=1):
        mine = kind == index
        repaired = heirs & mine
        after[name] = ap(
            kept=counting & (~mine | repaired),
            right=right | repaired,
            labels=np.where(repaired, labels, found.labels),
        )
    after["missed"] = ap(left=objects - missed)
    after["false_positives"] = ap(kept=right)
    after["false_negatives"] = ap(left=known)
    # Repairing what is wrong may lower the 101 points by a hair: that is no gain.
    return {"ap": before} | {name: max((after[name] or 0) - before, 0.0) for name in REPAIRS}


REPAIRS = (*KINDS[1:], "missed", "false_positives", "false_negatives")


def take(size, objects, detection, target, iou):
    """Who takes what: (object ``[K]``, detection ``[M]``), -1 for none; the better scored first,
    each the best object that is still free.

    Args:
        size, objects: K and M.
        detection, target, iou: the pairs ``[P]`` that may come together.
    """
    takes, taken_by = [-1] * size, [-1] * objects
    order = np.lexsort((target, -iou, detection))
    for k, m in zip(detection[order].tolist(), target[order].tolist(), strict=True):
        if takes[k] < 0 and taken_by[m] < 0:
            takes[k], taken_by[m] = m, k
    return np.array(takes, int), np.array(taken_by, int)


def _average_precision(right, objects):
    """101-point AP of one class from what is right, by falling score; None where there is nothing
    at all."""
    if not objects:
        return 0.0 if len(right) else None
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(hits / objects, _RECALLS)].mean())


def _at(flags, rows):
    """The flags ``[M]`` at rows ``[K]``; False where a row is -1."""
    return (rows >= 0) & np.append(flags, False)[rows]
