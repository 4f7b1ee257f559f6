"""What is wrong with a detector, in numbers and in the worst of its pictures, as one dict.

It takes about twice the time of `evaluate`: for the end of a training, not for every epoch.
"""

import numpy as np

from yolov1.data.targets import assign_cells
from yolov1.evaluation import coco, worst
from yolov1.evaluation.average_precision import first_of_each
from yolov1.evaluation.matching import area
from yolov1.evaluation.tide import IGNORED, KINDS, REPAIRS, Diagnosis, diagnose, gains

SHOWN = 0.25  # the score from which a detection counts as shown, as in pictures and in `detect`
BINS = 10
QUARTERS = ("smallest", "small half", "large half", "largest")
IN_CELL = ("alone", "kept", "dropped")


def shortcomings(detections, dataset, *, classes=None, grid=None, on_collision="first") -> dict:
    """Kinds of error, calibration, confusions, and recall by size and by cell.

    A detection is shown where it scores at least 0.25. An object is found where a detection takes
    it that is shown, and found at all where any does: see `tide`.

    Args:
        detections: one `Detections` per image, in fractions of the image.
        dataset: sequence of `Example`, with `.classes`.
        classes: class names, where `dataset` has none.
        grid: `GridSpec` of the network, where it sees whole images: then objects are told apart by
            what shares their cell.
        on_collision: which object a cell keeps in training, see `data.encode_targets`.

    Returns:
        A dict of

        - ``shown``: 0.25;
        - ``ap``: that of `gains`, None without objects; ``tide``: for each of its repairs ``count``
          (of detections of any score; of objects for ``missed`` and ``false_negatives``), how many
          of the detections are ``shown``, and ``gain``, the AP that it would add;
        - ``calibration``: see `calibration`; ``confusion``: see `confusion`;
        - ``sizes``: see `by_size`; ``cells``: see `by_cell`, None without a grid;
        - ``worst``: see `worst.choose`.
    """
    classes = tuple(dataset.classes if classes is None else classes)
    diagnosis = diagnose(detections, dataset, classes=classes)
    shown = diagnosis.found.scores >= SHOWN
    sizes, in_size = by_size(diagnosis, [example.size for example in dataset])
    cells, in_cell = by_cell(diagnosis, dataset, grid, on_collision) if grid else (None, {})
    matrix, met_by = confusion(diagnosis, shown)
    repaired = gains(diagnosis)
    counts = _counts(diagnosis, shown)
    groups = _groups(diagnosis, shown, met_by, in_size | in_cell)
    found = np.append(shown, False)[diagnosis.taken_by]  # -1, for none, is the last
    return {
        "shown": SHOWN,
        "ap": repaired["ap"],
        "tide": {name: counts[name] | {"gain": repaired[name]} for name in REPAIRS},
        "calibration": calibration(diagnosis),
        "confusion": matrix.tolist(),
        "sizes": sizes,
        "cells": cells,
        "worst": worst.choose(diagnosis, dataset, classes, ~found, *groups),
    }


def _counts(diagnosis, shown):
    kind, truth = diagnosis.kind, diagnosis.truth
    rows = {name: kind == index for index, name in enumerate(KINDS[1:], start=1)}
    rows["false_positives"] = np.any(list(rows.values()), axis=0)
    counts = {k: {"count": int(r.sum()), "shown": int((r & shown).sum())} for k, r in rows.items()}
    not_found = (diagnosis.taken_by < 0) & ~truth.difficult
    return counts | {
        "missed": {"count": int(diagnosis.missed.sum())},
        "false_negatives": {"count": int(not_found.sum())},
    }


# ------------------------------------------------------------------ scores


def score_bin(diagnosis):
    """``[K]`` which tenth of [0, 1] a score lies in; scores beyond it in the first or the last."""
    return np.clip(np.floor(diagnosis.found.scores * BINS), 0, BINS - 1).astype(int)


