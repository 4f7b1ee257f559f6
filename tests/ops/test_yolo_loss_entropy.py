"""Cross-entropies in place of the squares of confidences and classes."""

import dataclasses
import itertools
import math

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    assert_near,
    check_kernel,
    loss_function,
    random_case,
    value_and_gradient,
)
from tests.ops.test_yolo_loss_activations import EACH, TOLERANCES, loss_of_raw, raw_case
from tests.ops.test_yolo_loss_precision import native
from yolov1 import kernels, ops
from yolov1.activations import resolve_activations
from yolov1.grid import GridSpec
from yolov1.kernels import _module
from yolov1.losses import YoloLoss
from yolov1.semantics import CHOICES, LossSemantics

LEAST = 2.0**-20
ENTROPIES = {
    f"{confidence} {classes}": LossSemantics(confidence_loss=confidence, class_loss=classes)
    for confidence, classes in itertools.product(CHOICES["confidence_loss"], CHOICES["class_loss"])
    if "cross_entropy" in (confidence, classes)
}
BOTH = ENTROPIES["cross_entropy cross_entropy"]
# With all else that has to do with confidences.
OTHERS = {
    f"{target} {no_object} {ties} {box}": dataclasses.replace(
        BOTH, confidence_target=target, no_object=no_object, ties=ties, box=box, factor=0.5
    )
    for target in CHOICES["confidence_target"]
    for no_object in CHOICES["no_object"]
    for ties, box in (("all", "squared"), ("first", "ciou"))
}
GRID = GRIDS["paper"]


def only(term, **fields):
    weights = {f"weight_{name}": 0 for name in ("xy", "wh", "object", "no_object", "class")}
    weights["weight_" + term] = 1
    return dataclasses.replace(BOTH, **weights | fields)


# --------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("impl", IMPLS)
def test_one_cell_by_hand(impl):
    """Box 0 is the left half of its object: IoU 1/2. Box 1 lies apart."""
    grid = GridSpec(S=1, B=2, C=3, image_size=8)
    classes, confidences = (0.25, 0.625, 0.125), (0.75, 0.125)
    boxes = (0.375, 0.5, math.sqrt(0.25), math.sqrt(0.5), 0.9, 0.9, 0.1, 0.1)
    predictions = np.array([[[[*classes, *confidences, *boxes]]]])
    targets = np.array([[[[0, 1, 0, 1, 0.5, 0.5, 0.5, 0.5]]]])
    semantics = dataclasses.replace(
        BOTH, weight_object=2, weight_no_object=0.25, weight_class=3, factor=0.5
    )
    _, terms, gradient = value_and_gradient(
        predictions, targets, grid=grid, semantics=semantics, impl=impl
    )
    of_object = -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    want = [0.5 * 2 * of_object, 0.5 * 0.25 * -math.log(0.875), 0.5 * 3 * -math.log(0.625)]
    np.testing.assert_allclose(terms[0, 2:], want, rtol=1e-14)
    by = [0, 0.5 * 3 * -1 / 0.625, 0, 0.5 * 2 * (0.75 - 0.5) / (0.75 * 0.25), 0.5 * 0.25 / 0.875]
    np.testing.assert_allclose(gradient[0, 0, 0, :5], by, rtol=1e-14)
    one = dataclasses.replace(semantics, confidence_target="one", no_object="empty_cells")
    _, terms, gradient = value_and_gradient(
        predictions, targets, grid=grid, semantics=one, impl=impl
    )
    np.testing.assert_allclose(terms[0, 2:4], [-math.log(0.75), 0], rtol=1e-14)
    np.testing.assert_allclose(gradient[0, 0, 0, 3:5], [-1 / 0.75, 0], rtol=1e-14)


# ---------------------------------------------------------------------------------- the logarithm


