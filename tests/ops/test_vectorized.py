"""`tf.vectorized_map` and jacobians: one call of the fused op for all iterations."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import nms_numpy
from tests.ops.iou_cases import random_boxes
from tests.ops.loss_cases import GRIDS, random_case
from yolov1 import kernels, ops

MODES = ("eager", "xla") if kernels.build_info()["xla"] == "ON" else ("eager",)
GRID, STEPS = GRIDS["odd"], 3


def loop(function, stacked):
    """`function` of each row of `stacked`, one after another."""
    results = [function([x[k] for x in stacked]) for k in range(STEPS)]
    return [tf.stack(parts) for parts in zip(*map(tf.nest.flatten, results), strict=True)]


def check(function, stacked, mode="eager"):
    """Vectorised, it is what a loop gives."""

    def run(stacked):
        return tf.vectorized_map(function, stacked, fallback_to_while_loop=False)

    stacked = [tf.constant(x) for x in stacked]
    if mode == "xla":
        run = tf.function(run, jit_compile=True, autograph=False)
    got = tf.nest.flatten(run(stacked))
    for one, other in zip(got, loop(function, stacked), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.each_value
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reduction", ("none", "mean"))
@pytest.mark.parametrize("which", ("predictions", "targets", "both"))
def test_the_loss_and_its_gradient(which, reduction, mode):
    cases = [random_case(GRID, 2, 0.5, seed=seed, dtype=np.float64) for seed in range(STEPS)]
    fixed, stacked = cases[0], [np.stack(x) for x in zip(*cases, strict=True)]

    def function(row):
        p = row[0] if which != "targets" else tf.constant(fixed[0])
        t = row[1] if which != "predictions" else fixed[1]
        with tf.GradientTape() as tape:
            tape.watch(p)
            out = ops.yolo_loss(p, t, grid=GRID, reduction=reduction, impl="fused")
            total = tf.reduce_sum(out.loss**2)
        alone = ops.yolo_loss(tf.stop_gradient(p), t, grid=GRID, reduction=reduction, impl="fused")
        return out.loss, out.terms, tape.gradient(total, p), alone.loss

    check(function, stacked, mode)


def test_a_mean_in_half_precision():
    """Whose division by N comes with what comes from above."""
    p, t = random_case(GRID, 4, 0.5)
    p = tf.cast(p, tf.float16)

    def function(row):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = row[0] * ops.yolo_loss(p, t, grid=GRID, reduction="mean", impl="fused").loss
        return tape.gradient(loss, p)

    check(function, [np.array([1, 2, -3], np.float32)])


def iou_rows(op, seed=5):
    """Boxes of other leading dimensions on either side, and a mask of a."""
    shapes = {"pairwise_iou": ((2, 1, 5), (3, 4)), "aligned_iou": ((2, 5), (5,))}[op]
    a, b = (random_boxes(STEPS, *shape, seed=seed + k) for k, shape in enumerate(shapes))
    return [a, b, np.random.default_rng(seed).random(a.shape[:-1]) < 0.7]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", ("a", "b", "ab", "valid", "b valid"))
@pytest.mark.parametrize("op", ("pairwise_iou", "aligned_iou"))
def test_overlaps_and_their_gradients(op, which, mode):
    if mode == "xla" and which != "b valid":
        pytest.skip("compiling takes seconds a piece")
    rows = iou_rows(op)
    fixed = [tf.constant(x[0]) for x in rows]

    def function(row):
        a, b, valid = (
            row[k] if changes else fixed[k]
            for k, changes in enumerate((which[0] == "a", "b" in which, "valid" in which))
        )
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            value = getattr(ops, op)(a, b, kind="giou", valid_a=valid, impl="fused")
            total = tf.reduce_sum(value**2)
        return value, *tape.gradient(total, [a, b])

    check(function, rows, mode)


@pytest.mark.slow
def test_jacobians():
    """Where pfor is a must, against the reference."""
    p, t = random_case(GRID, 2, 0.5, dtype=np.float64)
    a, b = random_boxes(3, seed=1), random_boxes(2, 2, seed=2)
    cases = (
        ([p], lambda impl, p: ops.yolo_loss(p, t, grid=GRID, impl=impl).loss[:, None]),
        ([a, b], lambda impl, a, b: ops.pairwise_iou(a, b, kind="giou", impl=impl)),
        ([a, a + 0.1], lambda impl, a, b: ops.aligned_iou(a, b, impl=impl)[:, None]),
    )
    for arrays, function in cases:
        results = []
        for impl in ("fused", "reference"):
            sources = [tf.constant(x) for x in arrays]
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(sources)
                value = function(impl, *sources)
            found = tape.jacobian(value, sources, experimental_use_pfor=True)
            if value.shape[-1] == 1:
                found.append(tape.batch_jacobian(value, sources[0], experimental_use_pfor=True))
            results.append(found)
        for got, want in zip(*results, strict=True):
            assert np.abs(want).max() > 0
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", ("boxes", "scores", "both"))
def test_suppression(which, mode):
    cases = [nms_numpy.random_case(seed, 2, 20, 3) for seed in range(STEPS)]
    fixed, stacked = cases[0], [np.stack(x) for x in zip(*cases, strict=True)]

    def function(row):
        boxes = row[0] if which != "scores" else fixed[0]
        scores = row[1] if which != "boxes" else fixed[1]
        return ops.non_max_suppression(boxes, scores, max_detections=9, impl="fused")

    with tf.device("CPU:0"):
        check(function, stacked, mode)
