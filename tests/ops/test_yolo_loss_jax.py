"""The same handler in JAX: no TensorFlow, and a gradient that costs one pass.

Also how to use it: register the targets, then `loss_of` is a differentiable, jittable function.
"""

import functools

import numpy as np
import pytest

from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import PRESETS, LossSemantics

pytestmark = pytest.mark.on_cpu

jax = pytest.importorskip("jax")
jnp = jax.numpy

GRIDS = {"paper": GridSpec(), "odd": GridSpec(S=3, B=1, C=1, image_size=100)}
PLATFORMS = {"Host": "cpu", "CUDA": "CUDA"}


@pytest.fixture(scope="module", autouse=True)
def targets_registered():
    targets = kernels.ffi_targets()
    if not targets:
        pytest.skip("built without XLA (YOLOV1_XLA=OFF)")
    for name, platform, handler in targets:
        jax.ffi.register_ffi_target(name, handler, platform=PLATFORMS[platform])
    with jax.default_device(jax.devices("cpu")[0]):
        yield


def call(predictions, targets, config, with_gradient):
    """Loss ``[N]`` or its mean, terms ``[N, 5]``, gradient or ``[0]``."""
    images = len(predictions)
    sums = jnp.float64 if predictions.dtype == jnp.float64 else jnp.float32
    mean = "reduction=mean" in config
    results = (
        jax.ShapeDtypeStruct(() if mean else (images,), sums),
        jax.ShapeDtypeStruct((images, 5), sums),
        jax.ShapeDtypeStruct(predictions.shape if with_gradient else (0,), predictions.dtype),
        jax.ShapeDtypeStruct((images if mean else 0,), sums),
    )
    return jax.ffi.ffi_call("Yolov1>YoloLoss", results)(predictions, targets, config=config)[:3]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def loss_of(predictions, targets, config):
    return call(predictions, targets, config, with_gradient=False)[0]


def forward(predictions, targets, config):
    loss, _, gradient = call(predictions, targets, config, with_gradient=True)
    return loss, gradient


def backward(config, gradient, upstream):
    upstream = upstream.reshape(upstream.shape + (1,) * (gradient.ndim - upstream.ndim))
    return (upstream * gradient).astype(gradient.dtype), None


loss_of.defvjp(forward, backward)


def random_case(grid, images, dtype):
    generator = np.random.default_rng(0)
    predictions = generator.uniform(0.05, 0.95, (images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (images, *grid.target_shape))
    targets *= generator.random((images, grid.S, grid.S, 1)) < 0.3
    return predictions.astype(dtype), targets.astype(dtype)


@pytest.mark.parametrize("dtype", ("float32", "float16", "bfloat16"))
@pytest.mark.parametrize("reduction", ("none", "mean"))
@pytest.mark.parametrize("semantics", PRESETS)
@pytest.mark.parametrize("name", GRIDS)
def test_value_and_gradient(name, semantics, reduction, dtype):
    grid = GRIDS[name]
    config = kernels.yolo_loss_config(grid, LossSemantics.of(semantics), "cells", reduction)
    options = dict(grid=grid, semantics=semantics, reduction=reduction)

    @jax.jit
    def train(predictions, targets):
        total = lambda p: loss_of(p, targets, config).sum()  # noqa: E731
        return loss_of(predictions, targets, config), jax.grad(total)(predictions)

    for images in (5, 1, 0, 700):
        predictions, targets = random_case(grid, images, jnp.dtype(dtype))
        loss, gradient = train(predictions, targets)
        want = kernels.yolo_loss(predictions, targets, **options)
        assert loss.dtype == np.float32 and gradient.dtype == dtype
        assert np.asarray(loss).tobytes() == want[0].tobytes()
        assert np.asarray(gradient).tobytes() == want[2].tobytes()


def test_what_does_not_fit_is_refused():
    grid = GridSpec()
    config = kernels.yolo_loss_config(grid, PRESETS["paper"])
    predictions, targets = random_case(grid, 2, np.float32)
    with pytest.raises(Exception, match="predictions and targets must hold the same images"):
        jax.block_until_ready(loss_of(predictions, targets[:1], config))
    with pytest.raises(Exception, match="config needs S=an integer"):
        jax.block_until_ready(loss_of(predictions, targets, ""))
    short = jax.ShapeDtypeStruct((1,), np.float32)
    with pytest.raises(Exception, match="results must be loss"):
        jax.block_until_ready(
            jax.ffi.ffi_call("Yolov1>YoloLoss", (short,) * 4)(predictions, targets, config=config)
        )
