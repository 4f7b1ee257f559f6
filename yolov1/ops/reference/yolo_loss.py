"""The YOLO loss in plain TensorFlow. `yolov1.semantics` has the formula and every choice.

Written to be read: one line here for one sentence there. Values that the loss does not read are
replaced by zeros with `tf.where` before anything is computed from them, never multiplied by a zero
mask afterwards: zero times NaN is NaN, in the loss and again in its gradient.
"""

from typing import NamedTuple

import tensorflow as tf

from yolov1.activations import resolve_activations
from yolov1.data.targets import encode_targets_in_graph
from yolov1.ops.reference.box_iou import aligned_iou

_LEAST_PROBABILITY = 2.0**-20  # what a logarithm is taken of, at least


class Cells(NamedTuple):
    """What the loss reads of every cell, and which boxes it holds responsible."""

    classes: tf.Tensor  # [N, L, C]
    confidences: tf.Tensor  # [N, L, B]
    boxes: tf.Tensor  # [N, L, B, 4], as predicted
    flags: tf.Tensor  # [N, L]; `_marks_object` where the cell holds one
    target_classes: tf.Tensor  # [N, L, C]
    target_boxes: tf.Tensor  # [N, L, 4]; zeros where there is no object
    overlap: tf.Tensor  # [N, L, B], as `LossSemantics.iou_overlap` says
    responsible: tf.Tensor  # [N, L, B] bool; False where there is no object


def yolo_loss(predictions, targets, grid, semantics, layout, activations="linear"):
    """Loss ``[N]`` and terms ``[N, 5]`` of checked arguments; see `yolov1.ops.yolo_loss`.

    Differentiable in the predictions as often as wanted.
    """
    cells = read_cells(predictions, targets, grid, semantics, layout, activations)
    terms = _weighted([_sum(parts, 1) for parts in _parts(cells, grid, semantics)], semantics)
    return tf.reduce_sum(terms, axis=-1), terms


def terms_by_cell(cells: Cells, grid, semantics):
    """What each cell adds to each term of `yolo_loss`: ``[N, L, 5]``."""
    return _weighted([_sum(parts, 2) for parts in _parts(cells, grid, semantics)], semantics)


def terms_by_box(cells: Cells, grid, semantics):
    """What each box adds to the first four terms of `yolo_loss`: ``[N, L, B, 4]``. (The class term
    is a cell's; so is the NaN of a flag that is not finite.)"""
    xy, wh, (confidence, _), no_object, _ = _parts(cells, grid, semantics)
    sums = [_sum(parts, 3) for parts in (xy, wh, [confidence], no_object)]
    return _weighted([*sums, tf.zeros_like(sums[0])], semantics)[..., :4]


def _parts(cells, grid, semantics):
    """The numbers whose sum is a term, before its weight: of each of the five terms a list of
    tensors ``[N, L, ...]``."""
    classes, confidences, boxes, flags, target_classes, target_boxes, overlap, responsible = cells
    in_object = _marks_object(flags)[..., None]  # [N, L, 1]
    if semantics.no_object == "non_responsible":
        no_object = ~responsible
    else:
        no_object = tf.broadcast_to(~in_object, tf.shape(responsible))

    # x, y, w, h of responsible boxes and of the object, [N, L, B, 4]; zeros elsewhere
    box = tf.where(responsible[..., None], boxes, 0)
    truth = tf.where(responsible[..., None], target_boxes[..., None, :], 0)
    if semantics.box == "squared":
        size = _predicted_size(box[..., 2:], semantics.wh)
        target_size = _target_size(truth[..., 2:], semantics.wh)
        xy, wh = _square(box[..., :2] - truth[..., :2]), _square(size - target_size)
    else:
        xy = _one_minus_iou(box, truth, responsible, grid, semantics)
        wh = tf.zeros_like(xy)
    if semantics.confidence_target == "iou":
        confidence_target = overlap
    else:
        confidence_target = tf.ones_like(overlap)
    if semantics.confidence_loss == "squared":
        of_object = _square(tf.where(responsible, confidences - confidence_target, 0))
        of_others = _square(tf.where(no_object, confidences, 0))
    else:  # a confidence of 0 whose target is 0 costs nothing
        target = tf.where(responsible, confidence_target, 0)
        confidence = tf.where(responsible, confidences, 0)
        of_object = _entropy(confidence, target) + (1 - target) * _entropy_of_none(confidence)
        of_others = _entropy_of_none(tf.where(no_object, confidences, 0))
    if semantics.class_loss == "squared":
        of_classes = _square(tf.where(in_object, classes - target_classes, 0))
    else:
        of_classes = _entropy(*(tf.where(in_object, x, 0) for x in (classes, target_classes)))
    # A flag that is not finite marks broken targets: it makes the object term NaN.
    broken = tf.where(tf.math.is_finite(flags), tf.zeros_like(flags), float("nan"))
    return [xy], [wh], [of_object, broken], [of_others], [of_classes]


