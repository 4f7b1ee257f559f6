"""Faults put into labels on purpose, to see how many of them a review finds."""

import dataclasses
import math

import numpy as np

from yolov1 import boxes as box_formats
from yolov1.data import Dataset
from yolov1.evaluation import tide
from yolov1.reviewing.boxes import corners, iou, rows_of, with_rows

# How labels are spoilt, and the kind of suspicion that names it.
FAULTS = {
    "removed": "missing",
    "moved": "misplaced",
    "renamed": "disputed",
    "doubled": "duplicate",
    "invented": "unseen",
}
USUAL = ("removed", "moved", "renamed")
_TRIES = 1000
_MOVED, _DOUBLED = (0.1, 0.45), (0.7, 0.95)  # IoU with the true place
_FREE = 0.1


@dataclasses.dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
        kind: of `FAULTS`.
        image: place of the image in the data set.
        label: place of the faulty label among those that the image has now; None for ``removed``.
        was_xyxy: ``[4]`` corners of the true box, in fractions; None for ``invented``.
    """

    kind: str
    image: int
    label: int | None
    was_xyxy: np.ndarray | None


def plant(dataset, share, *, kinds=USUAL, seed=0) -> tuple[Dataset, list[Fault]]:
    """A copy of the data set in which a share of the labels is wrong.

    Labels are drawn among those that are not difficult, and their faults are of the kinds in turn:

    - ``removed``;
    - ``moved``, to an IoU of .1 to .45 with its place, its sides times .8 to 1.25;
    - ``renamed``, to another class;
    - ``doubled``: once more, with an IoU of .7 to .95;
    - ``invented``: a label of its class and size besides, where none is (IoU of at most .1).

    A fault for which an image has no room is left out.

    Args:
        share: of the labels, in (0, 1].
        kinds: of `FAULTS`.
        seed: the same one makes the same faults.

    Returns:
        (the data set, its faults in the order of the images).

    Raises:
        ValueError: another share or kind, or ``renamed`` where there is one class.
    """
    unknown = [kind for kind in kinds if kind not in FAULTS]
    if unknown or not kinds:
        got = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(f"plant: kinds of faults must be of {', '.join(FAULTS)}; got {got}.")
    if not 0 < share <= 1:
        raise ValueError(f"plant: the share of labels must be in (0, 1], got {share}.")
    if "renamed" in kinds and len(dataset.classes) < 2:
        raise ValueError(
            f"plant: {dataset.name} has one class, {dataset.classes[0]!r}, so that nothing can be "
            "'renamed'. Name other kinds of faults."
        )
    random = np.random.default_rng(seed)
    places = [(i, k) for i, e in enumerate(dataset) for k in np.flatnonzero(~e.difficult)]
    drawn = random.permutation(len(places))[: round(share * len(places))]
    chosen = {places[n]: kinds[turn % len(kinds)] for turn, n in enumerate(drawn)}
    examples, faults = [], []
    for image, example in enumerate(dataset):
        rows, kept = [], corners(example)
        for k, (row, box) in enumerate(zip(rows_of(example), corners(example), strict=True)):
            kind = chosen.get((image, k))
            new = _spoilt(kind, row, box, kept, len(dataset.classes), random)
            if new is None:  # not chosen, or no room
                rows.append(row)
                continue
            kept = np.concatenate([kept, *map(_corners, new)])
            place = None if kind == "removed" else len(rows) + len(new) - 1
            rows += new
            faults.append(Fault(kind, image, place, None if kind == "invented" else box))
        examples.append(with_rows(example, rows))
    name = f"{dataset.name} with {len(faults)} planted faults"
    more = {"name": name, "skipped": dataset.skipped, "notes": dataset.notes}
    return Dataset(examples, dataset.classes, **more), faults


def _corners(row):
    return box_formats.cxcywh_to_xyxy(np.asarray(row[0], np.float64))[None]


def _spoilt(kind, row, box, others, classes, random):
    """The rows that take a row's place, the faulty one last; None where it stays."""
    size, (_, label, difficult) = box[2:] - box[:2], row

    def drawn(fits, low, scales=(1.0, 1.0)):
        for _ in range(_TRIES):
            sides = size * random.uniform(*scales, 2)
            low_corner = random.uniform(*low) - (sides - size) / 2
            new = np.concatenate([low_corner, low_corner + sides])
            if (new >= 0).all() and (new <= 1).all() and fits(new):
                return box_formats.xyxy_to_cxcywh(new), label, difficult
        return None

    def near(limits):
        around = (box[:2] - size, box[:2] + size)
        return drawn(lambda new: limits[0] <= iou(new, box) <= limits[1], around, (0.8, 1.25))

    def free():
        return drawn(lambda new: all(iou(new, one) <= _FREE for one in others), (0, 1 - size))

    if kind == "removed":
        return []
    if kind == "renamed":
        return [(row[0], (label + random.integers(1, classes)) % classes, difficult)]
    if kind == "moved":
        new = near(_MOVED)
        return new and [new]
    if kind in ("doubled", "invented"):
        new = near(_DOUBLED) if kind == "doubled" else free()
        return new and [row, new]
    return None


