"""The loss of raw outputs: values and gradients through the activations, in every dtype."""

import sys

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    assert_near,
    check_kernel,
    empty_undecided,
    loss_function,
    random_case,
    to_planes,
)
from tests.shared import shared
from yolov1 import kernels, models, ops
from yolov1.activations import ACTIVATIONS, resolve_activations
from yolov1.grid import GridSpec
from yolov1.losses import ResponsibleBoxes, YoloLoss, YoloTerms
from yolov1.ops import _library
from yolov1.semantics import PRESETS

EACH = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "some": {"classes": "softmax", "xy": "sigmoid"},
    "others": {"confidences": "sigmoid", "wh": "sigmoid"},
}
# Largest error of loss and terms, and of the gradient, as shares of the largest value.
TOLERANCES = {
    np.float64: (2e-14, 2e-14),
    np.float32: (2e-6, 4e-6),
    np.float16: (2e-6, 2**-10),
    ml_dtypes.bfloat16: (2e-6, 2**-7),
}
GRID = GRIDS["paper"]


def activated(raw, activation):
    """Values and their derivatives, in float64."""
    if activation == "linear":
        return raw, np.ones_like(raw)
    small = np.exp(-np.abs(raw))
    value = np.where(raw < 0, small, 1) / (1 + small)
    return value, small / (1 + small) ** 2


def loss_of_raw(raw, targets, grid, semantics, layout, activations):
    """Predictions, and loss, terms and gradient by the raw outputs, in float64 by loss_numpy.py."""
    blocks = resolve_activations(activations)
    classes, confidences, boxes = loss_numpy.split(raw.astype(np.float64), grid, layout)
    if blocks["classes"] == "softmax":
        power = np.exp(classes - classes.max(-1, keepdims=True))
        p = power / power.sum(-1, keepdims=True)
    else:
        p, class_slope = activated(classes, blocks["classes"])
    c, confidence_slope = activated(confidences, blocks["confidences"])
    ends = activated(boxes[..., :2], blocks["xy"]), activated(boxes[..., 2:], blocks["wh"])
    b, box_slope = (np.concatenate(parts, -1) for parts in zip(*ends, strict=True))
    predictions = loss_numpy.join(p, c, b, grid, layout)
    out = loss_numpy.yolo_loss(predictions, targets.astype(np.float64), grid, semantics, layout)
    by_p, by_c, by_b = loss_numpy.split(out.gradient, grid, layout)
    if blocks["classes"] == "softmax":
        by_classes = p * (by_p - (p * by_p).sum(-1, keepdims=True))
    else:
        by_classes = by_p * class_slope
    parts = by_classes, by_c * confidence_slope, by_b * box_slope
    return predictions, (out.loss, out.terms, loss_numpy.join(*parts, grid, layout))


def raw_case(grid, images, semantics, activations, layout="cells", dtype=np.float32):
    """Raw outputs and targets, without objects whose responsible box rounding decides."""
    generator = np.random.default_rng(2)
    raw = generator.normal(0, 1.5, (images, *grid.prediction_shape))
    raw = (raw if isinstance(activations, str) else np.abs(raw) / 4).astype(dtype)
    raw = raw if layout == "cells" else to_planes(raw, grid)
    targets = random_case(grid, images, 0.3, seed=4)[1]
    predictions, _ = loss_of_raw(raw, targets, grid, semantics, layout, activations)
    targets, _ = empty_undecided(predictions, targets, grid, semantics, layout)
    return raw, targets if dtype != np.float64 else targets.astype(np.float64)


