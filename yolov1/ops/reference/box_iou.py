"""Batched IoU in plain TensorFlow. `yolov1.ops.box_iou` has the formulas and the special cases."""

import functools
import math

import tensorflow as tf


def pairwise_iou(boxes_a, boxes_b, valid_a, valid_b, kind, box_format):
    """``[..., M, K]`` of checked boxes ``[..., M, 4]``, ``[..., K, 4]``; masks bool or None.

    Differentiable in both as often as wanted.
    """
    valid_a = None if valid_a is None else valid_a[..., :, None]
    valid_b = None if valid_b is None else valid_b[..., None, :]
    return aligned_iou(
        boxes_a[..., :, None, :], boxes_b[..., None, :, :], valid_a, valid_b, kind, box_format
    )


def aligned_iou(boxes_a, boxes_b, valid_a, valid_b, kind, box_format):
    """``[...]`` of checked boxes ``[..., 4]``; otherwise as `pairwise_iou`."""
    valid = [mask for mask in (valid_a, valid_b) if mask is not None]
    if not valid:
        return _value(boxes_a, boxes_b, kind, box_format)
    valid = functools.reduce(tf.logical_and, valid)
    # Replaced before anything is computed, in both boxes of the pair: zero times NaN is NaN.
    boxes_a, boxes_b = (tf.where(valid[..., None], boxes, 0) for boxes in (boxes_a, boxes_b))
    return tf.where(valid, _value(boxes_a, boxes_b, kind, box_format), 0)


def _value(boxes_a, boxes_b, kind, box_format):
    return _KINDS[kind](_Pair(_corners(boxes_a, box_format), _corners(boxes_b, box_format)))


def _corners(boxes, box_format):
    a, b, c, d = tf.unstack(boxes, 4, axis=-1)
    if box_format == "xyxy":
        return a, b, c, d
    return a - c / 2, b - d / 2, a + c / 2, b + d / 2


def _minimum(a, b):
    """TensorFlow gives the gradient of a tie to the first argument; this one gives half to each."""
    return tf.minimum(a, b) / 2 + tf.minimum(b, a) / 2


def _maximum(a, b):
    return tf.maximum(a, b) / 2 + tf.maximum(b, a) / 2


def _above_0(value):
    return _maximum(value, tf.zeros_like(value))


def _ratio(a, b):
    """a / b, and 0 with gradient 0 where b is 0."""
    zero = b == 0
    return tf.where(zero, tf.zeros_like(b), a / tf.where(zero, tf.ones_like(b), b))


class _Pair:
    """What the kinds are made of, of every pair."""

    def __init__(self, a, b):
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a, b
        self.size_a = _above_0(ax1 - ax0), _above_0(ay1 - ay0)
        self.size_b = _above_0(bx1 - bx0), _above_0(by1 - by0)
        width = _above_0(_minimum(ax1, bx1) - _maximum(ax0, bx0))
        height = _above_0(_minimum(ay1, by1) - _maximum(ay0, by0))
        intersection = width * height
        areas = self.size_a[0] * self.size_a[1] + self.size_b[0] * self.size_b[1]
        self.union = areas - intersection
        self.iou = _ratio(intersection, self.union)
        self.enclosing = (
            _above_0(_maximum(ax1, bx1) - _minimum(ax0, bx0)),
            _above_0(_maximum(ay1, by1) - _minimum(ay0, by0)),
        )
        self.between_centres = ((ax0 + ax1) - (bx0 + bx1)) / 2, ((ay0 + ay1) - (by0 + by1)) / 2


def _iou(pair):
    return pair.iou


def _giou(pair):
    enclosing = pair.enclosing[0] * pair.enclosing[1]
    return pair.iou - _ratio(enclosing - pair.union, enclosing)


def _diou(pair):
    return pair.iou - _ratio(_squares(pair.between_centres), _squares(pair.enclosing))


def _ciou(pair):
    difference = _angle(*pair.size_a) - _angle(*pair.size_b)
    v = 4 / math.pi**2 * difference**2
    alpha = tf.stop_gradient(_ratio(v, 1 - pair.iou + v))
    return _diou(pair) - alpha * v


def _angle(width, height):
    """atan(width / height), and 0 with gradient 0 where both are 0, or their squares are."""
    empty = _squares((width, height)) == 0
    width = tf.where(empty, tf.zeros_like(width), width)
    return tf.math.atan2(width, tf.where(empty, tf.ones_like(height), height))


def _squares(vector):
    x, y = vector
    return x * x + y * y


_KINDS = {"iou": _iou, "giou": _giou, "diou": _diou, "ciou": _ciou}
