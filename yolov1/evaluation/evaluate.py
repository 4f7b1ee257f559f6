"""Everything there is to say about the detections on a data set, as one JSON-able dict."""

import numpy as np

from yolov1.evaluation import coco
from yolov1.evaluation.average_precision import AREA_OF, mean, precision_recall
from yolov1.evaluation.errors import VOC_SIMILAR, error_analysis
from yolov1.evaluation.matching import tabulate

MAX_POINTS = 200  # of a curve that is written to a file


def evaluate(detections, dataset, *, classes=None, similar=VOC_SIMILAR, curves=None) -> dict:
    """Average precision by three rules, curves and kinds of error.

    Args:
        detections: one `Detections` per image, in fractions of the image.
        dataset: sequence of `Example`, with `.classes`.
        classes: class names, where `dataset` has none.
        similar: groups of classes for `error_analysis`.
        curves: a dict that gets the whole `Curve` of each class by its name.

    Returns:
        ``map_voc07``, ``map_area`` (both at IoU > 0.5), ``map_coco`` (fractions, None without
        objects); ``ap_per_class`` (voc07 by class name); ``classes``: for each name ``ap_voc07``,
        ``ap_area``, ``ap_coco``, ``truth`` (objects that are not difficult), ``detections``,
        ``precision``, ``recall`` and ``score`` (at most 200 points of the curve), ``errors``;
        ``errors``: shares by kind, see `error_analysis`; ``images``.
    """
    classes = tuple(dataset.classes if classes is None else classes)
    found, truth, count = tabulate(detections, dataset, classes)
    all_curves = precision_recall(found, truth, count)
    if curves is not None:
        curves.update(zip(classes, all_curves, strict=True))
    values = {f"ap_{metric}": [rule(c) for c in all_curves] for metric, rule in AREA_OF.items()}
    values["ap_coco"] = coco.average_precision(found, truth, count)
    errors, errors_per_class = error_analysis(detections, dataset, classes=classes, similar=similar)
    per_class = {}
    for label, (name, curve) in enumerate(zip(classes, all_curves, strict=True)):
        points = _thinned(curve)
        per_class[name] = {
            **{metric: value[label] for metric, value in values.items()},
            "truth": curve.truth,
            "detections": curve.detections,
            "precision": curve.precision[points].tolist(),
            "recall": [] if curve.recall is None else curve.recall[points].tolist(),
            "score": curve.scores[points].astype(float).tolist(),
            "errors": errors_per_class[name],
        }
    return {
        "map_voc07": mean(values["ap_voc07"]),
        "map_area": mean(values["ap_area"]),
        "map_coco": mean(values["ap_coco"]),
        "ap_per_class": dict(zip(classes, values["ap_voc07"], strict=True)),
        "classes": per_class,
        "errors": errors,
        "images": len(dataset),
    }


def _thinned(curve):
    """Points of a curve worth keeping: those where recall rises, and the last."""
    if curve.recall is None:
        return np.zeros(0, int)
    rising = np.flatnonzero(np.diff(curve.recall, prepend=0.0) > 0)
    points = np.union1d(rising, [len(curve.recall) - 1] if len(curve.recall) else [])
    places = np.linspace(0, len(points) - 1, min(len(points), MAX_POINTS)).round()
    return points[places.astype(int)].astype(int)