def calibration(diagnosis: Diagnosis) -> dict:
    """What scores are worth: how many of the detections with a score are right, and how far they
    overlap an object of their class.

    Detections on difficult objects are left out.

    Returns:
        ``bins``: for each tenth of [0, 1] ``low``, ``high``, ``detections``, and the means
        ``score``, ``precision`` (share of ``correct`` ones) and ``iou`` (overlap with the object of
        the own class that a detection is about, 0 without one), None where there is no detection;
        ``error``: the expected calibration error (Guo et al. 2017, equation 3; Küppers et al. 2020
        for detectors) of those that are shown: the mean of \\|precision - score\\| of the tenths,
        weighted by their detections; None where none is.
    """
    found, truth = diagnosis.found, diagnosis.truth
    counting = diagnosis.kind != IGNORED
    right = diagnosis.kind == KINDS.index("correct")
    own = diagnosis.object >= 0
    own[own] = truth.labels[diagnosis.object[own]] == found.labels[own]
    values = {"score": found.scores, "precision": right, "iou": np.where(own, diagnosis.iou, 0.0)}
    place = score_bin(diagnosis)
    bins = []
    for k in range(BINS):
        mine = counting & (place == k)
        means = {name: float(v[mine].mean()) if mine.any() else None for name, v in values.items()}
        bins.append(
            {"low": k / BINS, "high": (k + 1) / BINS, "detections": int(mine.sum())} | means
        )
    shown = counting & (found.scores >= SHOWN)
    off = np.bincount(place[shown], (right - found.scores)[shown], minlength=BINS)
    error = float(np.abs(off).sum() / shown.sum()) if shown.any() else None
    return {"bins": bins, "error": error}


# ------------------------------------------------------------------ classes


def confusion(diagnosis: Diagnosis, shown):
    """What objects are taken for.

    Every object that is not difficult is in one place: that of the detection that took it, or,
    where none did, of the best scored one of another class with an IoU of at least .5 (kind
    ``classification``), or it was not found. So is every shown detection: with its object, or where
    there is nothing to be found (or nothing more: second ones on an object are there too).

    Args:
        shown: ``[K]`` bool, the detections to look at.

    Returns:
        (counts ``[C + 1, C + 1]``: rows are what is there, columns what was found, the last of
        each is nothing; ``[M]`` the detection that an object is counted with, -1 for none).
    """
    found, truth, count = diagnosis.found, diagnosis.truth, diagnosis.classes
    met_by = np.where(np.append(shown, False)[diagnosis.taken_by], diagnosis.taken_by, -1)
    about = diagnosis.object
    may = shown & (diagnosis.kind == KINDS.index("classification"))
    may[may] = (met_by[about[may]] < 0) & ~truth.difficult[about[may]]
    heirs = first_of_each(about, may)
    met_by[about[heirs]] = np.flatnonzero(heirs)
    matrix = np.zeros((count + 1, count + 1), int)
    counting = ~truth.difficult
    column = np.append(found.labels, count)[met_by]
    np.add.at(matrix, (truth.labels[counting], column[counting]), 1)
    alone = shown & (diagnosis.kind != IGNORED)
    alone[met_by[met_by >= 0]] = False
    np.add.at(matrix, (count, found.labels[alone]), 1)
    return matrix, met_by


def _groups(diagnosis, shown, met_by, members):
    """Which bars and cells of the figures a detection and an object belong to.

    Returns:
        two dicts of names to int ``[K]`` and ``[M]``: the number of the bar or cell, -1 for none.
    """
    found, truth, nothing = diagnosis.found, diagnosis.truth, diagnosis.classes
    there = np.full(len(found), nothing)
    there[met_by[met_by >= 0]] = truth.labels[met_by >= 0]
    cell = there * (nothing + 1) + found.labels
    of_detections = {"score": score_bin(diagnosis), "confused": np.where(shown, cell, -1)}
    of_detections["class"] = found.labels
    of_objects = {n.replace(" ", "-"): np.where(mine, 0, -1) for n, mine in members.items()}
    column = np.append(found.labels, nothing)[met_by]
    of_objects["confused"] = truth.labels * (nothing + 1) + column
    return of_detections, of_objects | {"class": truth.labels}