@pytest.mark.each_value
@pytest.mark.parametrize("activations", EACH.values(), ids=EACH)
@pytest.mark.parametrize("dtype", DTYPES := tuple(TOLERANCES), ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_kernel_against_numpy(grid, dtype, activations):
    for k, semantics in enumerate(PRESETS.values()):
        layout = ("cells", "planes")[k % 2]
        raw, targets = raw_case(grid, 6, semantics, activations, layout, dtype)
        _, want = loss_of_raw(raw, targets, grid, semantics, layout, activations)
        options = {"semantics": semantics, "layout": layout, "activations": activations}
        tolerances = np.take(TOLERANCES[dtype], [0, 0, 1])
        check_kernel(raw, targets, want, tolerances, grid=grid, **options)


@pytest.mark.each_value
@pytest.mark.parametrize("graph", (False, True), ids=("eager", "graph"))
@pytest.mark.parametrize("name", PRESETS)
def test_op_against_its_reference(name, graph):
    for activations in EACH.values():
        raw, targets = raw_case(GRID, 4, PRESETS[name], activations)
        options = {"grid": GRID, "semantics": name, "activations": activations, "graph": graph}
        got, want = (
            loss_function(impl=impl, **options)(raw, targets) for impl in ("fused", "reference")
        )
        for one, other in zip(got, want, strict=True):
            assert_near(one, other, 4e-6)


@pytest.mark.parametrize("impl", ("fused", "reference"))
@pytest.mark.parametrize("dtype", (np.float16, ml_dtypes.bfloat16, np.float32))
def test_extremes(dtype, impl):
    """Saturated outputs of any size: values of 0 and 1, and gradients of 0 without a NaN."""
    _, targets = random_case(GRID, 4, 0.3)
    largest = float(ml_dtypes.finfo(dtype).max)
    generator = np.random.default_rng(1)
    raw = generator.choice([-largest, -200.0, 0.0, 200.0, largest], (4, *GRID.prediction_shape))
    compute = loss_function(grid=GRID, activations="softmax", impl=impl)
    loss, terms, gradient = compute(raw.astype(dtype), targets)
    assert np.isfinite(loss).all() and np.isfinite(terms).all()
    assert np.isfinite(gradient.astype(np.float64)).all()


def test_slope_where_the_value_is_nearly_one():
    """1 - sigmoid(20) is below the spacing of float32 at 1, and its gradient is not lost."""
    grid = GridSpec(S=1, B=1, C=1)
    raw = np.zeros((1, 1, 1, 6), np.float32)
    raw[..., 1] = 20
    targets = np.zeros((1, 1, 1, 6), np.float32)
    for version in kernels.yolo_loss_versions():
        gradient = kernels.yolo_loss(
            raw, targets, grid=grid, activations="sigmoid", version=version
        )[2]
        want = np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2  # 2 * 0.5 * p * p (1 - p), p = 1
        np.testing.assert_allclose(gradient[0, 0, 0, 1], want, rtol=1e-6)


@pytest.mark.parametrize("activations", ("softmax", "sigmoid"))
@pytest.mark.parametrize("impl", ("fused", "reference", "fused as on a GPU"))
def test_values_that_are_not_read_have_no_effect(impl, activations, monkeypatch):
    """On a GPU TensorFlow activates in front of the op."""
    if "GPU" in impl:
        impl = "fused"
        monkeypatch.setattr(sys.modules["yolov1.ops.yolo_loss"], "device", lambda tensor: "GPU")
        monkeypatch.setattr(_library, "choose", lambda *_: "fused")
    raw, targets = raw_case(GRID, 3, PRESETS["paper"], activations)
    cells = raw.reshape(-1, GRID.channels)
    empty = targets.reshape(-1, GRID.target_channels)[:, GRID.target_object_channel] == 0
    broken = cells.copy()
    broken[np.ix_(empty, np.r_[GRID.class_channels, GRID.box_channels])] = np.nan
    compute = loss_function(grid=GRID, activations=activations, impl=impl)
    want = compute(raw, targets)
    got = compute(broken.reshape(raw.shape), targets)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("impl", ("fused", "reference"))
def test_a_value_that_is_read_makes_its_image_nan(impl):
    raw, targets = raw_case(GRID, 3, PRESETS["paper"], "softmax")
    cell = np.flatnonzero(targets[1, ..., GRID.target_object_channel])[0]
    for channel in (0, GRID.C):
        broken = raw.copy()
        broken[1].reshape(-1, GRID.channels)[cell, channel] = np.nan
        loss = loss_function(grid=GRID, activations="softmax", impl=impl)(broken, targets)[0]
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False])


