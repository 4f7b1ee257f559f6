"""The overlap of two boxes and its gradient once more, in NumPy: the twin of one localisation term.

Each number carries its derivative by the four of the predicted box along, so that it shares no way
of thinking with the kernel (written backwards by hand) or the reference (a tape).
"""

from typing import NamedTuple

import numpy as np


class Number(NamedTuple):
    """Values ``[...]`` and their derivatives by x, y, w, h of the predicted box, ``[..., 4]``."""

    value: np.ndarray
    slope: np.ndarray

    def __add__(self, other):
        return Number(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other):
        return Number(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other):
        return Number(self.value * other.value, _times(self, other) + _times(other, self))

    def half(self):
        return Number(self.value / 2, self.slope / 2)

    def over(self, other):
        """0 with slope 0 where `other` is 0."""
        zero = other.value == 0
        divisor = np.where(zero, 1, other.value)
        ratio = np.where(zero, 0, self.value / divisor)
        slope = (self.slope - ratio[..., None] * other.slope) / divisor[..., None]
        return Number(ratio, np.where(zero[..., None], 0, slope))


def _times(number, other):
    return number.value[..., None] * other.slope


def highest(a, b):
    """At a tie the mean of both slopes."""
    first, second = a.value > b.value, a.value < b.value
    mean = (a.slope + b.slope) / 2
    slope = np.where(first[..., None], a.slope, np.where(second[..., None], b.slope, mean))
    return Number(np.maximum(a.value, b.value), slope)


def lowest(a, b):
    negated = highest(*(Number(-number.value, -number.slope) for number in (a, b)))
    return Number(-negated.value, -negated.slope)


def angle(w, h):
    """atan(w / h), and 0 with slope 0 where both are 0."""
    scale = w.value**2 + h.value**2
    slope = (_times(h, w) - _times(w, h)) / np.where(scale == 0, 1, scale)[..., None]
    empty = scale == 0
    value = np.arctan2(w.value, np.where((w.value == 0) & (h.value == 0), 1, h.value))
    return Number(value, np.where(empty[..., None], 0, slope))


class Overlap(NamedTuple):
    """The value of each kind for boxes ``[..., 4]``, and CIoU's v and alpha."""

    kinds: dict[str, Number]
    v: np.ndarray
    alpha: np.ndarray


@np.errstate(all="ignore")
def overlap(frame, target_frame) -> Overlap:
    """Of boxes x, y, w, h ``[..., 4]`` that broadcast, differentiated by the first."""
    frame, target_frame = np.broadcast_arrays(frame, target_frame)
    none, ones = np.zeros_like(frame), np.eye(4, dtype=frame.dtype)
    predicted = [Number(frame[..., k], none + ones[k]) for k in range(4)]
    truth = [Number(target_frame[..., k], none) for k in range(4)]
    zero = Number(none[..., 0], none)
    # Of each box and axis: its ends and its length.
    (px, tx), (py, ty) = (
        [
            (box[axis] - box[axis + 2].half(), box[axis] + box[axis + 2].half())
            for box in (predicted, truth)
        ]
        for axis in (0, 1)
    )

    def length(ends):
        return highest(ends[1] - ends[0], zero)

    def common(a, b):
        return length((highest(a[0], b[0]), lowest(a[1], b[1])))

    def enclosing(a, b):
        return length((lowest(a[0], b[0]), highest(a[1], b[1])))

    def between(a, b):
        return ((a[0] + a[1]) - (b[0] + b[1])).half()

    def squares(a, b):
        return a * a + b * b

    intersection = common(px, tx) * common(py, ty)
    union = length(px) * length(py) + length(tx) * length(ty) - intersection
    iou = intersection.over(union)
    sides = enclosing(px, tx), enclosing(py, ty)
    around = sides[0] * sides[1]
    giou = iou - (around - union).over(around)
    diou = iou - squares(between(px, tx), between(py, ty)).over(squares(*sides))
    skew = angle(length(px), length(py)) - angle(length(tx), length(ty))
    four = np.asarray(4 / np.pi**2, frame.dtype)
    v = Number(four * skew.value**2, four * 2 * _times(skew, skew))
    weight = 1 - iou.value + v.value
    alpha = np.where(weight == 0, 0, v.value / np.where(weight == 0, 1, weight))
    ciou = diou - Number(alpha * v.value, alpha[..., None] * v.slope)  # alpha is held constant
    return Overlap({"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}, v.value, alpha)
