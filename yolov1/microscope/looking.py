"""One entry of a `Record`."""

import numpy as np

from yolov1.cell_loss import cell_loss
from yolov1.evaluation.shortcomings import SHOWN
from yolov1.microscope.record import DETECTIONS


def look(predictions, targets, detections, grid, semantics, impl="auto") -> dict:
    """What a `Record` keeps of one evaluation of n images.

    Args:
        predictions: ``[n, S, S, D]``, activated.
        targets: ``[n, S, S, C + 5]``.
        detections: the `inference.Detections` of each image.
    """
    cells = cell_loss(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    return {
        "terms": cells.terms.numpy(),
        "gradient": np.linalg.norm(cells.gradient.numpy(), axis=-1),
        "responsible": cells.responsible.numpy(),
        "iou": cells.iou.numpy(),
        "confidence": cells.confidences.numpy(),
        "detections": np.stack([_rows(found) for found in detections]),
    }


def _rows(detections):
    best = detections.above(SHOWN)
    rows = np.full((DETECTIONS, 6), np.nan, np.float32)
    found = np.column_stack([best.boxes_xyxy, best.scores, best.labels])[:DETECTIONS]
    rows[: len(found)] = found
    return rows
