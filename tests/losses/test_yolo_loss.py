"""`YoloLoss` in plain Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.losses.cases import GRID, MODES, Calls, every_mode, fit, small_data, small_model
from tests.ops.loss_cases import random_case
from yolov1 import ops
from yolov1.losses import YoloLoss
from yolov1.semantics import LossSemantics


def test_fit_lowers_the_loss_and_both_implementations_train_alike():
    data, models, losses = small_data(), {}, {}
    for impl in ("fused", "reference"):
        models[impl] = small_model()
        losses[impl] = fit(models[impl], data, loss=YoloLoss(grid=GRID, impl=impl))["loss"]
    assert losses["fused"][-1] < 0.8 * losses["fused"][0]
    np.testing.assert_allclose(losses["fused"], losses["reference"], rtol=1e-4)
    evaluated = [model.evaluate(*data, verbose=0) for model in models.values()]
    assert evaluated[0] == pytest.approx(evaluated[1], rel=1e-4)


@every_mode("xla")
def test_every_mode_of_fit_trains_alike(mode):
    data = small_data(11)  # a ragged last batch
    history = fit(small_model(), data, compiled=MODES[mode])
    np.testing.assert_allclose(history["loss"], fit(small_model(), data)["loss"], rtol=1e-4)


def test_reported_loss_is_the_mean_over_images():
    predictions, targets = random_case(GRID, 5, 0.5)
    per_image = ops.yolo_loss(predictions, targets, grid=GRID).loss.numpy()
    for reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        loss = YoloLoss(grid=GRID, reduction=reduction)
        assert float(loss(targets, predictions)) == pytest.approx(per_image.mean())
    summed = YoloLoss(grid=GRID, reduction="sum")(targets, predictions)
    assert float(summed) == pytest.approx(per_image.sum())
    for reduction in (None, "none"):
        unreduced = YoloLoss(grid=GRID, reduction=reduction)(targets, predictions)
        np.testing.assert_allclose(unreduced, per_image, rtol=1e-6)
    assert float(YoloLoss(grid=GRID)(targets[:0], predictions[:0])) == 0


def test_sample_weight_weighs_images():
    predictions, targets = random_case(GRID, 3, 0.5)
    per_image = ops.yolo_loss(predictions, targets, grid=GRID).loss.numpy()
    for weights in (np.float32([0, 2, 1]), np.array([0, 2, 1]), np.float64([[0], [2], [1]])):
        got = YoloLoss(grid=GRID)(targets, predictions, sample_weight=weights)
        assert float(got) == pytest.approx((per_image * weights.ravel()).sum() / 3, rel=1e-6)
    weighted = YoloLoss(grid=GRID, reduction="mean_with_sample_weight")
    got = weighted(targets, predictions, sample_weight=np.float32([0, 2, 2]))
    assert float(got) == pytest.approx(per_image[1:].mean(), rel=1e-6)


def test_sample_weight_zero_trains_as_if_the_image_were_not_there():
    inputs, targets = small_data(8)
    weights = np.float32([1, 1, 0, 1, 1, 0, 0, 1])
    few, all_images = small_model(), small_model()
    sgd = keras.optimizers.SGD
    kept = weights > 0
    fit(few, (inputs[kept], targets[kept]), batch_size=8, optimizer=sgd(0.01))
    fit(
        all_images,
        (inputs, targets),
        batch_size=8,
        optimizer=sgd(0.01),
        sample_weight=weights * 8 / 5,  # Keras divides by the 8 images of the batch
    )
    for one, other in zip(few.get_weights(), all_images.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.first_case
@pytest.mark.parametrize("mode", ("graph", "eager"))
def test_the_batch_mean_is_the_ops_and_its_gradient_is_one(mode, monkeypatch):
    calls = Calls(monkeypatch)
    fit(small_model(), small_data(), compiled=MODES[mode])
    assert calls
    for call in calls:
        assert call["reduction"] == "mean" and call["upstream"] == 1
    calls.clear()
    fit(small_model(), small_data(), compiled=MODES[mode], sample_weight=np.ones(12))
    assert {call["reduction"] for call in calls} == {"none"}


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float64"))
@pytest.mark.parametrize("weights", (None, np.float32([0, 2, 1, 1])))
def test_predictions_reach_the_op_in_their_own_dtype(dtype, weights, monkeypatch):
    calls = Calls(monkeypatch)
    predictions, targets = random_case(GRID, 4, 0.5)
    predictions = tf.cast(predictions, dtype)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        loss = YoloLoss(grid=GRID)(tf.constant(targets), predictions, sample_weight=weights)
    assert [call["dtype"] for call in calls] == [dtype]
    assert loss.dtype == ("float64" if dtype == "float64" else "float32")
    assert tape.gradient(loss, predictions).dtype == dtype
    exact = ops.yolo_loss(tf.cast(predictions, tf.float64), targets, grid=GRID).loss.numpy()
    assert float(loss) == pytest.approx(np.average(exact * (1 if weights is None else weights)))


@pytest.mark.first_case
@pytest.mark.parametrize("policy", ("mixed_bfloat16", "mixed_float16"))
def test_mixed_precision_trains(policy, monkeypatch):
    calls = Calls(monkeypatch)
    data, before = small_data(), keras.config.dtype_policy()
    single = fit(small_model(), data, optimizer=keras.optimizers.SGD(0.01))["loss"]
    calls.clear()
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model()
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.SGD(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=128.0)
    half = fit(model, data, optimizer=optimizer)["loss"]
    assert {call["dtype"] for call in calls} == {policy.removeprefix("mixed_")}
    assert {call["reduction"] for call in calls} == {"mean"}
    assert half[-1] < 0.95 * half[0]
    np.testing.assert_allclose(half, single, rtol=0.02)


def test_gradient_accumulation_equals_the_large_batch():
    data = small_data()
    accumulated, large = small_model(), small_model()
    sgd = keras.optimizers.SGD(0.01, gradient_accumulation_steps=3)
    history = fit(accumulated, data, optimizer=sgd, batch_size=4)["loss"]
    expected = fit(large, data, optimizer=keras.optimizers.SGD(0.01), batch_size=12)["loss"]
    np.testing.assert_allclose(history, expected, rtol=1e-5)
    for one, other in zip(accumulated.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("semantics", ("darknet", LossSemantics(weight_xy=1.25, ties="last")))
def test_config_round_trip(semantics):
    loss = YoloLoss(grid=GRID, semantics=semantics, impl="reference", reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, YoloLoss) and again.name == "mine" and again.impl == "reference"
    assert again.grid == GRID and again.semantics == loss.semantics
    assert again.reduction == "sum" and again.layout == "cells"


def test_compiled_model_is_saved_and_loaded_with_its_loss(tmp_path):
    model, data = small_model(), small_data()
    fit(model, data)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.semantics == LossSemantics()
    assert loaded.evaluate(*data, verbose=0) == pytest.approx(model.evaluate(*data, verbose=0))
