"""What a `Record` says: churn, fit of the responsible boxes, lost objects, terms."""

import warnings

import numpy as np


def churn(record) -> np.ndarray:
    """Of each evaluation and image, the share of cells with an object whose responsible box is
    another than at the evaluation before: ``[E, n]``.

    (Where several boxes are responsible together, another set of them.) NaN at the first
    evaluation, and for images without an object.
    """
    return _share(*_changes(record), axis=-1)


def churn_of_all(record) -> np.ndarray:
    """As `churn`, over the object cells of all images together: ``[E]``."""
    return _share(*_changes(record), axis=(-2, -1))


def _changes(record):
    """Which object cells changed ``[E, n, L]`` (NaN at the first evaluation), and which there
    are."""
    responsible = record.seen["responsible"]
    changed = np.full(responsible.shape[:-1], np.nan)
    changed[1:] = (responsible[1:] != responsible[:-1]).any(axis=-1)
    return changed, np.broadcast_to(record.has_object, changed.shape)


def _share(changed, counted, axis):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.nanmean(np.where(counted, changed, np.nan), axis=axis)


def fits(record, evaluation: int) -> tuple[np.ndarray, np.ndarray]:
    """IoU and confidence of every responsible box at an evaluation, ``[K]`` each."""
    responsible = record.seen["responsible"][evaluation]
    return tuple(record.seen[name][evaluation][responsible] for name in ("iou", "confidence"))


def image_terms(record) -> np.ndarray:
    """The loss's terms of each evaluation and image: ``[E, n, 5]``."""
    return record.seen["terms"].sum(axis=2)


def lost_objects(record) -> list[tuple[int, int, int]]:
    """(image, object, the object that its cell keeps instead) of each object that no cell has."""
    return [
        (k, lost, keeper)
        for k, image in enumerate(record.images)
        for lost, keeper in enumerate(image["keepers"])
        if lost != keeper
    ]
