"""Box IoU once more, in NumPy, from the words of `yolov1.ops.box_iou`: value and gradient.

Every number carries its derivatives by the eight coordinates of its pair along, so that nothing
goes backwards here as it does in the kernel and on TensorFlow's tape, and no derivative of a kind
is written down. In float64 it is the truth.
"""

from typing import NamedTuple

import numpy as np


class Number(NamedTuple):
    """A value ``[...]`` of each pair and its slopes ``[..., 8]`` by the pair's coordinates."""

    value: np.ndarray
    slopes: np.ndarray

    def __add__(self, other):
        return Number(self.value + other.value, self.slopes + other.slopes)

    def __neg__(self):
        return Number(-self.value, -self.slopes)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        slopes = self.slopes * other.value[..., None] + other.slopes * self.value[..., None]
        return Number(self.value * other.value, slopes)

    def times(self, factor):
        factor = np.asarray(factor, self.value.dtype)
        return Number(self.value * factor, self.slopes * factor[..., None])


def constant(value, like):
    return Number(np.full_like(like.value, value), np.zeros_like(like.slopes))


def least(a, b):
    """The lower of two; where they are equal, halfway between their slopes."""
    share = np.where(a.value < b.value, 1, np.where(a.value == b.value, 0.5, 0))[..., None]
    return Number(np.minimum(a.value, b.value), share * a.slopes + (1 - share) * b.slopes)


def most(a, b):
    return -least(-a, -b)


def above_0(number):
    return most(number, constant(0, number))


def ratio(a, b):
    """a / b by the quotient rule; 0 with slope 0 where b is 0."""
    zero = b.value == 0
    value = np.where(zero, 0, a.value / b.value)
    below = (b.value * b.value)[..., None]
    slopes = (a.slopes * b.value[..., None] - b.slopes * a.value[..., None]) / below
    return Number(value, np.where(zero[..., None], 0, slopes))


def angle(w, h):
    """atan(w / h); 0 with slope 0 for a box without sides."""
    below = w.value**2 + h.value**2
    slopes = (w.slopes * h.value[..., None] - h.slopes * w.value[..., None]) / below[..., None]
    value = np.where(below == 0, 0, np.arctan2(w.value, h.value))
    return Number(value, np.where(below[..., None] == 0, 0, slopes))


class Interval(NamedTuple):
    """What a box is on one axis."""

    low: Number
    high: Number

    def length(self):
        return above_0(self.high - self.low)

    def centre(self):
        return (self.low + self.high).times(0.5)

    def shared_with(self, other):
        return Interval(most(self.low, other.low), least(self.high, other.high))

    def around(self, other):
        return Interval(least(self.low, other.low), most(self.high, other.high))


def coordinates(boxes_a, boxes_b):
    """The eight coordinates of each pair, each of slope 1 by itself."""
    pairs = np.concatenate(np.broadcast_arrays(boxes_a, boxes_b), -1)
    slopes = np.broadcast_to(np.eye(8, dtype=pairs.dtype), (*pairs.shape, 8))
    return [Number(pairs[..., k], slopes[..., k, :]) for k in range(8)]


def axes(c0, c1, c2, c3, box_format):
    """The box on the x and on the y axis."""
    if box_format == "xyxy":
        return Interval(c0, c2), Interval(c1, c3)
    half_w, half_h = c2.times(0.5), c3.times(0.5)
    return Interval(c0 - half_w, c0 + half_w), Interval(c1 - half_h, c1 + half_h)


class Pairs(NamedTuple):
    """iou ``[...]``, its gradients by both boxes ``[..., 4]``; ciou's v and alpha (or 0)."""

    iou: np.ndarray
    by_a: np.ndarray
    by_b: np.ndarray
    v: np.ndarray
    alpha: np.ndarray


@np.errstate(all="ignore")
def pairs(boxes_a, boxes_b, kind="iou", box_format="xyxy", alpha=None) -> Pairs:
    """Boxes ``[..., 4]`` one by one, broadcast. `alpha`: that of ciou, where it is to be held."""
    numbers = coordinates(boxes_a, boxes_b)
    a, b = (axes(*half, box_format) for half in (numbers[:4], numbers[4:]))
    size_a, size_b = ([side.length() for side in box] for box in (a, b))
    shared = [one.shared_with(other).length() for one, other in zip(a, b, strict=True)]
    around = [one.around(other).length() for one, other in zip(a, b, strict=True)]
    overlap = shared[0] * shared[1]
    union = size_a[0] * size_a[1] + size_b[0] * size_b[1] - overlap
    value = ratio(overlap, union)
    iou, used = value.value, np.zeros_like(value.value)
    v = constant(0, value)
    if kind == "giou":
        enclosing = around[0] * around[1]
        value = value - ratio(enclosing - union, enclosing)
    if kind in ("diou", "ciou"):
        apart = [one.centre() - other.centre() for one, other in zip(a, b, strict=True)]
        value = value - ratio(*(x * x + y * y for x, y in (apart, around)))
    if kind == "ciou":
        turn = angle(*size_a) - angle(*size_b)
        v = (turn * turn).times(4 / np.pi**2)
        rest = 1 - iou + v.value
        used = np.where(rest == 0, 0, v.value / rest) if alpha is None else alpha
        value = value - v.times(used)
    return Pairs(value.value, value.slopes[..., :4], value.slopes[..., 4:], v.value, used)


def sum_to(array, shape):
    """`array` summed over the dimensions that were broadcast from `shape`."""
    array = array.sum(tuple(range(array.ndim - len(shape))))
    repeated = tuple(k for k, size in enumerate(shape) if size == 1)
    return array.sum(repeated, keepdims=True)


def as_mask(valid, boxes):
    """The mask of a mask, of counts or of None."""
    if valid is None:
        return np.ones(boxes.shape[:-1], bool)
    valid = np.asarray(valid)
    return valid if valid.dtype == bool else np.arange(boxes.shape[-2]) < valid[..., None]


def iou(op, boxes_a, boxes_b, upstream=1, valid_a=None, valid_b=None, **options):
    """Value and both gradients of ``"pairwise_iou"`` or ``"aligned_iou"``, in float64."""
    a, b = (boxes.astype(np.float64) for boxes in (boxes_a, boxes_b))
    valid_a, valid_b = as_mask(valid_a, a), as_mask(valid_b, b)
    if op == "pairwise_iou":
        a, b = a[..., :, None, :], b[..., None, :, :]
        valid_a, valid_b = valid_a[..., :, None], valid_b[..., None, :]
    counts = valid_a & valid_b
    out = pairs(a, b, **options)
    upstream = np.broadcast_to(np.asarray(upstream, np.float64), out.iou.shape)[..., None]
    by_a, by_b = (
        sum_to(np.where(counts[..., None], upstream * by, 0), boxes.shape).reshape(shape)
        for by, boxes, shape in (
            (out.by_a, a, boxes_a.shape),
            (out.by_b, b, boxes_b.shape),
        )
    )
    return np.where(counts, out.iou, 0), by_a, by_b
