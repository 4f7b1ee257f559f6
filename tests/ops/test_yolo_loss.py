"""The YOLO loss: both implementations against loops in NumPy, against each other, and its rules."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import GRIDS, loop_terms, random_case, to_planes
from yolov1 import kernels, ops
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, PRESETS, LossSemantics

IMPLS = ("fused", "reference")
# Each value of each choice, one at a time, beside the presets.
VARIANTS = {
    f"{field}={value}": dataclasses.replace(PRESETS["paper"], **{field: value})
    for field, values in CHOICES.items()
    for value in values
} | PRESETS


def loss_function(*, graph=False, upstream=None, **options):
    """(predictions, targets) to loss, terms and d(sum of upstream * loss) / d predictions."""

    def compute(p, t):
        with tf.GradientTape() as tape:
            tape.watch(p)
            out = ops.yolo_loss(p, t, **options)
        return *out, tape.gradient(out.loss, p, output_gradients=upstream)

    function = tf.function(compute) if graph else compute
    return lambda p, t: [x.numpy() for x in function(tf.constant(p), tf.constant(t))]


def value_and_gradient(predictions, targets, **options):
    return loss_function(**options)(predictions, targets)


def assert_near(got, want, tolerance):
    scale = max(np.abs(want).max(initial=0), 1e-30)
    assert np.abs(got - want).max(initial=0) <= tolerance * scale


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


@pytest.mark.parametrize("impl", IMPLS)
def test_terms_sum_to_the_loss_and_carry_no_gradient(impl):
    grid = GRIDS["paper"]
    predictions, targets = map(tf.constant, random_case(grid, 3, 0.2))
    with tf.GradientTape() as tape:
        tape.watch([predictions, targets])
        loss, terms = ops.yolo_loss(predictions, targets, grid=grid, impl=impl)
        total = tf.reduce_sum(terms) + 0 * tf.reduce_sum(predictions)
    np.testing.assert_allclose(tf.reduce_sum(terms, 1), loss, rtol=1e-6)
    by_predictions, by_targets = tape.gradient(total, [predictions, targets])
    assert by_targets is None and not by_predictions.numpy().any()


@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_mean_is_folded_in(impl, graph):
    grid = GRIDS["paper"]
    case = random_case(grid, 6, 0.2)
    loss, _, gradient = value_and_gradient(*case, grid=grid, impl=impl, graph=graph)
    mean, terms, mean_gradient = value_and_gradient(
        *case, grid=grid, impl=impl, graph=graph, reduction="mean"
    )
    assert mean.shape == () and terms.shape == (6, 5)
    np.testing.assert_allclose(mean, loss.mean(), rtol=1e-6)
    np.testing.assert_allclose(mean_gradient, gradient / 6, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("reduction", ("none", "mean"))
@pytest.mark.parametrize("impl", IMPLS)
def test_empty_batch(impl, reduction, graph):
    grid = GRIDS["paper"]
    loss, terms, gradient = value_and_gradient(
        *random_case(grid, 0, 0.2), grid=grid, impl=impl, reduction=reduction, graph=graph
    )
    assert terms.shape == (0, 5) and gradient.shape == (0, 7, 7, 30)
    assert loss.shape == ((0,) if reduction == "none" else ()) and not np.any(loss)


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


def test_forward_only_gives_the_same_loss_and_computes_no_gradient():
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 4, 0.2)
    loss, terms, gradient = kernels.yolo_loss(predictions, targets, grid=grid, gradient=False)
    assert gradient is None
    full = kernels.yolo_loss(predictions, targets, grid=grid)
    assert loss.tobytes() == full[0].tobytes() and terms.tobytes() == full[1].tobytes()

    def evaluate(p):
        return ops.yolo_loss(p, targets, grid=grid, impl="fused").loss

    def train(p):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = evaluate(p)
        return tape.gradient(loss, p)

    for function, wanted in ((evaluate, False), (train, True)):
        spec = tf.TensorSpec(predictions.shape)
        graph = tf.function(function).get_concrete_function(spec).graph
        (op,) = [op for op in graph.get_operations() if op.type == "Yolov1>YoloLoss"]
        assert op.get_attr("compute_gradient") == wanted
    np.testing.assert_array_equal(tf.function(evaluate)(predictions), loss)


@pytest.mark.parametrize("impl", IMPLS)
def test_tape_around_a_traced_function(impl):
    """The function is traced without a tape in sight; its gradient must still be right."""
    grid = GRIDS["paper"]
    predictions, targets = map(tf.constant, random_case(grid, 3, 0.2))
    function = tf.function(lambda p: ops.yolo_loss(p, targets, grid=grid, impl=impl).loss)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        loss = function(predictions)
    want = kernels.yolo_loss(predictions.numpy(), targets.numpy(), grid=grid)[2]
    assert_near(tape.gradient(loss, predictions).numpy(), want, 1e-6)


def test_second_derivative_is_refused_by_fused_and_taken_by_reference():
    grid = GRIDS["odd"]
    predictions, targets = map(tf.constant, random_case(grid, 2, 0.5))

    def second(impl):
        with tf.GradientTape() as outer:
            outer.watch(predictions)
            with tf.GradientTape() as inner:
                inner.watch(predictions)
                loss = ops.yolo_loss(predictions, targets, grid=grid, impl=impl).loss
            gradient = inner.gradient(loss, predictions)
        return outer.gradient(gradient, predictions)

    assert np.abs(second("reference")).max() > 0
    for run in (second, tf.function(second, autograph=False)):
        with pytest.raises(LookupError, match="no second derivative; use impl='reference'"):
            run("fused")


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


@pytest.mark.parametrize("dtype", (tf.float16, tf.bfloat16))
def test_half_precision_is_computed_in_float32(dtype):
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 2, 0.2)
    half = tf.cast(predictions, dtype)
    with tf.GradientTape() as tape:
        tape.watch(half)
        loss = ops.yolo_loss(half, targets, grid=grid).loss
    assert loss.dtype == tf.float32 and tape.gradient(loss, half).dtype == dtype
    exact = ops.yolo_loss(tf.cast(half, tf.float32), targets, grid=grid).loss
    np.testing.assert_array_equal(loss, exact)


def test_reference_compiles_with_xla_and_auto_finds_it():
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 3, 0.2)
    want = kernels.yolo_loss(predictions, targets, grid=grid)

    @tf.function(jit_compile=True)
    def compiled(p):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = ops.yolo_loss(p, targets, grid=grid, impl="auto").loss
        return loss, tape.gradient(loss, p)

    loss, gradient = compiled(tf.constant(predictions))
    assert_near(loss.numpy(), want[0], 1e-5)
    assert_near(gradient.numpy(), want[2], 1e-5)
    fused = tf.function(
        lambda p: ops.yolo_loss(p, targets, grid=grid, impl="fused").loss, jit_compile=True
    )
    with pytest.raises(NotImplementedError, match="inside an XLA-compiled function"):
        fused(predictions)


# ------------------------------------------------------------------------------------- refusals

BAD_SHAPES = {
    "yolo_loss: predictions must be [N, 7, 7, 30] for GridSpec(S=7, B=2, C=20) (D = C + 5B), "
    "got [8, 7, 7, 25].": ((8, 7, 7, 25), (8, 7, 7, 25), "cells"),
    "yolo_loss: targets must be [N, 7, 7, 25] for GridSpec(S=7, B=2, C=20) (C + 5), "
    "got [8, 7, 7, 30].": ((8, 7, 7, 30), (8, 7, 7, 30), "cells"),
    "yolo_loss: predictions must be [N, 1470] for GridSpec(S=7, B=2, C=20) "
    "(S * S * (C + 5B), layout 'planes'), got [8, 7, 7, 30].": (
        (8, 7, 7, 30),
        (8, 7, 7, 25),
        "planes",
    ),
    "yolo_loss: predictions and targets must hold the same images, got 8 and 4.": (
        (8, 7, 7, 30),
        (4, 7, 7, 25),
        "cells",
    ),
    "yolo_loss: layout must be one of 'cells', 'planes', got 'rows'.": (
        (8, 7, 7, 30),
        (8, 7, 7, 25),
        "rows",
    ),
}


@pytest.mark.parametrize("message", BAD_SHAPES)
@pytest.mark.parametrize("impl", IMPLS)
def test_wrong_shapes_are_refused(impl, message):
    p, t, layout = BAD_SHAPES[message]
    with pytest.raises(ValueError, match=re.escape(message)):
        ops.yolo_loss(tf.zeros(p), tf.zeros(t), grid=GridSpec(), layout=layout, impl=impl)
    with pytest.raises(ValueError, match=re.escape(message)):
        kernels.yolo_loss(
            np.zeros(p, np.float32), np.zeros(t, np.float32), grid=GridSpec(), layout=layout
        )


@pytest.mark.parametrize("message", [m for m in BAD_SHAPES if "layout must" not in m])
def test_op_refuses_shapes_known_only_at_run_time(message):
    p, t, layout = BAD_SHAPES[message]

    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    def function(predictions, targets):
        return ops.yolo_loss(
            predictions, targets, grid=GridSpec(), layout=layout, impl="fused"
        ).loss

    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        function(tf.zeros(p), tf.zeros(t))


def test_wrong_choices_are_refused():
    p, t = tf.zeros((1, 7, 7, 30)), tf.zeros((1, 7, 7, 25))
    with pytest.raises(ValueError, match="impl must be 'auto', 'fused' or 'reference', got 'xla'"):
        ops.yolo_loss(p, t, grid=GridSpec(), impl="xla")
    with pytest.raises(ValueError, match="reduction must be 'none' or 'mean', got 'sum'"):
        ops.yolo_loss(p, t, grid=GridSpec(), reduction="sum")
    with pytest.raises(TypeError, match="predictions must be floating, got int32"):
        ops.yolo_loss(tf.zeros((1, 7, 7, 30), tf.int32), t, grid=GridSpec())
    with pytest.raises(TypeError, match="float32 or float64, got float16"):
        kernels.yolo_loss(p.numpy().astype(np.float16), t.numpy(), grid=GridSpec())