# ------------------------------------------------------------------ what a review finds of them


def measure(found, faults, most=None) -> dict:
    """Precision and recall of a review by the planted faults alone.

    Faults that the labels had before count as false alarms, so that precision is a lower bound.

    Args:
        found: suspects, by falling score.
        most: how many of them are looked at; by default as many as there are faults.

    Returns:
        ``planted``; ``at``, for a tenth, a half, all and twice the number of faults, and `most`:
        ``looked_at``, ``faults`` (those that one of the first suspects shows), ``precision`` (the
        share of them that shows one), ``recall``;
        ``kinds``, for each kind of fault: ``planted``, ``recall`` (among the first `most`),
        ``named`` (of these, the share whose suspect is of the kind that names the fault) and
        ``anywhere`` (recall of the whole list). None where there is nothing to divide by.
    """
    pairs = shown(found, faults)
    showing = {place for place, _ in pairs}
    first_of = {number: place for place, number in reversed(pairs)}
    places = [first_of.get(number, math.inf) for number in range(len(faults))]
    most = most or len(faults)
    numbers = {round(len(faults) * share) for share in (0.1, 0.5, 1, 2)} | {most}
    at = []
    for number in sorted(numbers - {0}):
        first = sum(place < number for place in places)
        right = sum(place < number for place in showing)
        at.append(
            {
                "looked_at": number,
                "faults": first,
                "precision": _share(right, min(number, len(found))),
                "recall": _share(first, len(faults)),
            }
        )
    kinds = {}
    for kind, name in FAULTS.items():
        mine = [place for fault, place in zip(faults, places, strict=True) if fault.kind == kind]
        first = [place for place in mine if place < most]
        if mine:
            kinds[kind] = {
                "planted": len(mine),
                "recall": len(first) / len(mine),
                "named": _share(sum(found[place].kind == name for place in first), len(first)),
                "anywhere": sum(place < math.inf for place in mine) / len(mine),
            }
    return {"planted": len(faults), "at": at, "kinds": kinds}


def new_ones(found, planted, before, dataset) -> list:
    """The suspects that a review of the labels as they were does not raise.

    Measured on these alone, the network's own false alarms about true labels are left out together
    with the faults that were there before, so that precision is an upper bound.

    Args:
        found, before: suspects of `planted` and of `dataset`.
    """

    def keys(some, labels):
        for suspect in some:
            label = suspect.label
            box = () if label is None else tuple(labels[suspect.image].boxes_cxcywh[label].tolist())
            seen = () if suspect.seen_box_xyxy is None else tuple(suspect.seen_box_xyxy.tolist())
            yield suspect.image, suspect.kind, box, seen

    known = set(keys(before, dataset))
    return [one for one, key in zip(found, keys(found, planted), strict=True) if key not in known]


def shown(found, faults) -> list[tuple[int, int]]:
    """(place of a suspect, number of a fault) of all suspects that show a fault, best first.

    That is one about the faulty label (of a doubled one: about either of the two), or, where the
    label was removed or moved away, one that would add a box with an IoU of at least .5 with it.
    """
    of_image = {}
    for number, fault in enumerate(faults):
        of_image.setdefault(fault.image, []).append(number)
    return [
        (place, number)
        for place, suspect in enumerate(found)
        for number in of_image.get(suspect.image, ())
        if _shows(suspect, faults[number])
    ]


def _shows(suspect, fault):
    if suspect.action == "add":
        from_there = fault.kind in ("removed", "moved")
        return from_there and iou(suspect.seen_box_xyxy, fault.was_xyxy) >= tide.FOREGROUND
    if fault.kind == "doubled" and suspect.other == fault.label:
        return True
    return suspect.label == fault.label


def _share(part, whole):
    return part / whole if whole else None