def probabilities(dtype):
    """Of all magnitudes from 2^-20 to 1, near both ends one after another, and random bits."""
    generator = np.random.default_rng(0)
    words, ends = (np.uint32, (LEAST, 1)) if dtype == np.float32 else (np.uint64, (LEAST, 1))
    low, high = np.array(ends, dtype).view(words).astype(np.int64)
    bits = np.concatenate(
        [
            generator.integers(low, high, 200000, endpoint=True),
            np.linspace(low, high, 50000).astype(np.int64)[1:-1],
            low + np.arange(5000),
            high - np.arange(5000),
        ]
    )
    dense = np.linspace(LEAST, 1, 100000, dtype=dtype)
    return np.concatenate([bits.astype(words).view(dtype), dense])


def of_every_version(predictions, targets, grid, semantics):
    """Terms and gradient, which all versions agree about to the bit."""
    found = [
        kernels.yolo_loss(predictions, targets, grid=grid, semantics=semantics, version=version)
        for version in kernels.yolo_loss_versions()
    ]
    assert len({(terms.tobytes(), gradient.tobytes()) for _, terms, gradient in found}) == 1
    return found[0][1:]


@pytest.mark.first_case
@pytest.mark.on_cpu
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_logarithms_are_some_units_in_the_last_place_off(dtype):
    """-log(p) as the class term of one class of 1 and of 17 (lanes and a tail), -log(1 - p) as the
    no_object term of one box: of every version the same bits, naive too."""
    p, eps = probabilities(dtype), np.finfo(dtype).eps
    exact = p.astype(np.longdouble)
    for classes in (1, 17):
        grid = GridSpec(S=1, B=1, C=classes, image_size=8)
        predictions = np.zeros((len(p), *grid.prediction_shape), dtype)
        targets = np.zeros((len(p), *grid.target_shape), dtype)
        at = np.arange(len(p)), 0, 0, np.arange(len(p)) % classes
        predictions[at], targets[at] = p, 1
        targets[..., grid.target_object_channel] = 1
        terms, gradient = of_every_version(predictions, targets, grid, only("class"))
        want = -np.log(exact)
        assert (np.abs(terms[:, 4] - want) <= 2 * eps * np.abs(want)).all()
        np.testing.assert_allclose(gradient[at], -1 / p, rtol=eps)
    predictions[..., grid.C] = p.reshape(-1, 1, 1)
    targets[:] = 0
    terms, gradient = of_every_version(predictions, targets, grid, only("no_object"))
    clipped = np.minimum(exact, 1 - LEAST)
    want = -np.log1p(-clipped)
    assert (np.abs(terms[:, 3] - want) <= 2 * eps * np.abs(want)).all()
    np.testing.assert_allclose(gradient[:, 0, 0, grid.C], 1 / (1 - clipped), rtol=2 * eps)


# ------------------------------------------------- against the NumPy and the TensorFlow reference


def probable_case(grid, images, semantics, activations, layout="cells", dtype=np.float32):
    """Raw outputs and targets; what is not activated lies between 0 and 1, not near them, where a
    gradient is beyond float16."""
    raw, targets = raw_case(grid, images, semantics, activations, layout, dtype)
    blocks = resolve_activations(activations)
    parts = loss_numpy.split(raw, grid, layout)
    plain = loss_numpy.split(random_case(grid, images, 0, dtype=dtype)[0], grid)
    for k, block in enumerate(("classes", "confidences")):
        parts[k] = plain[k] if blocks[block] == "linear" else parts[k]
    return loss_numpy.join(*parts, grid, layout), targets


@pytest.mark.each_value
@pytest.mark.on_cpu
@pytest.mark.parametrize("activations", ("linear", *EACH.values()), ids=("linear", *EACH))
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_kernel_against_numpy(grid, dtype, activations):
    for k, semantics in enumerate((*ENTROPIES.values(), *OTHERS.values())):
        layout = ("cells", "planes")[k % 2]
        raw, targets = probable_case(grid, 6, semantics, activations, layout, dtype)
        _, want = loss_of_raw(raw, targets, grid, semantics, layout, activations)
        options = {"semantics": semantics, "layout": layout, "activations": activations}
        tolerances = 2 * np.take(TOLERANCES[dtype], [0, 0, 1])
        check_kernel(raw, targets, want, tolerances, grid=grid, **options)