# ------------------------------------------------------------------ objects


def by_size(diagnosis: Diagnosis, image_sizes):
    """AP and recall of small and large objects.

    Args:
        image_sizes: (height, width) of each image, to which COCO's limits of 32 and 96 pixels apply
            (its areas are those of the boxes here, where COCO takes outlines). The quarters, which
            also part objects that are all of one of COCO's sizes, are by the box's share of its
            image: as the network sees it.

    Returns:
        (rows: ``name``, ``low`` and ``high`` (sides of a square of that area, in pixels, or of the
        image for quarters; None for none), ``objects``, ``found``, ``found_at_all`` (shares),
        ``ap`` (COCO's .50:.95), ``ap50``; those without an object are left out;
        {name: ``[M]`` bool}: which objects are of which size).
    """
    truth = diagnosis.truth
    pixels = np.asarray(image_sizes, np.float64).reshape(-1, 2).prod(axis=1)
    tables = diagnosis.found, diagnosis.truth
    share = area(truth.boxes_xyxy)
    counting = ~truth.difficult
    limits = {name: (low, high, pixels) for name, (low, high) in coco.AREAS.items() if name}
    if counting.any():
        edges = np.quantile(share[counting], (0.25, 0.5, 0.75))
        edges = [0.0, *edges, np.inf]
        ones = np.ones(len(pixels))
        limits |= {
            name: (low, high, ones)
            for name, low, high in zip(QUARTERS, edges[:-1], edges[1:], strict=True)
        }
    rows, members, ranges = [], {}, []
    for name, (low, high, unit) in limits.items():
        scaled = [area(table.boxes_xyxy) * unit[table.image] for table in tables]
        # A limit belongs to both sides in COCO's rule; here the objects of a size are told apart.
        mine = counting & (scaled[1] >= low) & (scaled[1] < high)
        if not mine.any():
            continue
        members[name] = mine
        ranges.append(((low, high), scaled))
        top = 1e10 if unit is pixels else 1
        rows.append(
            {
                "name": name,
                "low": float(np.sqrt(low)) if low else None,
                "high": float(np.sqrt(high)) if high < top else None,
                **_recall(diagnosis, mine),
            }
        )
    within = coco.precision_within(*tables, diagnosis.classes, ranges)
    for row, curves in zip(rows, within, strict=True):
        curves = [curve for curve in curves if curve is not None]
        row["ap"] = float(np.mean(curves))
        row["ap50"] = float(np.mean([curve[0] for curve in curves]))
    return rows, members


def by_cell(diagnosis: Diagnosis, dataset, grid, on_collision="first"):
    """Recall of objects by what shares their cell of the grid: the network can describe B boxes of
    one class in a cell, and learns from one object.

    Returns:
        (``S``, and for each of ``alone``, ``kept`` (shares its cell, and training would have kept
        it) and ``dropped`` its ``objects``, and shares ``found`` and ``found_at_all``, None without
        an object; {name: ``[M]`` bool}).
    """
    state = []
    for example in dataset:
        usual = np.flatnonzero(~example.difficult)
        cells, keepers = assign_cells(example.boxes_cxcywh[usual], grid, on_collision)
        several = np.bincount(cells, minlength=1)[cells] > 1
        mine = np.full(len(example.labels), -1)
        mine[usual] = np.where(several, np.where(keepers == np.arange(len(usual)), 1, 2), 0)
        state.append(mine)
    state = np.concatenate([np.zeros(0, int), *state])
    members = {name: state == k for k, name in enumerate(IN_CELL)}
    return {"S": grid.S} | {name: _recall(diagnosis, m) for name, m in members.items()}, members


def _recall(diagnosis, mine) -> dict:
    taken_by = diagnosis.taken_by[mine]
    shown = np.append(diagnosis.found.scores >= SHOWN, False)[taken_by]
    shares = {"found": shown, "found_at_all": taken_by >= 0}
    return {"objects": len(taken_by)} | {
        name: float(values.mean()) if len(values) else None for name, values in shares.items()
    }
