"""Boxes without area, inverted, identical, touching, not finite: values and gradients defined, and
the same from both implementations."""

import itertools

import numpy as np
import pytest

from tests.ops import iou_numpy
from tests.ops.iou_cases import (
    DTYPES,
    FORMATS,
    IMPLS,
    KINDS,
    OPS,
    degenerate_pairs,
    in_format,
    random_boxes,
    value_and_gradients,
)

# iou, giou, diou and, where the angles are easily told, ciou.
BY_HAND = {
    "identical": (1, 1, 1, 1),
    "touching, in x": (0, -6 / 20, -6.25 / 41, None),
    "touching, a corner": (0, -8 / 15, -8.5 / 34, None),
    "nested, two shared edges": (2 / 12, 2 / 12, 2 / 12 - 2.5 / 25, None),
    "nested, none": (2 / 16, 2 / 16, 2 / 16 - 0.25 / 32, None),
    "same centre": (4 / 16, 4 / 16, 4 / 16, 4 / 16),
    "a line inside": (0, 0, -1.25 / 32, -1.25 / 32 - 0.25**2 / 1.25),
    "a point outside": (0, -26 / 42, -41 / 85, -41 / 85 - 0.25**2 / 1.25),
    "two lines in one": (0, 0, -1 / 16, -1 / 16),
    "one point twice": (0, 0, 0, 0),
    "inverted in x": (0, 0, -0.25 / 32, -0.25 / 32 - 0.25**2 / 1.25),
    "inverted, identical": (0, 0, 0, 0),
}


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("impl", IMPLS)
def test_values_worked_out_by_hand(impl, box_format):
    a, b = degenerate_pairs(box_format, names=tuple(BY_HAND))
    for kind, values in zip(KINDS, zip(*BY_HAND.values(), strict=True), strict=True):
        options = dict(kind=kind, box_format=box_format, impl=impl)
        got = value_and_gradients("aligned_iou", a, b, **options)[0]
        want = np.array(values * 2, float)  # each pair both ways round
        told = ~np.isnan(want)
        np.testing.assert_allclose(got[told], want[told], rtol=1e-12, atol=1e-15)


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_every_pair_is_that_of_numpy(impl, kind, box_format, dtype):
    """Each with each: all of the degenerate boxes, finite and right, value and gradients."""
    options = dict(kind=kind, box_format=box_format)
    tolerance = {2: 2**-8, 4: 2e-6, 8: 1e-14}[np.dtype(dtype).itemsize]
    boxes = np.concatenate(degenerate_pairs(box_format, dtype))
    want = iou_numpy.iou("pairwise_iou", boxes, boxes[:30], **options)
    got = value_and_gradients("pairwise_iou", boxes, boxes[:30], impl=impl, **options)
    for one, other, scale in zip(got, want, (1, 60, 60), strict=True):
        one = one.astype(np.float64)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("impl", IMPLS)
def test_identical_boxes_are_exactly_1_without_gradient(impl, box_format, dtype):
    boxes = random_boxes(500, box_format=box_format, dtype=dtype)
    for kind in KINDS:
        value, by_a, by_b = value_and_gradients(
            "aligned_iou", boxes, boxes, impl=impl, kind=kind, box_format=box_format
        )
        np.testing.assert_array_equal(value.astype(float), 1)
        assert not by_a.any() and not by_b.any()


# ------------------------------------------------------------------------------- not finite, huge


def one_at_a_time(values, box_format, dtype):
    """Pairs with each value in each coordinate, and in each few of them, of either box."""
    boxes = random_boxes(2, seed=4)
    boxes[1] = boxes[0] + 0.1
    places = [list(c) for count in range(1, 5) for c in itertools.combinations(range(4), count)]
    pairs = []
    for value, side, place in itertools.product(values, (0, 1), places):
        pair = in_format(boxes, box_format).copy()
        pair[side, place] = value
        pairs.append(pair)
    with np.errstate(over="ignore", under="ignore"):
        pairs = np.array(pairs).astype(dtype)
    return pairs[:, 0], pairs[:, 1]


def assert_alike(got, want, tolerance):
    """NaN and infinite in the same places, and near each other elsewhere."""
    for one, other in zip(got, want, strict=True):
        one, other = one.astype(np.float64), other.astype(np.float64)
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", OPS)
def test_values_that_are_not_finite(op, kind, box_format, dtype):
    """The same places from both implementations, and a NaN makes every pair of its box NaN."""
    a, b = one_at_a_time((np.nan, np.inf, -np.inf), box_format, dtype)
    options = dict(kind=kind, box_format=box_format)
    if op == "pairwise_iou":  # each pair by itself: a sum would be NaN for all
        a, b = a[:, None], b[:, None]
    got, want = (value_and_gradients(op, a, b, impl=impl, **options) for impl in IMPLS)
    assert_alike(got, want, {2: 2**-7, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize])
    nan = np.isnan(np.concatenate([a, b], -1).astype(float)).any(-1)
    assert nan.sum() == 30 and np.isnan(got[0][nan].astype(float)).all()


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_huge_and_tiny_values(kind, box_format):
    """Where areas, or squares, overflow or underflow: the same value from both implementations, and
    a NaN only where float32 in NumPy has one. (Gradients differ in what overflows first.)"""
    huge = (1e38, -1e38, 3e38, 1e30, 1e20, -1e20)
    a, b = one_at_a_time((*huge, 1e12, 1e-12, 1e-25, -1e-25, 1e-30), box_format, np.float32)
    options = dict(kind=kind, box_format=box_format)
    want = iou_numpy.pairs(a, b, **options).iou
    for impl in IMPLS:
        got = value_and_gradients("aligned_iou", a, b, impl=impl, **options)
        assert_alike(got[:1], [want], 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_tiny_boxes_have_a_finite_gradient(impl, kind):
    """Sides whose product, or whose squares, are 0 in float32 give no 0 / 0."""
    a = np.array([[0.5, 0.5, side, side] for side in (1e-12, 1e-16, 1e-25, 1e-30, 0)], np.float32)
    b = np.array([0.5, 0.5, 0.25, 0.5], np.float32)
    got = value_and_gradients("aligned_iou", a, b, impl=impl, kind=kind, box_format="cxcywh")
    for array in got:
        assert np.isfinite(array).all()