@pytest.mark.each_value
@pytest.mark.parametrize("mode", ("eager", "graph", "xla"))
@pytest.mark.parametrize("name", (*ENTROPIES, *OTHERS))
def test_op_against_its_reference(name, mode):
    semantics = (ENTROPIES | OTHERS)[name]
    for activations in ("linear", "softmax"):
        raw, targets = probable_case(GRID, 4, semantics, activations)
        options = {"grid": GRID, "semantics": semantics, "activations": activations}
        found = {
            impl: loss_function(impl=impl, graph=mode == "graph", xla=mode == "xla", **options)(
                raw, targets
            )
            for impl in IMPLS
        }
        for one, other in zip(found["fused"], found["reference"], strict=True):
            assert_near(one, other, 4e-6)
        plain = kernels.yolo_loss(raw, targets, **options)
        for one, other in zip(found["fused"], plain, strict=True):
            np.testing.assert_array_equal(one, other)  # inside XLA and outside: the same bits


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("of_network", (False, True))
def test_gradient_through_activations_is_the_difference(impl, of_network):
    """c - target and p - t, whether the loss or the network's head activates."""
    for dtype, tolerance in ((np.float64, 1e-14), (np.float32, 1e-6)):
        grid = GridSpec(S=5, B=1, C=4, image_size=40)  # one box: no choice
        generator = np.random.default_rng(5)
        raw = generator.normal(0, 3, (3, *grid.prediction_shape)).astype(dtype)
        targets = random_case(grid, 3, 0.5, dtype=dtype)[1]
        one_hot = np.eye(grid.C)[generator.integers(0, grid.C, (3, 5, 5))]
        has_object = targets[..., grid.target_object_channel] != 0
        targets[..., : grid.C] = one_hot * has_object[..., None]
        semantics = dataclasses.replace(
            BOTH, confidence_target="one", weight_xy=0, weight_wh=0, weight_no_object=1
        )
        options = {"grid": grid, "semantics": semantics, "impl": impl}
        with tf.GradientTape() as tape:
            outputs = tf.Variable(raw)
            if of_network:
                p, c, boxes = tf.split(outputs, [grid.C, grid.B, 4 * grid.B], -1)
                cells = tf.concat([tf.nn.softmax(p), tf.sigmoid(c), tf.sigmoid(boxes)], -1)
                loss = ops.yolo_loss(cells, targets, **options).loss
            else:
                loss = ops.yolo_loss(outputs, targets, activations="softmax", **options).loss
        gradient = tape.gradient(loss, outputs).numpy()
        exact = raw.astype(np.float64)
        c = 1 / (1 + np.exp(-exact[..., grid.C]))
        power = np.exp(exact[..., : grid.C])
        p = power / power.sum(-1, keepdims=True)
        np.testing.assert_allclose(gradient[..., grid.C], c - has_object, atol=tolerance)
        want = np.where(has_object[..., None], p - one_hot, 0)
        np.testing.assert_allclose(gradient[..., : grid.C], want, atol=tolerance)


def test_gradient_of_confident_mistakes_is_whole():
    """Beside 1, where float32 knows little of 1 - c, c (1 - c) and what it is divided by cancel."""
    grid = GridSpec(S=1, B=1, C=1, image_size=8)
    raw = np.zeros((60, *grid.prediction_shape), np.float32)
    raw[..., grid.C] = np.linspace(1, 13.8, 60).reshape(-1, 1, 1)
    targets = np.zeros((60, *grid.target_shape), np.float32)
    options = {"grid": grid, "activations": "softmax", "semantics": only("no_object")}
    want = 1 / (1 + np.exp(-raw[:, 0, 0, grid.C].astype(np.float64)))
    for version in kernels.yolo_loss_versions():
        gradient = kernels.yolo_loss(raw, targets, version=version, **options)[2]
        np.testing.assert_allclose(gradient[:, 0, 0, grid.C], want, rtol=4e-7)


