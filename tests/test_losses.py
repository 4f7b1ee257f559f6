"""`YoloLoss` in plain Keras."""

import keras
import numpy as np
import pytest

from tests.ops.loss_cases import random_case
from yolov1 import ops
from yolov1.grid import GridSpec
from yolov1.losses import YoloLoss
from yolov1.semantics import LossSemantics

GRID = GridSpec(S=2, B=2, C=3, image_size=16)


def small_model(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(GRID.flat_size),
            keras.layers.Reshape(GRID.prediction_shape),
        ]
    )


def fit(impl, jit_compile=False, **kwargs):
    images = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    _, targets = random_case(GRID, 12, 0.5)
    model = small_model()
    loss = YoloLoss(grid=GRID, impl=impl)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=jit_compile)
    history = model.fit(images, targets, batch_size=4, epochs=4, verbose=0, shuffle=False, **kwargs)
    return model, history.history["loss"], (images, targets)


def test_fit_lowers_the_loss_and_both_implementations_train_alike():
    (fused, losses, data), (reference, others, _) = fit("fused"), fit("reference")
    assert losses[-1] < 0.8 * losses[0]
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    assert fused.evaluate(*data, verbose=0) == pytest.approx(
        reference.evaluate(*data, verbose=0), rel=1e-4
    )


def test_auto_trains_under_xla_as_keras_does_by_default_on_a_gpu():
    np.testing.assert_allclose(fit("auto", jit_compile=True)[1], fit("fused")[1], rtol=1e-4)


def test_reported_loss_is_the_mean_over_images():
    predictions, targets = random_case(GRID, 5, 0.5)
    per_image = ops.yolo_loss(predictions, targets, grid=GRID).loss.numpy()
    assert float(YoloLoss(grid=GRID)(targets, predictions)) == pytest.approx(per_image.mean())
    unreduced = YoloLoss(grid=GRID, reduction=None)(targets, predictions)
    np.testing.assert_allclose(unreduced, per_image, rtol=1e-6)


def test_sample_weight_weighs_images():
    predictions, targets = random_case(GRID, 3, 0.5)
    per_image = ops.yolo_loss(predictions, targets, grid=GRID).loss.numpy()
    weights = np.float32([0, 2, 1])
    got = YoloLoss(grid=GRID)(targets, predictions, sample_weight=weights)
    assert float(got) == pytest.approx((per_image * weights).sum() / 3, rel=1e-6)
    _, losses, _ = fit("auto", sample_weight=np.zeros(12))
    assert losses == [0, 0, 0, 0]


@pytest.mark.parametrize("semantics", ("darknet", LossSemantics(weight_xy=1.25, ties="last")))
def test_config_round_trip(semantics):
    loss = YoloLoss(grid=GRID, semantics=semantics, impl="reference", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, YoloLoss) and again.name == "mine" and again.impl == "reference"
    assert again.grid == GRID and again.semantics == loss.semantics
    assert again.reduction == "sum_over_batch_size"


def test_compiled_model_is_saved_and_loaded_with_its_loss(tmp_path):
    model, _, data = fit("auto")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.semantics == LossSemantics()
    assert loaded.evaluate(*data, verbose=0) == pytest.approx(model.evaluate(*data, verbose=0))
