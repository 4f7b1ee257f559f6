"""Pairwise IoU in plain TensorFlow as one writes it for speed: the baseline to beat.

`yolov1/ops/reference/box_iou.py` defines the gradient at ties, and takes every minimum twice for
that. This form leaves ties to TensorFlow, trusts that no corners are inverted, and computes what
belongs to one box before the boxes meet. Everywhere else both are the same.
"""

import math

import tensorflow as tf


def pairwise_iou(boxes_a, boxes_b, kind="iou"):
    """``[..., M, K]`` of corner boxes ``[..., M, 4]`` and ``[..., K, 4]``; in float32 or more."""
    dtype = boxes_a.dtype
    if dtype.size < 4:
        boxes_a, boxes_b = tf.cast(boxes_a, tf.float32), tf.cast(boxes_b, tf.float32)
    a, b = (
        tf.unstack(boxes_a[..., :, None, :], axis=-1),
        tf.unstack(boxes_b[..., None, :, :], axis=-1),
    )
    size_a, size_b = _size(a), _size(b)
    both = tf.nn.relu(tf.minimum(a[2], b[2]) - tf.maximum(a[0], b[0])) * tf.nn.relu(
        tf.minimum(a[3], b[3]) - tf.maximum(a[1], b[1])
    )
    union = size_a[0] * size_a[1] + size_b[0] * size_b[1] - both
    iou = tf.math.divide_no_nan(both, union)
    if kind != "iou":
        width = tf.maximum(a[2], b[2]) - tf.minimum(a[0], b[0])
        height = tf.maximum(a[3], b[3]) - tf.minimum(a[1], b[1])
        if kind == "giou":
            iou -= tf.math.divide_no_nan(width * height - union, width * height)
        else:
            x, y = ((a[0] + a[2]) - (b[0] + b[2])) / 2, ((a[1] + a[3]) - (b[1] + b[3])) / 2
            overlap, diagonal = iou, width * width + height * height
            iou -= tf.math.divide_no_nan(x * x + y * y, diagonal)
            if kind == "ciou":
                angle = tf.atan2(*size_a) - tf.atan2(*size_b)
                v = 4 / math.pi**2 * angle * angle
                iou -= tf.stop_gradient(tf.math.divide_no_nan(v, 1 - overlap + v)) * v
    return tf.cast(iou, dtype)


def _size(box):
    return box[2] - box[0], box[3] - box[1]
