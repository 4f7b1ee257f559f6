"""The YOLO loss once more, in NumPy: value, terms and gradient, from the words of `semantics`.

It gathers the cells that hold an object (K of them) and computes those alone, so that it shares no
way of thinking with the kernel (one cell after another) or the reference (masks over all cells).
In float64 it is the truth; in float32 it tells which values overflow there.
"""

from typing import NamedTuple

import numpy as np

from tests.ops import iou_numpy

EPS32 = 2.0**-24  # relative error of one float32 operation, in which every narrow dtype is computed


class Loss(NamedTuple):
    """loss ``[N]``, terms ``[N, 5]``, gradient like the predictions, responsible ``[N, L, B]``."""

    loss: np.ndarray
    terms: np.ndarray
    gradient: np.ndarray
    responsible: np.ndarray


class ObjectCells(NamedTuple):
    """The cells that hold an object: ``at`` indexes ``[N, L]``, boxes have ``[K, B]`` rows."""

    at: tuple
    outputs: np.ndarray  # [K, B, 4], as predicted
    frame: np.ndarray  # [K, B, 4], x, y, w, h in fractions of the image
    target: np.ndarray  # [K, 1, 4], as in the targets
    target_frame: np.ndarray  # [K, 1, 4]


def split(predictions, grid, layout="cells"):
    """Classes ``[N, L, C]``, confidences ``[N, L, B]``, boxes ``[N, L, B, 4]``."""
    L, B, C = grid.cells, grid.B, grid.C
    if layout == "cells":
        parts = np.split(predictions.reshape(-1, L, grid.channels), [C, C + B], axis=-1)
    else:
        parts = np.split(predictions, [L * C, L * (C + B)], axis=-1)
    shapes = (L, C), (L, B), (L, B, 4)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def join(classes, confidences, boxes, grid, layout="cells"):
    """What `split` took apart."""
    images, parts = len(classes), (classes, confidences, boxes)
    if layout == "cells":
        rows = [part.reshape(images, grid.cells, np.prod(part.shape[2:])) for part in parts]
        return np.concatenate(rows, -1).reshape(images, *grid.prediction_shape)
    return np.concatenate([part.reshape(images, np.prod(part.shape[1:])) for part in parts], -1)


def object_cells(predictions, targets, grid, semantics, layout="cells", dtype=np.float64):
    """The `ObjectCells` of a batch."""
    cells = targets.reshape(-1, grid.cells, grid.target_channels)
    flags = cells[..., grid.target_object_channel]
    flags = flags.astype(np.float64 if flags.dtype == np.float64 else np.float32)
    flags = flags.astype(np.float64 if flags.dtype == np.float64 else np.float32)
    at = np.nonzero(~(np.abs(flags) < np.finfo(flags.dtype).tiny))  # subnormal ones count as 0
    outputs = split(predictions, grid, layout)[2][at].astype(dtype)
    target = cells[at][:, None, grid.target_box_channels].astype(dtype)
    frame, target_frame = outputs.copy(), target.copy()
    frame[..., :2] /= grid.S
    target_frame[..., :2] /= grid.S
    if semantics.wh == "predict_sqrt":
        frame[..., 2:] *= outputs[..., 2:]
    return ObjectCells(at, outputs, frame, target, target_frame)


def overlaps(cells, semantics):
    """Overlap ``[K, B]``, sides of the intersection ``[K, B, 2]``, union ``[K, B]``."""
    low = np.maximum(*(box[..., :2] - box[..., 2:] / 2 for box in cells[2::2]))
    high = np.minimum(*(box[..., :2] + box[..., 2:] / 2 for box in cells[2::2]))
    sides = high - low
    area, target_area = (box[..., 2] * box[..., 3] for box in cells[2::2])
    if semantics.iou_overlap == "abs":
        sides, area, target_area = np.abs(sides), np.abs(area), np.abs(target_area)
    intersection = np.maximum(sides, 0).prod(-1)
    union = area + target_area - intersection
    overlap = intersection / union
    return np.where(np.isnan(overlap), 0, overlap), sides, union


def distances(cells):
    """Root mean square error ``[K, B]`` but for the factor; a NaN is farther than anything."""
    distance = np.sqrt(((cells.frame - cells.target_frame) ** 2).sum(-1))
    return np.where(np.isnan(distance), np.inf, distance)


