"""Forward mode, and derivatives by what comes from above: the fused gradients are linear in it."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.iou_cases import random_boxes
from tests.ops.loss_cases import GRIDS, random_case
from yolov1 import kernels, ops

MODES = ("eager", "graph", "xla") if kernels.build_info()["xla"] == "ON" else ("eager", "graph")
GRID, GENERATOR = GRIDS["odd"], np.random.default_rng(3)


def loss_case(reduction, dtype):
    """(function of predictions and an implementation, predictions)"""
    predictions, targets = random_case(GRID, 3, 0.5, dtype=dtype)
    options = dict(grid=GRID, reduction=reduction)
    return (
        lambda impl, p: ops.yolo_loss(p, targets, impl=impl, **options).loss,
        [predictions],
    )


def iou_case(op, shape_a, shape_b, masked):
    a, b = random_boxes(*shape_a, seed=1), random_boxes(*shape_b, seed=2)
    valid = GENERATOR.random(shape_a) < 0.7 if masked else None
    if masked:
        a[~valid] = np.nan  # not read, nor is what it moves by
    options = dict(kind="ciou", valid_a=valid)
    return lambda impl, a, b: getattr(ops, op)(a, b, impl=impl, **options), [a, b]


CASES = {
    "loss": lambda: loss_case("none", np.float64),
    "mean loss": lambda: loss_case("mean", np.float64),
    "pairwise": lambda: iou_case("pairwise_iou", (2, 1, 5), (3, 4), False),
    "pairwise, masked": lambda: iou_case("pairwise_iou", (5,), (4,), True),
    "aligned": lambda: iou_case("aligned_iou", (2, 5), (5,), False),
    "aligned, masked": lambda: iou_case("aligned_iou", (5,), (5,), True),
}


# Tracing takes seconds a piece.
WAYS = [("loss", "eager"), ("aligned, masked", "eager")]
SLOW = [(name, "eager") for name in CASES if (name, "eager") not in WAYS]
SLOW += [(name, mode) for mode in MODES[1:] for name in ("mean loss", "pairwise, masked")]
WAYS += [pytest.param(*way, marks=pytest.mark.slow) for way in SLOW]


def both(make, mode, *arguments):
    """`make(impl)` of the arguments: the fused result against that of the reference."""
    arguments = [tf.constant(x) for x in arguments]
    got, want = (
        tf.nest.flatten(make(impl)(*arguments))
        if mode == "eager"
        else tf.nest.flatten(
            tf.function(make(impl), jit_compile=mode == "xla", autograph=False)(*arguments)
        )
        for impl in ("fused", "reference")
    )
    for one, other in zip(got, want, strict=True):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def direction(arrays, seed=7):
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=x.shape).astype(x.dtype)) for x in arrays]


@pytest.mark.parametrize("name, mode", WAYS)
def test_forward_mode(name, mode):
    """Alone, and with a tape inside, which asks for the gradient of the same call."""
    function, sources = CASES[name]()
    tangents = tuple(direction(sources))

    def make(impl):
        def run(*sources):
            with tf.autodiff.ForwardAccumulator(sources, tangents) as alone:
                first = function(impl, *sources)
            with tf.autodiff.ForwardAccumulator(sources[0], tangents[0]) as accumulator:
                with tf.GradientTape() as tape:
                    tape.watch(sources[0])
                    value = function(impl, *sources)
            gradient = tape.gradient(value, sources[0])
            gradient = tf.where(tf.math.is_nan(sources[0]), tf.zeros_like(gradient), gradient)
            return alone.jvp(first), accumulator.jvp(value), gradient

        return run

    both(make, mode, *sources)


@pytest.mark.parametrize("name, mode", WAYS)
def test_gradients_by_a_weight_of_the_loss(name, mode):
    """As where weights of a loss are learned: by an outer tape, and in forward mode."""
    function, sources = CASES[name]()
    weights = direction(sources)

    def gradients(impl, w, sources):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = tf.reduce_sum(w**3 * function(impl, *sources))
        return tape.gradient(value, sources)

    def make(impl):
        def run(w, *sources):
            with tf.GradientTape() as outer:
                outer.watch(w)
                got = gradients(impl, w, sources)
                total = sum(tf.reduce_sum(g * u) for g, u in zip(got, weights, strict=True))
            with tf.autodiff.ForwardAccumulator(w, tf.ones_like(w)) as accumulator:
                got = gradients(impl, w, sources)
            slopes = [accumulator.jvp(gradient) for gradient in got]
            return outer.gradient(total, w), slopes

        return run

    both(make, mode, np.float64(1.5), *sources)


@pytest.mark.first_case
@pytest.mark.parametrize("dtype", (tf.float16, tf.bfloat16))
def test_half_precision(dtype):
    for name in ("mean loss", "pairwise"):
        function, sources = CASES[name]()
        tangents = direction(sources)
        sources = [tf.cast(x, dtype) for x in sources]
        tangents = [tf.cast(x, dtype) for x in tangents]
        values = []
        for impl in ("fused", "reference"):
            with tf.autodiff.ForwardAccumulator(sources, tangents) as accumulator:
                value = function(impl, *sources)
            values.append(tf.cast(accumulator.jvp(value), tf.float32))
        tolerance = {tf.float16: 0.004, tf.bfloat16: 0.03}[dtype] * np.abs(values[1]).max()
        np.testing.assert_allclose(*values, rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("name", ("loss", "pairwise"))
def test_the_second_derivative_is_refused_in_forward_mode_too(name, mode):
    function, sources = CASES[name]()

    def run(*sources):
        with tf.autodiff.ForwardAccumulator(sources[0], tf.ones_like(sources[0])) as accumulator:
            with tf.GradientTape() as tape:
                tape.watch(sources[0])
                value = function("fused", *sources)
            gradient = tape.gradient(value, sources[0])
        return accumulator.jvp(gradient)

    run = run if mode == "eager" else tf.function(run, autograph=False)
    with pytest.raises(LookupError, match="no second derivative; use impl='reference'"):
        run(*map(tf.constant, sources))


def test_a_tape_that_sees_the_predictions_too_is_refused():
    """Rather than to give 0 for what it might be asked for as well."""
    function, (predictions,) = CASES["loss"]()
    predictions, w = tf.constant(predictions), tf.constant(1.5, tf.float64)
    with tf.GradientTape() as outer:
        outer.watch([predictions, w])
        with tf.GradientTape() as inner:
            inner.watch(predictions)
            value = tf.reduce_sum(w * function("fused", predictions))
        gradient = inner.gradient(value, predictions)
    with pytest.raises(LookupError, match="no second derivative"):
        outer.gradient(gradient, w)


@pytest.mark.parametrize("op", ("pairwise_iou", "aligned_iou"))
def test_of_boxes_that_are_constant_no_gradient_is_asked(op, monkeypatch):
    """The op hears which side is wanted; the gradient of that side is what it is with both."""
    from yolov1.ops import _library

    library, configs = _library.load(), []
    name = f"yolov1_{op}_grad"
    original = getattr(library, name)

    def heard(*arguments):
        configs.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(library, name, heard)
    a, b = (tf.constant(random_boxes(5, seed=seed)) for seed in (1, 2))

    def gradients(sources):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = getattr(ops, op)(a, b, impl="fused")
        return tape.gradient(value, sources)

    by_a, by_b = gradients([a, b])
    for sources, want in (([a], by_a), ([b], by_b)):
        once = functools.partial(gradients, sources)
        for run in (once, tf.function(once)):
            (got,) = run()
            np.testing.assert_array_equal(got, want)
    sides = [config.partition(" sides=")[2] for config in configs]
    assert sides == ["", "a", "a", "b", "b"]
