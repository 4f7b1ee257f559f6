"""One image taken apart: what the network says of it, and what the loss says of that."""

import dataclasses

import numpy as np

from yolov1 import data
from yolov1.boxes import clip_xyxy, cxcywh_to_xyxy
from yolov1.cell_loss import CellLoss, cell_loss, gradient_by_term
from yolov1.grid import GridSpec
from yolov1.inference import Detections, decode
from yolov1.microscope.suppression import Candidates, trace_suppression
from yolov1.semantics import TERMS, LossSemantics


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Of one image.

    Attributes:
        name: what the image is called.
        grid, semantics, classes: of the network.
        candidates: what passes the score threshold, kept or not.
        cells: the `CellLoss` of this image alone, NumPy arrays without the axis N; None of an image
            whose objects nobody knows.
        gradient: ``[L, 5]``, see `yolov1.cell_loss.gradient_by_term`; None as `cells`.
        objects: of each object that is not difficult what `to_json` says of it.
        truth: the objects, as `inference.draw` takes them; None as `cells`.
    """

    name: str
    grid: GridSpec
    semantics: LossSemantics
    classes: tuple[str, ...]
    candidates: Candidates
    cells: CellLoss | None = None
    gradient: np.ndarray | None = None
    objects: tuple[dict, ...] = ()
    truth: Detections | None = None

    @property
    def detections(self) -> Detections:
        """What was found, with the corners moved into the image."""
        kept, found = self.candidates.kept, self.candidates
        return Detections(found.boxes_xyxy[kept], found.scores[kept], found.labels[kept]).clipped()

    @property
    def detection_numbers(self) -> dict[int, int]:
        """Place of a candidate that was kept -> its place among the detections."""
        return {int(k): n for n, k in enumerate(np.flatnonzero(self.candidates.kept))}

    def to_json(self) -> dict:
        """All of it in plain values; cells are [row, column], boxes [x0, y0, x1, y1] in fractions
        of the image, clipped to it."""
        numbers, found = self.detection_numbers, self.candidates
        rows = [self._candidate(k) for k in range(len(found.kept))]
        removed = [
            rows[k]
            | {
                "in_favour_of": numbers.get(int(found.by[k])),
                "iou": float(found.overlap[k]),
            }
            for k in np.flatnonzero(~found.kept)
        ]
        result = {
            "image": self.name,
            "grid": dataclasses.asdict(self.grid),
            "semantics": dataclasses.asdict(self.semantics),
            "classes": list(self.classes),
            "detections": [rows[k] for k in numbers],
            "suppressed": removed,
        }
        if self.cells is None:
            return result
        return result | {
            "terms": _named(self.cells.terms.sum(axis=0)),
            "objects": list(self.objects),
            "cell_terms": self.cells.terms.tolist(),
            "cell_gradient": self.gradient.tolist(),
        }

    def _candidate(self, k) -> dict:
        found = self.candidates
        return {
            "class": self.classes[found.labels[k]],
            "score": float(found.scores[k]),
            "box_xyxy": clip_xyxy(found.boxes_xyxy[k]).tolist(),
            "cell": _place(found.cells[k], self.grid),
            "box": int(found.boxes[k]),
        }


def explain(
    name,
    predictions,
    grid,
    semantics,
    classes,
    *,
    example=None,
    on_collision="first",
    impl="auto",
    **thresholds,
) -> Explanation:
    """Takes one image apart.

    Args:
        name: what it is called.
        predictions: ``[S, S, D]``, activated.
        grid, semantics: of the network.
        classes: names by label.
        example: an `Example` with the image's objects; None where nobody knows them.
        on_collision: which object a cell keeps.
        impl: of the loss.
        thresholds: score_threshold, iou_threshold, max_detections, suppression, sigma of
            `trace_suppression`.
    """
    semantics, predictions = LossSemantics.of(semantics), np.asarray(predictions, np.float32)
    found = trace_suppression(predictions, grid, semantics.wh, **thresholds)
    known = name, grid, semantics, tuple(classes), found
    if example is None:
        return Explanation(*known)
    targets = data.encode_example(example, grid, on_collision)
    options = {"grid": grid, "semantics": semantics}
    cells = cell_loss(predictions[None], targets[None], impl=impl, **options)
    gradient = gradient_by_term(cells, **options).numpy()[0]
    cells = CellLoss(*(part.numpy()[0] for part in cells))
    kept = ~example.difficult
    boxes, labels = example.boxes_cxcywh[kept], example.labels[kept]
    places, keepers = data.assign_cells(boxes, grid, on_collision)
    decoded = clip_xyxy(decode(predictions[None], grid, semantics.wh)[0].numpy()[0])
    seen = predictions.reshape(grid.cells, -1), decoded.reshape(grid.cells, grid.B, 4)
    corners = cxcywh_to_xyxy(boxes)
    objects = tuple(
        {
            "class": classes[label],
            "box_xyxy": corners[k].tolist(),
            "cell": _place(places[k], grid),
            **(
                {"lost_to": int(keepers[k])}
                if keepers[k] != k
                else _of_a_cell(cells, gradient, *seen, places[k], label)
            ),
        }
        for k, label in enumerate(labels)
    )
    truth = Detections(corners, np.ones(len(labels), np.float32), labels)
    return Explanation(*known, cells, gradient, objects, truth)


def _of_a_cell(cells, gradient, outputs, boxes, cell, label) -> dict:
    """What the loss has to say of the object that a cell keeps, and of the cell's boxes: those that
    are responsible first, then by falling overlap."""
    probability = float(outputs[cell, label])
    order = sorted(
        range(boxes.shape[1]), key=lambda j: (not cells.responsible[cell, j], -cells.iou[cell, j])
    )
    return {
        "class_probability": probability,
        "terms": _named(cells.terms[cell]),
        "gradient": _named(gradient[cell]),
        "boxes": [
            {
                "box": j,
                "responsible": bool(cells.responsible[cell, j]),
                "iou": float(cells.iou[cell, j]),
                "confidence": float(cells.confidences[cell, j]),
                "score": float(cells.confidences[cell, j]) * probability,
                "box_xyxy": boxes[cell, j].tolist(),
                "terms": _named(cells.box_terms[cell, j]),
            }
            for j in order
        ],
    }


def _named(values) -> dict:
    return dict(zip(TERMS, map(float, values), strict=False))


def _place(cell, grid) -> list[int]:
    return [int(cell) // grid.S, int(cell) % grid.S]
