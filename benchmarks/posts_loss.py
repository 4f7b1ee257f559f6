"""The losses of the two published posts, op for op the way such Keras code is written.

What they compute is in `yolov1.semantics` (presets ``keras_voc`` and ``tf2_person``); this is how:
boxes of every cell taken to a frame of the image by offsets that are rebuilt in each call, masks by
multiplication, one number for the batch. The code is ours, on this project's targets; the structure
is theirs, including what costs time. For two boxes a cell, layout "cells".
"""

import tensorflow as tf


def keras_voc(predictions, targets, grid):
    """The loss of "Implementing YOLOV1 from scratch using Keras Tensorflow".

    Args:
        predictions: ``[N, S, S, C + 10]``.
        targets: ``[N, S, S, C + 5]``.
        grid: the `GridSpec`, whose image_size gives the pixels.

    Returns:
        The sum of the batch, a scalar.
    """
    C, size = grid.C, float(grid.image_size)
    true_classes, response = targets[..., :C], targets[..., C : C + 1]
    classes, confidences = predictions[..., :C], predictions[..., C : C + 2]
    shape = [-1, grid.S, grid.S]
    true_xy, true_wh = _to_pixels(tf.reshape(targets[..., C + 1 :], [*shape, 1, 4]), grid)
    xy, wh = _to_pixels(tf.reshape(predictions[..., C + 2 :], [*shape, 2, 4]), grid)

    overlap = _pixel_iou(xy, wh, true_xy, true_wh)  # [N, S, S, 2]
    best = tf.reduce_max(overlap, axis=3, keepdims=True)
    box_mask = tf.cast(overlap >= best, predictions.dtype) * response
    no_object = 0.5 * (1 - box_mask) * tf.square(0 - confidences)
    with_object = box_mask * tf.square(1 - confidences)
    confidence_loss = tf.reduce_sum(no_object + with_object)
    class_loss = tf.reduce_sum(response * tf.square(true_classes - classes))
    mask = box_mask[..., None]
    box_loss = 5 * mask * tf.square((true_xy - xy) / size)
    box_loss += 5 * mask * tf.square((_clamped_sqrt(true_wh) - _clamped_sqrt(wh)) / size)
    return confidence_loss + class_loss + tf.reduce_sum(box_loss)


def _to_pixels(boxes, grid):
    """Centre and size in pixels of boxes ``[N, S, S, boxes, 4]``."""
    columns, rows = tf.meshgrid(tf.range(grid.S), tf.range(grid.S))
    offsets = tf.cast(tf.stack([columns, rows], axis=-1), boxes.dtype)
    offsets = tf.reshape(offsets, [1, grid.S, grid.S, 1, 2])
    return (boxes[..., :2] + offsets) / grid.S * grid.image_size, boxes[..., 2:] * grid.image_size


def _pixel_iou(xy, wh, true_xy, true_wh):
    low = tf.maximum(xy - wh / 2, true_xy - true_wh / 2)
    high = tf.minimum(xy + wh / 2, true_xy + true_wh / 2)
    sides = tf.maximum(high - low, 0)
    both = sides[..., 0] * sides[..., 1]
    area, true_area = wh[..., 0] * wh[..., 1], true_wh[..., 0] * true_wh[..., 1]
    return both / (area + true_area - both)


def _clamped_sqrt(value):
    return tf.sqrt(tf.clip_by_value(value, 0.0, value.dtype.max))


def tf2_person(predictions, targets, grid):
    """The loss of "YOLOV1 - Tensorflow 2.0"; arguments and result as those of `keras_voc`."""
    C = grid.C
    mask = targets[..., C] > 0
    true_classes = tf.boolean_mask(targets[..., :C], mask)
    true_box = tf.boolean_mask(targets[..., C + 1 :], mask)
    found = tf.boolean_mask(predictions, mask)
    first, second = found[:, C + 2 : C + 6], found[:, C + 6 : C + 10]

    true_corners = _corners(true_box, grid)
    first_iou = _abs_iou(_corners(first, grid), true_corners)
    second_iou = _abs_iou(_corners(second, grid), true_corners)
    take_first = (first_iou > second_iou)[:, None]
    box = tf.where(take_first, first, second)
    confidence = tf.where(take_first[:, 0], found[:, C], found[:, C + 1])

    empty = tf.boolean_mask(predictions[..., C : C + 2], ~mask)
    place = tf.reduce_sum(tf.square(true_box[:, :2] - box[:, :2]))
    size = tf.reduce_sum(tf.square(_ten_step_sqrt(true_box[:, 2:]) - _ten_step_sqrt(box[:, 2:])))
    return (
        5 * place
        + 5 * size
        + tf.reduce_sum(tf.square(1 - confidence))
        + 0.5 * tf.reduce_sum(tf.square(empty[:, 0]))
        + 0.5 * tf.reduce_sum(tf.square(empty[:, 1]))
        + tf.reduce_sum(tf.square(true_classes - found[:, :C]))
    )


def _corners(boxes, grid):
    """Left, top, right, bottom in cells, each ``[K]``; the cell's own corner is the origin."""
    x, y, w, h = (boxes[:, k] for k in range(4))
    half_w, half_h = w / 2 * grid.S, h / 2 * grid.S
    return x - half_w, y - half_h, x + half_w, y + half_h


def _abs_iou(a, b):
    width = tf.abs(tf.minimum(a[2], b[2]) - tf.maximum(a[0], b[0]))
    height = tf.abs(tf.minimum(a[3], b[3]) - tf.maximum(a[1], b[1]))
    both = width * height
    area_a, area_b = (tf.abs((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b))
    return both / (area_a + area_b - both)


def _ten_step_sqrt(value):
    root = value
    for _ in range(10):
        root = 0.5 * (root + tf.math.divide_no_nan(value, root))
    return root