def _weighted(sums, semantics):
    """Five tensors of one shape, each times its weight, as the last axis of one."""
    weights = (
        semantics.weight_xy,
        semantics.weight_wh if semantics.box == "squared" else 0.0,
        semantics.weight_object,
        semantics.weight_no_object,
        semantics.weight_class,
    )
    scaled = [semantics.factor * weight * term for weight, term in zip(weights, sums, strict=True)]
    # Not add_n, which may begin with any of its arguments: a graph would not repeat its last bit.
    return tf.stack(scaled, axis=-1)


def _sum(parts, axis):
    """The sum of tensors, each over its axes from `axis` on."""
    first, *rest = (tf.reduce_sum(part, axis=list(range(axis, part.shape.rank))) for part in parts)
    return sum(rest, first)


def _square(difference):
    return difference * difference


def _entropy(p, target):
    """-target log(p)."""
    return -target * tf.math.log(_clipped(p, _LEAST_PROBABILITY, 1))


def _entropy_of_none(p):
    """-log(1 - p)."""
    return -tf.math.log1p(-_clipped(p, 0, 1 - _LEAST_PROBABILITY))


def _clipped(p, low, high):
    """`p` clipped, with the gradient as if it were not; NaN where it is not finite."""
    constant = tf.stop_gradient(p)
    return tf.clip_by_value(constant, low, high) + (p - constant)


def encode(boxes, grid, on_collision):
    """`yolov1.kernels.Boxes` as targets ``[N, S, S, C + 5]``, float32."""
    boxes_cxcywh, labels, valid = boxes
    labels = tf.cast(labels, tf.int32)
    if valid.shape.rank == 1:
        valid = tf.sequence_mask(valid, tf.shape(labels)[1])
    boxes_cxcywh = tf.where(valid[..., None], tf.cast(boxes_cxcywh, tf.float32), 0)
    return encode_targets_in_graph(boxes_cxcywh, labels, valid, grid, on_collision)[0]


def read_cells(predictions, targets, grid, semantics, layout, activations="linear") -> Cells:
    """The `Cells` of checked arguments: the one place that chooses the responsible boxes."""
    classes, confidences, boxes = _split(predictions, grid, layout)
    flags, target_classes, target_boxes = _split_targets(targets, grid)
    in_object = _marks_object(flags)[..., None]
    classes, confidences, boxes = _activated(classes, confidences, boxes, in_object, activations)
    target_boxes = tf.where(in_object, target_boxes, 0)
    overlap = _overlap(boxes, target_boxes, grid, semantics)
    responsible = in_object & _responsible(overlap, boxes, target_boxes, grid, semantics)
    return Cells(
        *(classes, confidences, boxes, flags, target_classes, target_boxes, overlap, responsible)
    )


def activate(predictions, targets, grid, layout, activations):
    """Raw outputs as the predictions that the loss reads beside such targets, in their layout."""
    in_object = _marks_object(_split_targets(targets, grid)[0])[..., None]
    parts = _split(predictions, grid, layout)
    classes, confidences, boxes = _activated(*parts, in_object, activations)
    images = tf.shape(predictions)[0]
    if layout == "cells":
        boxes = tf.reshape(boxes, [-1, grid.cells, 4 * grid.B])
        cells = tf.concat([classes, confidences, boxes], axis=-1)
        return tf.reshape(cells, [images, *grid.prediction_shape])
    return tf.concat([tf.reshape(part, [images, -1]) for part in (classes, confidences, boxes)], 1)


def _activated(classes, confidences, boxes, in_object, activations):
    if resolve_activations(activations)["classes"] == "softmax":
        # Of empty cells they are not read: what softmax makes of a NaN has a gradient.
        classes = tf.where(in_object, classes, 0)
    act = {block: _ACTIVATE[name] for block, name in resolve_activations(activations).items()}
    boxes = tf.concat([act["xy"](boxes[..., :2]), act["wh"](boxes[..., 2:])], axis=-1)
    return act["classes"](classes), act["confidences"](confidences), boxes


def boxes_cxcywh(boxes, grid, wh):
    """Boxes ``[..., 4]`` of a cell in the frame in which their overlaps are compared."""
    return tf.stack(_frame(boxes, grid, wh), axis=-1)


def _split(predictions, grid, layout):
    """Classes ``[N, L, C]``, confidences ``[N, L, B]``, boxes ``[N, L, B, 4]``."""
    L, B, C = grid.cells, grid.B, grid.C
    if layout == "cells":
        cells = tf.reshape(predictions, [-1, L, grid.channels])
        parts = tf.split(cells, [C, B, 4 * B], axis=-1)
    else:
        parts = tf.split(predictions, [L * C, L * B, L * 4 * B], axis=-1)
    return (
        tf.reshape(parts[0], [-1, L, C]),
        tf.reshape(parts[1], [-1, L, B]),
        tf.reshape(parts[2], [-1, L, B, 4]),
    )


def _sigmoid(x):
    """The sigmoid, with the gradient 0 of a NaN whose value is not read."""
    broken = tf.math.is_nan(x)
    return tf.where(broken, x, tf.sigmoid(tf.where(broken, tf.zeros_like(x), x)))


_ACTIVATE = {"linear": tf.identity, "sigmoid": _sigmoid, "softmax": tf.nn.softmax}


