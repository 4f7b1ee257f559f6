"""The numbers of the YOLO loss: loops in NumPy, both implementations, awkward values."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    assert_near,
    loop_terms,
    loss_function,
    random_case,
    to_planes,
    value_and_gradient,
)
from yolov1 import kernels, ops
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, PRESETS, LossSemantics

# Each value of each choice, one at a time, beside the presets.
VARIANTS = {
    f"{field}={value}": dataclasses.replace(PRESETS["paper"], **{field: value})
    for field, values in CHOICES.items()
    for value in values
} | PRESETS


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_are_those_of_the_loops(variant, impl):
    grid, semantics = GRIDS["many boxes"], VARIANTS[variant]
    predictions, targets = random_case(grid, 3, 0.4, seed=1, dtype=np.float64)
    predictions[0, :2, :, grid.box_channels] = np.tile([0.5, 0.5, 0.4, 0.4], 4)  # ties
    predictions[1, :2, :, grid.box_channels] *= 0.01  # boxes too small to overlap
    loss, terms, _ = value_and_gradient(
        predictions, targets, grid=grid, semantics=semantics, impl=impl
    )
    want = loop_terms(predictions, targets, grid, semantics)
    assert_near(terms, want, 1e-12)
    assert_near(loss, want.sum(1), 1e-12)


@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("share", (0.0, 0.3, 1.0))
@pytest.mark.parametrize("name", GRIDS)
def test_fused_equals_reference(name, share, layout):
    grid = GRIDS[name]
    predictions, targets = random_case(grid, 5, share)
    if layout == "planes":
        predictions = to_planes(predictions, grid)
    for semantics, graph in zip(PRESETS, itertools.cycle((False, True)), strict=False):
        results = [
            value_and_gradient(
                predictions,
                targets,
                graph=graph,
                upstream=tf.constant([0.5, 1, -2, 0, 3]),
                grid=grid,
                semantics=semantics,
                layout=layout,
                impl=impl,
            )
            for impl in IMPLS
        ]
        for fused, reference in zip(*results, strict=True):
            assert fused.dtype == reference.dtype == np.float32
            assert_near(fused, reference, 1e-6)


@pytest.mark.parametrize("impl", IMPLS)
def test_layouts_hold_the_same_numbers(impl):
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 4, 0.2)
    cells = value_and_gradient(predictions, targets, grid=grid, impl=impl)
    planes = value_and_gradient(
        to_planes(predictions, grid), targets, grid=grid, layout="planes", impl=impl
    )
    np.testing.assert_allclose(cells[0], planes[0], rtol=1e-6)
    np.testing.assert_allclose(to_planes(cells[2], grid), planes[2], rtol=1e-6)


@pytest.mark.parametrize("semantics", PRESETS)
@pytest.mark.parametrize("impl", IMPLS)
def test_gradient_is_the_numeric_one(impl, semantics):
    """Central differences in float64. The overlap is held constant by the op, so where it is the
    confidence target the difference is taken of the loss with that target frozen, by hand."""
    grid = GRIDS["many boxes"]
    preset = PRESETS[semantics]
    frozen = dataclasses.replace(preset, confidence_target="one")
    options = dict(grid=grid, semantics=frozen, impl=impl)
    predictions, targets = random_case(grid, 1, 0.5, seed=3, dtype=np.float64)
    gradient = value_and_gradient(predictions, targets, **options)[2].ravel()
    step, generator, checked, skipped = 1e-6, np.random.default_rng(5), 0, 0

    def loss(flat):
        moved = tf.constant(flat.reshape(predictions.shape))
        return float(ops.yolo_loss(moved, targets, **options).loss[0])

    def responsible(flat):  # which boxes have a gradient tells where the choice of boxes flips
        moved = flat.reshape(predictions.shape)
        boxes = value_and_gradient(moved, targets, **options)[2][..., grid.box_channels]
        return boxes != 0

    for k in generator.choice(predictions.size, 60, replace=False):
        low, high = predictions.ravel().copy(), predictions.ravel().copy()
        low[k] -= step
        high[k] += step
        if (responsible(low) != responsible(high)).any():
            skipped += 1
            continue
        numeric = (loss(high) - loss(low)) / (2 * step)
        assert numeric == pytest.approx(gradient[k], rel=1e-6, abs=1e-7)
        checked += 1
    assert checked >= 55, f"{skipped} of 60 points lay at a tie"
    if preset != frozen:  # the frozen target only moves the gradient of the responsible confidence
        real = value_and_gradient(predictions, targets, **{**options, "semantics": preset})[2]
        moved = real != gradient.reshape(real.shape)
        assert moved[..., grid.confidence_channels].any()
        moved[..., grid.confidence_channels] = False
        assert not moved.any()


def test_bits_do_not_depend_on_threads_or_repeats():
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 67, 0.3)
    first = kernels.yolo_loss(predictions, targets, grid=grid)
    for threads in (1, 2, 3, 8):
        again = kernels.yolo_loss(predictions, targets, grid=grid, threads=threads)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    for graph in (False, True):
        op = value_and_gradient(predictions, targets, grid=grid, impl="fused", graph=graph)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, op, strict=True))
    # An image's bits do not depend on its neighbours either.
    alone = kernels.yolo_loss(predictions[5:6], targets[5:6], grid=grid)
    assert alone[2].tobytes() == first[2][5:6].tobytes()


@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_values_that_are_not_finite(impl, graph):
    grid = GridSpec(S=2, B=2, C=3, image_size=32)
    predictions, targets = random_case(grid, 1, 1.0)
    targets[0, 1] = 0  # row 0 holds objects, row 1 none
    compute = loss_function(grid=grid, impl=impl, graph=graph)
    clean, _, clean_gradient = compute(predictions, targets)
    boxes = clean_gradient[0, 0, 0, grid.box_channels].reshape(2, 4)
    responsible = int(np.flatnonzero(boxes.any(1))[0])
    box = grid.box_channels.start + 4 * responsible

    def run(row, channel, value, into_targets=False):
        p, t = predictions.copy(), targets.copy()
        (t if into_targets else p)[0, row, 0, channel] = value
        loss, _, gradient = compute(p, t)
        return loss[0], gradient

    for value in (np.nan, np.inf):
        # Read: object cells' classes and responsible boxes, every confidence, the targets.
        for channel in (0, grid.C, box, box + 2):
            assert not np.isfinite(run(0, channel, value)[0]), channel
        assert not np.isfinite(run(1, grid.C, value)[0])
        for channel in (0, grid.target_object_channel, grid.C + 1, grid.C + 3):
            assert not np.isfinite(run(0, channel, value, into_targets=True)[0]), channel
        # Not read: all else of an empty cell, in the predictions and in the targets.
        for channel, into_targets in (
            (0, False),
            (grid.C + 2, False),
            (0, True),
            (grid.C + 1, True),
        ):
            loss, gradient = run(1, channel, value, into_targets)
            assert loss == clean[0]
            np.testing.assert_array_equal(gradient, clean_gradient)
    # A NaN overlap counts as 0: the box is not chosen, and the other's terms stay.
    other = grid.box_channels.start + 4 * (1 - responsible)
    assert run(0, other, np.nan)[0] == clean[0]


@pytest.mark.parametrize("wh", CHOICES["wh"])
@pytest.mark.parametrize("impl", IMPLS)
def test_sizes_of_zero_and_below_stay_finite(impl, wh):
    grid = GridSpec(S=1, B=2, C=2, image_size=32)
    semantics = LossSemantics(wh=wh, confidence_target="one")
    _, targets = random_case(grid, 1, 1.0)
    for sizes in ([0, 0, 0, 0], [-0.5, 0.2, -1e-30, 0], [1e-45, 1e-38, 1e-30, 1e-8]):
        predictions = np.full((1, 1, 1, 12), 0.5, np.float32)
        predictions[0, 0, 0, [6, 7, 10, 11]] = sizes
        loss, _, gradient = value_and_gradient(
            predictions, targets, grid=grid, semantics=semantics, impl=impl
        )
        assert np.isfinite(loss).all() and np.isfinite(gradient).all(), sizes
        if wh == "sqrt_in_loss" and max(sizes) <= 0:
            assert not gradient[0, 0, 0, [6, 10]].any()
