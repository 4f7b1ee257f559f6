"""The YOLO loss as TensorFlow calls it: tapes, traced functions, XLA, dtypes; what it refuses."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import GRIDS, IMPLS, assert_near, random_case, value_and_gradient
from yolov1 import kernels, ops
from yolov1.grid import GridSpec


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


def test_forward_only_gives_the_same_loss_and_computes_no_gradient(device):
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
        return loss, tape.gradient(loss, p)

    for function, wanted in ((evaluate, False), (train, True)):
        spec = tf.TensorSpec(predictions.shape)
        graph = tf.function(function).get_concrete_function(spec).graph
        (op,) = [op for op in graph.get_operations() if op.type == "Yolov1>YoloLoss"]
        assert op.get_attr("compute_gradient") == wanted
    alone = tf.function(evaluate)(predictions)
    np.testing.assert_array_equal(alone, tf.function(train)(predictions)[0])
    # A GPU adds up an image's terms in an order of its own.
    np.testing.assert_allclose(alone, loss, rtol=0 if device == "CPU" else 1e-6)


@pytest.mark.first_case
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


def test_reference_compiles_with_xla():
    grid = GRIDS["paper"]
    predictions, targets = random_case(grid, 3, 0.2)
    want = kernels.yolo_loss(predictions, targets, grid=grid)

    @tf.function(jit_compile=True)
    def compiled(p):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = ops.yolo_loss(p, targets, grid=grid, impl="reference").loss
        return loss, tape.gradient(loss, p)

    loss, gradient = compiled(tf.constant(predictions))
    assert_near(loss.numpy(), want[0], 1e-5)
    assert_near(gradient.numpy(), want[2], 1e-5)


@pytest.mark.on_cpu
@pytest.mark.parametrize("compiled", (False, True))
def test_few_images_of_a_large_grid(compiled):
    """Fewer images than parts that threads could take."""
    grid = GridSpec(S=20, B=2, C=20, image_size=640)
    function = tf.function(
        lambda p, t: ops.yolo_loss(p, t, grid=grid, impl="fused").loss, jit_compile=compiled
    )
    for images in (1, 3, 4, 7, 9):
        predictions, targets = random_case(grid, images, 0.1)
        want = kernels.yolo_loss(predictions, targets, grid=grid)[0]
        np.testing.assert_array_equal(function(predictions, targets), want)


@pytest.mark.on_cpu
def test_numpy_arrays_in_another_byte_order():
    grid = GRIDS["odd"]
    for dtype in (np.float32, np.float64, np.float16):
        predictions, targets = random_case(grid, 3, 0.5, dtype=dtype)
        swapped = [array.astype(array.dtype.newbyteorder()) for array in (predictions, targets)]
        for got, want in zip(
            kernels.yolo_loss(*swapped, grid=grid),
            kernels.yolo_loss(predictions, targets, grid=grid),
            strict=True,
        ):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


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
    with pytest.raises(TypeError, match="float16, bfloat16, got int32"):
        kernels.yolo_loss(p.numpy().astype(np.int32), t.numpy(), grid=GridSpec())