@pytest.mark.parametrize("impl", ("fused", "reference"))
@pytest.mark.parametrize(
    "name, grid, file",
    [
        ("keras_voc", GridSpec(), ("keras_voc", "reshapeA.npz")),
        ("tf2_person", GridSpec(C=1), ("tf2_person", "reshapeB.npz")),
    ],
)
def test_the_published_reshape_layers(name, grid, file, impl):
    """Raw outputs of both posts have the loss of what the posts' own layers made of them."""
    golden = np.load(shared("golden", *file))
    targets = random_case(grid, len(golden["flat"]), 0.3)[1]
    want = ops.yolo_loss(golden["out"], targets, grid=grid, semantics=name, impl=impl)
    got = ops.yolo_loss(
        golden["flat"],
        targets,
        grid=grid,
        semantics=name,
        layout="planes",
        activations="softmax",
        impl=impl,
    )
    np.testing.assert_allclose(got.terms, want.terms, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------------------ heads and losses


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
@pytest.mark.parametrize("name", ("laptop", "keras_voc", "tf2_person"))
def test_logits_share_the_network_and_the_loss_activates_them(name):
    small = {"keras_voc": 144, "tf2_person": 64, "laptop": 64}[name]
    options = {} if name == "laptop" else {"width": 0.02}
    grid = GridSpec(S=2, B=2, C=3, image_size=small)
    model = models.build(name, grid=grid, **options)
    raw = models.logits(model)
    assert models.grid_of(raw) == models.grid_of(model)
    assert all(a is b for a, b in zip(raw.weights, model.weights, strict=True))
    activations = models.activations_of(model)
    images = np.random.default_rng(0).uniform(size=(3, small, small, 3)).astype(np.float32)
    targets = random_case(grid, 3, 0.4)[1]
    losses = (
        YoloLoss(grid, from_logits=True, activations=activations),
        YoloLoss(grid),
    )
    for loss, network in zip(losses, (raw, model), strict=True):
        with tf.GradientTape() as tape:
            value = loss(targets, network(images, training=False))
        loss.found = [value, *tape.gradient(value, model.trainable_variables)]
    for one, other in zip(*(loss.found for loss in losses), strict=True):
        assert_near(np.asarray(one), np.asarray(other), 2e-4)


def test_fit_with_metrics():
    grid = GridSpec(S=2, B=2, C=3, image_size=64)
    raw = models.logits(models.build("laptop", grid=grid))
    loss = YoloLoss(grid, from_logits=True)
    raw.compile(keras.optimizers.SGD(1e-3), loss, metrics=[YoloTerms(loss), ResponsibleBoxes(loss)])
    images = np.random.default_rng(0).uniform(size=(4, 64, 64, 3)).astype(np.float32)
    logs = raw.fit(images, random_case(grid, 4, 0.4)[1], verbose=0).history
    parts = sum(logs[term][0] for term in ("xy", "wh", "object", "no_object", "class"))
    assert logs["loss"][0] == pytest.approx(parts, rel=1e-5)
    assert 0 < logs["class_probability"][0] < 1  # a probability, of what the metric activates


def test_models_without_activations_of_ours_are_refused():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="models.logits: the model must end in an ActivateCells"):
        models.logits(plain)


def test_the_words_of_heads_and_loss_are_the_same():
    assert models.ACTIVATIONS is ACTIVATIONS
    config = kernels.yolo_loss_config(GRID, PRESETS["paper"], activations="softmax")
    assert "activate_classes=softmax activate_confidences=sigmoid" in config
    with pytest.raises(ValueError, match="activations: no block 'boxes'"):
        ops.yolo_loss(*random_case(GRID, 1, 0.1), grid=GRID, activations={"boxes": "sigmoid"})
