"""The worst errors of each kind, one picture each, so that every figure leads to some."""

import numpy as np

from yolov1.evaluation.matching import area
from yolov1.evaluation.tide import IGNORED, KINDS, Diagnosis

FIRST = 8  # of a kind, whatever they are
MOST = 24  # of a kind, with the worst one of each bar and cell
MISSED = "missed"
# As a page shows them: detections by falling score, missed objects by falling size.
SHOWN_KINDS = ("background", "classification", "localisation", "both", "duplicate", MISSED)


def choose(diagnosis: Diagnosis, dataset, classes, not_found, of_detections, of_objects) -> list:
    """The worst errors: false detections by score, objects that were not found by size.

    Of each kind the eight worst, and for each bar and cell of a figure its worst one as far as 24
    go: those of the first figures first.

    Args:
        dataset, classes: of the diagnosis.
        not_found: ``[M]`` bool: what counts as missed here.
        of_detections, of_objects: {figure: int ``[K]``, ``[M]``}: the number of the bar or cell, -1
            for none.

    Returns:
        dicts of ``kind`` (of `SHOWN_KINDS`, in this order, the worst first), ``index`` and
        ``image`` (place in the data set, and id), ``size`` (height, width), ``detection`` (dict of
        ``kind``, ``class``, ``score``, ``box_xyxy``; of a missed object the one that came nearest,
        None without one), ``object`` (dict of ``class`` and ``box_xyxy``; None where there is
        none), their ``iou`` (None without both), and ``groups``: the bars and cells, as
        ``figure-number``. Boxes are fractions of the image.
    """
    truth = diagnosis.truth
    entries = []
    for kind in SHOWN_KINDS[:-1]:
        for k in _first(diagnosis.of_kind(kind), of_detections):
            entries.append(
                _entry(diagnosis, dataset, classes, kind, k, diagnosis.object[k])
                | {"groups": _names(kind, k, of_detections)}
            )
    missed = np.flatnonzero(not_found & ~truth.difficult)
    missed = missed[np.argsort(-area(truth.boxes_xyxy[missed]), kind="stable")]
    nearest = _nearest(diagnosis)
    for m in _first(missed, of_objects):
        entries.append(
            _entry(diagnosis, dataset, classes, MISSED, nearest[m], m)
            | {"groups": _names(MISSED, m, of_objects)}
        )
    return entries


def _first(rows, groups):
    """Some of the rows, which are the worst first."""
    places = list(range(min(FIRST, len(rows))))
    for numbers in groups.values():
        values, first = np.unique(numbers[rows], return_index=True)
        places += np.sort(first[values >= 0]).tolist()
    return rows[sorted(list(dict.fromkeys(places))[:MOST])]


def _nearest(diagnosis):
    """``[M]`` the detection that took an object, else the best scored one about it, -1 for none."""
    about = np.where(diagnosis.kind == IGNORED, -1, diagnosis.object)
    nearest = np.full(len(diagnosis.truth), -1)
    objects, first = np.unique(about, return_index=True)
    nearest[objects[objects >= 0]] = first[objects >= 0]
    return np.where(diagnosis.taken_by >= 0, diagnosis.taken_by, nearest)


def _entry(diagnosis, dataset, classes, kind, k, m) -> dict:
    found, truth = diagnosis.found, diagnosis.truth
    index = int(truth.image[m] if k < 0 else found.image[k])
    example = dataset[index]
    detection = thing = None
    if k >= 0:
        detection = {
            "kind": KINDS[diagnosis.kind[k]],
            "class": classes[found.labels[k]],
            "score": float(found.scores[k]),
            "box_xyxy": found.boxes_xyxy[k].tolist(),
        }
    if m >= 0:
        thing = {"class": classes[truth.labels[m]], "box_xyxy": truth.boxes_xyxy[m].tolist()}
    return {
        "kind": kind,
        "index": index,
        "image": example.image_id,
        "size": [int(side) for side in example.size],
        "detection": detection,
        "object": thing,
        "iou": float(diagnosis.iou[k]) if detection and thing else None,
    }


def _names(kind, row, groups) -> list[str]:
    return [kind, *(f"{name}-{values[row]}" for name, values in groups.items() if values[row] >= 0)]