def test_reference_has_second_derivatives():
    grid = GridSpec(S=1, B=1, C=2, image_size=8)
    predictions, targets = random_case(grid, 1, 1.0, dtype=np.float64)
    targets[..., : grid.C] = 1, 0
    semantics = dataclasses.replace(BOTH, confidence_target="one", weight_xy=0, weight_wh=0)
    p = tf.Variable(predictions)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            loss = ops.yolo_loss(p, targets, grid=grid, semantics=semantics, impl="reference").loss
        slope = tape.gradient(loss, p)
    second = outer.gradient(slope, p).numpy().ravel()
    value = predictions.ravel()
    np.testing.assert_allclose(second, [value[0] ** -2, 0, value[2] ** -2, 0, 0, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_from_logits_is_the_loss_of_the_activated(impl):
    raw, targets = raw_case(GRID, 3, BOTH, "softmax")
    activated, _ = loss_of_raw(raw, targets, GRID, BOTH, "cells", "softmax")
    got = YoloLoss(GRID, semantics=BOTH, from_logits=True, impl=impl)(targets, raw)
    want = YoloLoss(GRID, semantics=BOTH, impl=impl)(targets, activated.astype(np.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5)


# ---------------------------------------------------------------------------------------- the ends


@pytest.mark.parametrize("xla", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_outputs_beyond_zero_and_one_are_clipped(impl, xla):
    """Value and gradient are those of the nearest probability."""
    grid = GridSpec(S=1, B=1, C=2, image_size=8)
    wild = np.array([-3e30, -50, -1, -1e-3, 0, 1e-8, LEAST, 1 - LEAST / 2, 1, 1.01, 50, 3e30])
    predictions, targets = random_case(grid, len(wild), 1.0)
    targets[..., : grid.C] = 1, 0
    semantics = dataclasses.replace(BOTH, confidence_target="one")
    compute = loss_function(grid=grid, semantics=semantics, impl=impl, xla=xla)
    for channel, weight in ((0, 1), (grid.C, 1)):
        predictions[..., channel] = wild.reshape(-1, 1, 1)
        _, terms, gradient = compute(predictions, targets)
        clipped = wild.clip(LEAST, 1)
        term = terms[:, 4 if channel == 0 else 2]
        np.testing.assert_allclose(term, weight * -np.log(clipped), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(gradient[:, 0, 0, channel], -weight / clipped, rtol=1e-6)
        predictions[..., channel] = 0.5
    targets[:] = 0
    predictions[..., grid.C] = wild.reshape(-1, 1, 1)
    _, terms, gradient = compute(predictions, targets)
    rest = 1 - wild.clip(0, 1 - LEAST).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(terms[:, 3], -0.5 * np.log(rest), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(gradient[:, 0, 0, grid.C], 0.5 / rest, rtol=1e-6)


@pytest.mark.parametrize("dtype", (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
@pytest.mark.parametrize("impl", IMPLS)
def test_extreme_logits_stay_finite(impl, dtype):
    generator = np.random.default_rng(1)
    largest = float(ml_dtypes.finfo(dtype).max)
    targets = random_case(GRID, 4, 0.3)[1]
    for values in ((-50, 50), (-largest, -50, 0, 50, largest)):
        raw = generator.choice(values, (4, *GRID.prediction_shape)).astype(dtype)
        loss, terms, gradient = value_and_gradient(
            raw, targets, grid=GRID, semantics=BOTH, activations="softmax", impl=impl
        )
        assert np.isfinite(loss).all() and np.isfinite(terms).all()
        assert np.isfinite(gradient.astype(np.float64)).all()
        most = -math.log(LEAST)  # of each logarithm
        cells = (targets[..., GRID.target_object_channel] != 0).sum((1, 2))
        soft = targets[..., : GRID.C].sum((1, 2, 3))
        assert (terms[:, 4] <= 1.001 * most * soft).all()
        assert (terms[:, 2] <= 1.001 * most * cells).all()


@pytest.mark.each_value
@pytest.mark.parametrize("activations", ("linear", "softmax"))
@pytest.mark.parametrize("mode", ("eager", "graph", "xla"))
@pytest.mark.parametrize("impl", IMPLS)
def test_what_is_read_counts_and_nothing_else(impl, mode, activations):
    grid = GridSpec(S=2, B=2, C=3, image_size=32)
    predictions, targets = random_case(grid, 2, 1.0)
    targets[:, 1] = 0  # row 0 holds objects, row 1 none
    semantics = dataclasses.replace(BOTH, no_object="empty_cells")
    options = {"grid": grid, "impl": impl, "activations": activations}
    options |= {"graph": mode == "graph", "xla": mode == "xla", "semantics": semantics}
    compute = loss_function(**options)
    clean = compute(predictions, targets)
    by = clean[2][0, 0, 0, grid.confidence_channels]
    (idle,) = grid.C + np.flatnonzero(by == 0)  # the box that is not responsible
    (chosen,) = grid.C + np.flatnonzero(by)

    def run(row, channel, value):
        broken = predictions.copy()
        broken[0, row, 0, channel] = value
        return compute(broken, targets)

    for value in (np.nan, np.inf, -np.inf):
        for row, channel in ((0, 0), (0, chosen), (1, grid.C)):
            if np.isinf(value) and activations == "softmax":
                continue  # an infinite logit of a sigmoid is a probability
            loss, _, gradient = run(row, channel, value)
            assert np.isnan(loss[0]) and loss[1] == clean[0][1]
            assert np.isnan(gradient[0, row, 0, channel])
        for row, channel in ((0, idle), (1, 0), (1, grid.C + 2)):
            for one, other in zip(run(row, channel, value), clean, strict=True):
                np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------------- other words


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("name", ("odd", "paper"))
@pytest.mark.parametrize("semantics", ENTROPIES)
def test_error_in_16_bits_is_at_most_twice_that_of_plain_tensorflow(semantics, name, dtype):
    grid, semantics = GRIDS[name], ENTROPIES[semantics]
    predictions, targets = (tf.cast(x, dtype) for x in random_case(grid, 16, 0.3, seed=7))
    rounded = [tf.cast(x, tf.float64).numpy() for x in (predictions, targets)]
    exact = loss_numpy.yolo_loss(*rounded, grid, semantics)
    plain = native(predictions, targets, grid, semantics, "cells")
    ours = value_and_gradient(predictions, targets, grid=grid, semantics=semantics, impl="fused")
    for got, other, want in ((ours[0], plain[0], exact.loss), (ours[2], plain[1], exact.gradient)):
        ours_off, theirs = (np.abs(np.asarray(x).astype(float) - want) for x in (got, other))
        assert ours_off.mean() <= 2 * theirs.mean() and ours_off.max() <= 2 * theirs.max()


@pytest.mark.on_cpu
def test_a_configuration_without_the_words_is_of_squares():
    """As graphs have it that were saved before there were any."""
    config = kernels.yolo_loss_config(GRID, LossSemantics())
    old = " ".join(word for word in config.split() if not word.endswith("_loss=squared"))
    assert len(config.split()) == len(old.split()) + 2
    inputs = list(random_case(GRID, 2, 0.3))
    found = [
        [x.tobytes() for x in _module.call("Yolov1>YoloLoss", text, inputs)[:3]]
        for text in (config, old)
    ]
    assert found[0] == found[1]