def choose(cells, semantics):
    """Overlap ``[K, B]`` and whether each box is responsible, ``[K, B]``."""
    overlap = overlaps(cells, semantics)[0]
    best = overlap.max(-1, keepdims=True)
    count, index = overlap.shape[-1], np.arange(overlap.shape[-1])
    if semantics.ties == "all":
        chosen = overlap == best
    elif semantics.ties == "first":
        chosen = index == overlap.argmax(-1)[:, None]
    else:
        chosen = index == count - 1 - overlap[:, ::-1].argmax(-1)[:, None]
    if semantics.no_overlap_fallback == "rmse":
        nearest = index == distances(cells).argmin(-1)[:, None]
        chosen = np.where(best > 0, chosen, nearest)
    return overlap, chosen


def size(value, wh):
    """q(v) of predicted or target sizes that are no square roots, and its derivative."""
    if wh == "sqrt_in_loss":
        root = np.sqrt(np.where(value <= 0, 0, value))
        return root, np.where(value <= 0, 0, 0.5 / root)
    if wh == "heron10":
        root, slope = value, np.ones_like(value)
        for _ in range(10):
            safe = np.where(root == 0, 1, root)
            quotient = np.where(root == 0, 0, value / safe)
            slope = (slope + np.where(root == 0, 0, (1 - quotient * slope) / safe)) / 2
            root = (root + quotient) / 2
        return root, slope
    return value, np.ones_like(value)


def squared_boxes(cells, semantics):
    """The xy and wh terms ``[K, B]`` of each box, before their weights and as if it were
    responsible, and the gradient of both with their weights by the outputs ``[K, B, 4]``."""
    target_size, _ = size(cells.target[..., 2:], semantics.wh)
    if semantics.wh == "predict_sqrt":
        target_size = np.sqrt(target_size)
    predicted_size, slope = size(cells.outputs[..., 2:], semantics.wh)
    xy, wh = cells.outputs[..., :2] - cells.target[..., :2], predicted_size - target_size
    by_xy, by_wh = 2 * semantics.weight_xy * xy, 2 * semantics.weight_wh * wh * slope
    return (xy**2).sum(-1), (wh**2).sum(-1), np.concatenate([by_xy, by_wh], -1)


def overlapping_boxes(cells, grid, semantics):
    """The same where `semantics.box` is not "squared"; NaN where a box is not finite."""
    broken = sum((x - x).sum(-1, keepdims=True) for x in (cells.outputs, cells.target))
    pairs = iou_numpy.pairs(cells.frame + broken, cells.target_frame, semantics.box, "cxcywh")
    by_frame = np.ones_like(cells.outputs)
    by_frame[..., :2] /= grid.S
    if semantics.wh == "predict_sqrt":
        by_frame[..., 2:] = 2 * cells.outputs[..., 2:]
    gradient = -semantics.weight_xy * pairs.by_a * by_frame
    return 1 - pairs.iou, np.zeros_like(pairs.iou), gradient


def penalty(kind, p, target):
    """What confidences cost, by the term's weight: value and derivative."""
    if kind == "squared":
        return (p - target) ** 2, 2 * (p - target)
    of, none = class_penalty(kind, p, target), class_penalty(kind, 1 - p, 1 - target)
    return of[0] + none[0], of[1] - none[1]


def class_penalty(kind, p, target):
    """The same of class probabilities."""
    if kind == "squared":
        return penalty(kind, p, target)
    p = p.clip(2.0**-20, 1) + (p - p)  # NaN where it is not finite
    return -target * np.log(p), -target / p


