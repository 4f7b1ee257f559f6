"""16-bit boxes: the error is at most twice that of plain TensorFlow in the same precision."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import iou_numpy
from tests.ops.iou_cases import FORMATS, IMPLS, KINDS, OPS, random_boxes, value_and_gradients
from yolov1 import ops
from yolov1.ops import reference


def native(op, a, b, kind, box_format):
    """Value and gradients of the reference with every operation in the dtype of the boxes."""
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        value = getattr(reference, op)(a, b, None, None, kind, box_format)
    return value, *tape.gradient(value, [a, b])


def errors(values, want):
    error = np.abs(np.asarray(values).astype(np.float64) - want)
    return np.array([error.mean(), error.max()])


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl", IMPLS)
def test_error_rule(impl, op, kind, box_format, dtype):
    shapes = ((40,), (30,)) if op == "pairwise_iou" else ((2, 300), (300,))
    a, b = (
        tf.cast(random_boxes(*shape, seed=seed, box_format=box_format), dtype)
        for seed, shape in enumerate(shapes, 1)
    )
    options = dict(kind=kind, box_format=box_format)
    exact = iou_numpy.iou(op, *(tf.cast(x, tf.float64).numpy() for x in (a, b)), **options)
    ours = value_and_gradients(op, a, b, impl=impl, **options)
    for got, other, want in zip(ours, native(op, a, b, **options), exact, strict=True):
        assert (errors(got, want) <= 2 * errors(other, want)).all()


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("impl", IMPLS)
def test_half_precision_is_computed_in_float32_and_rounded_once(impl, dtype):
    a, b = (tf.cast(random_boxes(20, seed=seed), dtype) for seed in (1, 2))
    for kind in ("iou", "giou", "diou"):  # ciou's angle is not that of TensorFlow to the last bit
        got = ops.pairwise_iou(a, b, kind=kind, impl=impl)
        exact = ops.pairwise_iou(tf.cast(a, "float32"), tf.cast(b, "float32"), kind=kind, impl=impl)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, tf.cast(exact, dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_sums_over_many_boxes_are_taken_in_float32(kind):
    """Of a box with thousands of others: no better than the last bit, and not worse."""
    a, b = random_boxes(2), random_boxes(5000, seed=1)
    a, b = (tf.cast(boxes, tf.float16) for boxes in (a, b))
    got = value_and_gradients("pairwise_iou", a, b, impl="fused", kind=kind)[1]
    exact = [tf.cast(boxes, tf.float64).numpy() for boxes in (a, b)]
    want = iou_numpy.iou("pairwise_iou", *exact, kind=kind)[1]
    np.testing.assert_allclose(got, want, rtol=2**-10, atol=2e-2)