def _marks_object(flags):
    """Whether flags are not 0. Subnormal ones are, as they are to TensorFlow's threads."""
    # Not as ~(a < b): graphs make a >= b of that, which is another answer for NaN.
    smallest = 2.0**-1022 if flags.dtype == tf.float64 else 2.0**-126  # a normal number
    return (tf.abs(flags) >= smallest) | tf.math.is_nan(flags)


def _split_targets(targets, grid):
    """Flags ``[N, L]``, classes ``[N, L, C]``, boxes ``[N, L, 4]``."""
    cells = tf.reshape(targets, [-1, grid.cells, grid.target_channels])
    return (
        cells[..., grid.target_object_channel],
        cells[..., : grid.C],
        cells[..., grid.target_box_channels],
    )


def _frame(boxes, grid, wh):
    """x, y, w, h in fractions of the image, the centre counted from the cell's corner."""
    x, y, w, h = tf.unstack(boxes, axis=-1)
    if wh == "predict_sqrt":
        w, h = w * w, h * h
    cell = 1 / grid.S  # times it and not by S, as in the kernel: edges that meet then meet in both
    return x * cell, y * cell, w, h


def _overlap(boxes, target_boxes, grid, semantics):
    """Overlap of each predicted box with its cell's object, ``[N, L, B]``; a NaN counts as 0."""
    x, y, w, h = _frame(tf.stop_gradient(boxes), grid, semantics.wh)
    tx, ty, tw, th = _frame(target_boxes[..., None, :], grid, "plain")
    width = tf.minimum(x + w / 2, tx + tw / 2) - tf.maximum(x - w / 2, tx - tw / 2)
    height = tf.minimum(y + h / 2, ty + th / 2) - tf.maximum(y - h / 2, ty - th / 2)
    area, target_area = w * h, tw * th
    if semantics.iou_overlap == "abs":
        width, height, area, target_area = map(tf.abs, (width, height, area, target_area))
    else:
        width, height = tf.maximum(width, 0), tf.maximum(height, 0)
    intersection = width * height
    overlap = intersection / (area + target_area - intersection)
    return tf.where(tf.math.is_nan(overlap), tf.zeros_like(overlap), overlap)


def _responsible(overlap, boxes, target_boxes, grid, semantics):
    """Which boxes would be responsible if their cell held an object, ``[N, L, B]`` bool."""
    best = tf.reduce_max(overlap, axis=-1, keepdims=True)
    tied = overlap == best
    if semantics.ties == "all":
        chosen = tied
    elif semantics.ties == "first":
        chosen = _first(tied, grid.B)
    else:
        chosen = tf.reverse(_first(tf.reverse(tied, [-1]), grid.B), [-1])
    if semantics.no_overlap_fallback == "none":
        return chosen
    x, y, w, h = _frame(tf.stop_gradient(boxes), grid, semantics.wh)
    tx, ty, tw, th = _frame(target_boxes[..., None, :], grid, "plain")
    error = tf.sqrt((x - tx) ** 2 + (y - ty) ** 2 + (w - tw) ** 2 + (h - th) ** 2)
    error = tf.where(tf.math.is_nan(error), tf.constant(float("inf"), error.dtype), error)
    nearest = _first(error == tf.reduce_min(error, axis=-1, keepdims=True), grid.B)
    return tf.where(best > 0, chosen, nearest)


def _first(mask, count):
    """`mask` with only the first true value of each last-axis row kept."""
    return tf.one_hot(
        tf.argmax(tf.cast(mask, tf.int32), axis=-1), count, True, False, dtype=tf.bool
    )


def _sqrt_or_zero(value):
    """sqrt(max(v, 0)) with derivative 0 for v <= 0; a NaN stays NaN."""
    not_positive = value <= 0
    root = tf.sqrt(tf.where(not_positive, tf.ones_like(value), value))
    return tf.where(not_positive, tf.zeros_like(root), root)


def _heron10(value):
    """Ten Babylonian steps started at the value itself, x / 0 := 0."""
    root = value
    for _ in range(10):
        root = (root + tf.math.divide_no_nan(value, root)) / 2
    return root


def _predicted_size(output, wh):
    if wh == "sqrt_in_loss":
        return _sqrt_or_zero(output)
    return _heron10(output) if wh == "heron10" else output


def _target_size(size, wh):
    return tf.sqrt(size) if wh == "predict_sqrt" else _predicted_size(size, wh)


def _one_minus_iou(box, truth, responsible, grid, semantics):
    """Of the responsible boxes, ``[N, L, B]``; 0 of the others."""
    # A value that is not finite makes all of the box NaN: 1 - K of an infinite box would be 1.
    finite = tf.reduce_all(tf.math.is_finite(box) & tf.math.is_finite(truth), -1, keepdims=True)
    box += tf.where(finite, tf.zeros_like(box), float("nan"))
    boxes = boxes_cxcywh(box, grid, semantics.wh)
    objects = boxes_cxcywh(truth, grid, "plain")
    overlap = aligned_iou(boxes, objects, responsible, None, semantics.box, "cxcywh")
    return tf.where(responsible, 1 - overlap, 0)
