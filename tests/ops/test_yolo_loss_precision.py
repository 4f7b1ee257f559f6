"""16-bit predictions: the error is at most twice that of plain TensorFlow in the same precision."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.loss_cases import GRIDS, random_case, to_planes, value_and_gradient
from yolov1 import kernels, ops
from yolov1.ops import reference
from yolov1.semantics import PRESETS


def native(predictions, targets, grid, semantics, layout):
    """Loss and gradient of the reference with every operation in the dtype of `predictions`."""
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        loss, _ = reference.yolo_loss(predictions, targets, grid, semantics, layout)
    return loss, tape.gradient(loss, predictions)


@pytest.mark.each_value
@pytest.mark.parametrize("target_dtype", ("same", "float32"))
@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("name", ("odd", "paper"))  # one box: nothing to choose wrongly; two
@pytest.mark.parametrize("semantics", PRESETS)
def test_error_rule(semantics, name, layout, dtype, target_dtype):
    grid, preset = GRIDS[name], PRESETS[semantics]
    predictions, targets = random_case(grid, 16, 0.3, seed=7)
    if layout == "planes":
        predictions = to_planes(predictions, grid)
    predictions, targets = (tf.cast(x, dtype) for x in (predictions, targets))
    rounded = [tf.cast(x, tf.float64).numpy() for x in (predictions, targets)]
    exact = loss_numpy.yolo_loss(*rounded, grid, preset, layout)
    plain = native(predictions, targets, grid, preset, layout)
    if target_dtype == "float32":
        targets = tf.cast(targets, tf.float32)
    ours = value_and_gradient(
        predictions, targets, grid=grid, semantics=semantics, layout=layout, impl="fused"
    )

    def errors(values, want):
        error = np.abs(np.asarray(values).astype(np.float64) - want)
        return np.array([error.mean(), error.max()])

    for got, other, want in (
        (ours[0], plain[0], exact.loss),
        (ours[2], plain[1], exact.gradient),
    ):
        assert (errors(got, want) <= 2 * errors(other, want)).all()


@pytest.mark.each_value
@pytest.mark.parametrize("way", ("eager", "graph", "xla"))
@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
def test_small_gradients_survive_until_the_loss_is_scaled(dtype, way):
    """A mean over many images under a loss scaling optimizer: upstream 2^15 against 1 / N."""
    grid, images, upstream = GRIDS["odd"], 1024, 2.0**15
    predictions, targets = random_case(grid, images, 0.2, seed=8)
    predictions[..., grid.confidence_channels] *= 1e-3
    predictions = tf.cast(predictions, dtype)

    def gradient(p, impl):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = ops.yolo_loss(p, targets, grid=grid, reduction="mean", impl=impl).loss
        return tape.gradient(loss, p, output_gradients=tf.constant(upstream))

    fused = gradient
    if way != "eager":
        fused = tf.function(lambda p, impl: gradient(p, impl), jit_compile=way == "xla")
    got = tf.cast(fused(predictions, "fused"), tf.float32).numpy()
    want = gradient(tf.cast(predictions, tf.float32), "reference").numpy()
    tolerance = 2.0**-10 if dtype == "float16" else 2.0**-7  # two roundings to the dtype
    # A confidence less its overlap is near 0 here and there; a GPU divides a little otherwise.
    rounding = 8 * 2.0**-24 * upstream / images
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=rounding)
    assert np.count_nonzero(want) == np.count_nonzero(got)
