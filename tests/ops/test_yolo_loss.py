"""The numbers of the YOLO loss, value, terms and gradient, against the NumPy reference."""

import ml_dtypes
import numpy as np
import pytest

from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    VARIANTS,
    assert_near,
    empty_undecided,
    loss_function,
    random_case,
    tie_boxes,
    to_planes,
    value_and_gradient,
)
from yolov1 import kernels
from yolov1.semantics import PRESETS

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# Of the largest number, for the loss and for the gradient. A 16-bit gradient is rounded twice: as
# the op gives it, and when an upstream gradient multiplies it.
TOLERANCES = {
    np.dtype(np.float64): (1e-13, 1e-13),
    np.dtype(np.float32): (2e-6, 2e-6),
    np.dtype(np.float16): (2e-6, 2 * 2**-11),
    BFLOAT16: (2e-6, 2 * 2**-8),
}
UPSTREAM = np.array([0.5, 1, -2, 3])
MODES = ("eager", "graph", "xla")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_choice_is_that_of_numpy(variant, impl):
    grid, semantics = GRIDS["many boxes"], VARIANTS[variant]
    predictions, targets = random_case(grid, 3, 0.4, seed=1, dtype=np.float64)
    tie_boxes(predictions[:1], grid)
    predictions[1, :2, :, grid.box_channels] *= 0.01  # boxes too small to overlap
    got = value_and_gradient(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    for one, other in zip(
        got, loss_numpy.yolo_loss(predictions, targets, grid, semantics), strict=False
    ):
        assert_near(one, other, 1e-12)


def matrix_case(grid, semantics, dtype):
    """No object, an object in every cell, some, and some among equal boxes: four images."""
    predictions, targets = random_case(grid, 4, 1.0, seed=len(semantics))
    tie_boxes(predictions[3:], grid)
    targets[0] = 0
    targets[2:, ::2, 1:] = 0
    predictions, targets = predictions.astype(dtype), targets.astype(dtype)
    targets, emptied = empty_undecided(predictions, targets, grid, PRESETS[semantics])
    assert emptied <= 2
    return predictions, targets


def check(function, predictions, targets, upstream, grid, semantics, layout):
    loss_tolerance, tolerance = TOLERANCES[predictions.dtype]
    want = loss_numpy.yolo_loss(predictions, targets, grid, PRESETS[semantics], layout)
    loss, terms, gradient = function(predictions, targets, upstream)
    assert loss.dtype == terms.dtype == upstream.dtype and gradient.dtype == predictions.dtype
    assert_near(loss, want.loss, loss_tolerance)
    assert_near(terms, want.terms, loss_tolerance)
    scales = np.reshape(upstream, [-1] + [1] * (gradient.ndim - 1))
    assert_near(gradient.astype(np.float64), want.gradient * scales, tolerance)


@pytest.mark.each_value
@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("impl", IMPLS)
def test_matrix(impl, mode, dtype, layout):
    """Every implementation, way of calling, dtype and layout; the grids and batches within."""
    pairs = list(zip(GRIDS, (*PRESETS, "darknet"), strict=True))
    sums, batches = np.float64 if dtype == np.float64 else np.float32, (4, 1, 0)
    if mode == "xla":  # compiling takes a second a piece
        pairs, batches = pairs[2 + (layout == "planes") :][:1], (4,)
        impl = impl if kernels.build_info()["xla"] == "ON" else "reference"
    for name, semantics in pairs:
        grid = GRIDS[name]
        predictions, targets = matrix_case(grid, semantics, dtype)
        if layout == "planes":
            predictions = to_planes(predictions, grid)
        options = dict(grid=grid, semantics=semantics, layout=layout, impl=impl)
        function = loss_function(graph=mode == "graph", xla=mode == "xla", **options)
        for images in batches:
            arguments = predictions[:images], targets[:images], UPSTREAM[:images].astype(sums)
            check(function, *arguments, grid, semantics, layout)