@np.errstate(all="ignore")
def yolo_loss(predictions, targets, grid, semantics, layout="cells", dtype=np.float64) -> Loss:
    """Value, terms and gradient, computed in `dtype`; arguments as in `yolov1.kernels`."""
    s = semantics
    classes, confidences, boxes = (a.astype(dtype) for a in split(predictions, grid, layout))
    cells = object_cells(predictions, targets, grid, s, layout, dtype)
    overlap, chosen = choose(cells, s)
    at, target = cells.at, targets.reshape(-1, grid.cells, grid.target_channels)[cells.at]
    flag = target[:, grid.target_object_channel].astype(dtype)

    no_object = np.ones(confidences.shape, bool)
    no_object[at] = ~chosen if s.no_object == "non_responsible" else False
    responsible = np.zeros(confidences.shape, bool)
    responsible[at] = chosen

    if s.box == "squared":
        xy, wh, by_outputs = squared_boxes(cells, s)
    else:
        xy, wh, by_outputs = overlapping_boxes(cells, grid, s)
    confidence_target = np.ones_like(overlap) if s.confidence_target == "one" else overlap
    of_object, by_object = penalty(s.confidence_loss, confidences[at], confidence_target)
    of_none, by_none = penalty(s.confidence_loss, confidences, dtype(0))
    true_classes = target[:, : grid.C].astype(dtype)
    of_class, by_class = class_penalty(s.class_loss, classes[at], true_classes)

    terms = np.zeros((len(classes), 5), dtype)
    np.add.at(terms[:, 0], at[0], np.where(chosen, xy, 0).sum(-1))
    np.add.at(terms[:, 1], at[0], np.where(chosen, wh, 0).sum(-1))
    # NaN where the flag is not finite
    np.add.at(terms[:, 2], at[0], np.where(chosen, of_object, 0).sum(-1) + (flag - flag))
    terms[:, 3] = np.where(no_object, of_none, 0).sum((1, 2))
    np.add.at(terms[:, 4], at[0], of_class.sum(-1))
    weight_wh = s.weight_wh if s.box == "squared" else 0
    weights = [s.weight_xy, weight_wh, s.weight_object, s.weight_no_object, s.weight_class]
    terms *= np.array([s.factor * weight for weight in weights], dtype)

    by_classes, by_boxes = np.zeros_like(classes), np.zeros_like(boxes)
    by_classes[at] = s.factor * s.weight_class * by_class
    by_confidences = np.where(no_object, s.factor * s.weight_no_object * by_none, 0)
    by_confidences[at] += np.where(chosen, s.factor * s.weight_object * by_object, 0)
    by_boxes[at] = np.where(chosen[..., None], s.factor * by_outputs, 0)
    gradient = join(by_classes, by_confidences, by_boxes, grid, layout)
    return Loss(terms.sum(-1), terms, gradient, responsible)


@np.errstate(all="ignore")
def overlap_noise(cells, semantics):
    """How far float32 may take each overlap from its value, ``[K, B]``: to first order, with four
    roundings for every number that goes into it; not finite where the union vanishes."""
    overlap, sides, union = overlaps(cells, semantics)
    extent = np.abs(cells.frame) + np.abs(cells.target_frame)  # [K, B, 4]
    side = 4 * EPS32 * (extent[..., :2] + extent[..., 2:])
    intersection = (side * np.abs(sides)[..., ::-1]).sum(-1) + side.prod(-1)
    area = 4 * EPS32 * sum(np.abs(box[..., 2:].prod(-1)) for box in cells[2::2])
    return (intersection + np.abs(overlap) * (intersection + area)) / np.abs(union)


@np.errstate(all="ignore")
def undecided(predictions, targets, grid, semantics, layout="cells"):
    """Cells ``[N, L]`` whose responsible boxes float32 may see otherwise than float64 does.

    Equal boxes are no reason: they are equal in float32 too. Nor are boxes that are well apart from
    the object, whose overlaps are exactly 0.
    """
    cells = object_cells(predictions, targets, grid, semantics, layout)
    overlap, sides, _ = overlaps(cells, semantics)
    noise = overlap_noise(cells, semantics)
    extent = (np.abs(cells.frame) + np.abs(cells.target_frame)).max(-1)
    touching = np.abs(sides.min(-1)) <= 8 * EPS32 * extent  # an overlap of 0, or just not
    best = overlap.argmax(-1)[:, None]

    def of_best(values):
        return np.take_along_axis(values, best, 1)

    same = (cells.frame == np.take_along_axis(cells.frame, best[..., None], 1)).all(-1)
    apart = (overlap == 0) & (of_best(overlap) == 0)
    near = ~(np.abs(overlap - of_best(overlap)) > noise + of_best(noise)) & ~same & ~apart
    doubtful = (near | touching | ~np.isfinite(noise)).any(-1)
    if semantics.no_overlap_fallback == "rmse":
        distance = distances(cells)
        nearest = distance.argmin(-1)[:, None]
        other = (cells.frame != np.take_along_axis(cells.frame, nearest[..., None], 1)).any(-1)
        gap = distance - np.take_along_axis(distance, nearest, 1)
        doubtful |= (other & (gap <= 16 * EPS32 * extent)).any(-1)
    out = np.zeros((len(predictions), grid.cells), bool)
    out[cells.at] = doubtful
    return out
