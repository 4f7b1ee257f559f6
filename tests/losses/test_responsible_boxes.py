"""`ResponsibleBoxes` in Keras: its logs, weights, precision, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.losses.cases import GRID, MODES, every_mode, fit, small_data, small_model
from yolov1.losses import ResponsibleBoxes, YoloLoss, YoloTerms
from yolov1.responsible import responsible_boxes
from yolov1.semantics import TERMS

STILL = keras.optimizers.SGD  # with a learning rate of 0, so that the boxes are known
NAMES = ResponsibleBoxes.NAMES


def expected_means(predictions, targets, weights=None, semantics="paper"):
    """From `responsible_boxes`, object by object."""
    of = responsible_boxes(predictions, targets, grid=GRID, semantics=semantics)
    images, cells = np.nonzero(of.has_object)
    weights = np.ones(len(targets)) if weights is None else weights
    iou = of.iou.numpy()[images, cells]
    values = {"iou": iou, "recall50": iou > 0.5, "recall75": iou > 0.75}
    for name in ("class_probability", "any_class_probability", "object_confidence"):
        values[name] = getattr(of, name).numpy()[images, cells]
    means = {name: np.average(v, weights=weights[images]) for name, v in values.items()}
    return means | {"any_confidence": np.average(of.any_confidence, weights=weights)}


def good_model(targets):
    """`small_model` with the outputs near one object of each cell, so that some boxes fit well."""
    model = small_model()
    kernel, bias = model.layers[0].get_weights()
    cells = targets.reshape(-1, GRID.cells, GRID.target_channels)
    first = np.argmax(cells[..., GRID.target_object_channel] != 0, axis=0)
    boxes = cells[first, np.arange(GRID.cells), GRID.target_box_channels]
    boxes[:, 2:] **= 0.5
    bias.reshape(GRID.cells, -1)[:, GRID.box_channels] = np.tile(boxes, GRID.B)
    kernel.reshape(-1, GRID.cells, GRID.channels)[..., GRID.box_channels] *= 0.12
    model.layers[0].set_weights([kernel, bias])
    return model


def assert_logs(logs, expected, prefix="", rel=1e-5):
    for name, value in expected.items():
        assert float(logs[prefix + name]) == pytest.approx(value, rel=rel, abs=rel / 100), name


@every_mode("graph")
def test_logs_are_means_over_the_objects_of_each_epoch(mode):
    inputs, targets = small_data(11)
    model, loss = good_model(targets), YoloLoss(grid=GRID)
    history = fit(
        model,
        (inputs, targets),
        loss=loss,
        metrics=[YoloTerms(loss), ResponsibleBoxes(loss)],
        optimizer=STILL(0.0),
        compiled=MODES[mode],
        epochs=2,
        validation_data=(inputs[:5], targets[:5]),  # 4 + 1 images
    )
    assert {*TERMS, *NAMES} <= set(history)
    trained = expected_means(model(inputs), targets)
    validated = expected_means(model(inputs[:5]), targets[:5])
    assert 0 < trained["recall75"] < trained["recall50"] < 1, "a case that can fail"
    for epoch in range(2):
        logs = {name: values[epoch] for name, values in history.items()}
        assert_logs(logs, trained)
        assert_logs(logs, validated, "val_")


def test_sample_weight():
    inputs, targets = small_data(8)
    weights = np.float32([0, 2, 1, 1, 3, 0, 1, 1])
    model, loss = good_model(targets), YoloLoss(grid=GRID)
    metrics = {"metrics": [ResponsibleBoxes(loss, prefix="plain_")]}
    metrics["compiled"] = {"weighted_metrics": [ResponsibleBoxes(loss)]}
    history = fit(
        model,
        (inputs, targets),
        loss=loss,
        optimizer=STILL(0.0),
        epochs=1,
        sample_weight=weights,
        **metrics,
    )
    logs = {name: values[0] for name, values in history.items()}
    assert_logs(logs, expected_means(model(inputs), targets), "plain_")
    assert_logs(logs, expected_means(model(inputs), targets, weights))


def test_no_objects_give_zeros():
    inputs, targets = small_data(4)
    metric = ResponsibleBoxes(YoloLoss(grid=GRID))
    predictions = small_model()(inputs)
    assert all(float(value) == 0 for value in metric.result().values()), "nothing seen"
    metric.update_state(tf.zeros_like(targets), predictions)
    means = {name: float(value) for name, value in metric.result().items()}
    confidences = predictions.numpy()[..., GRID.confidence_channels]
    assert means.pop("any_confidence") == pytest.approx(confidences.mean(), rel=1e-5)
    assert set(means.values()) == {0.0} and float(metric.objects) == 0
    metric.update_state(targets, predictions)
    assert float(metric.objects) == np.count_nonzero(targets[..., GRID.target_object_channel])
    assert_logs(metric.result(), {"iou": expected_means(predictions, targets)["iou"]})


def test_saved_and_loaded(tmp_path):
    data, loss = small_data(8), YoloLoss(grid=GRID, semantics="tf2_person")
    model = good_model(data[1])
    fit(model, data, loss=loss, metrics=[ResponsibleBoxes(loss, prefix="boxes/")])
    expected = model.evaluate(*data, verbose=0, return_dict=True)
    assert set(expected) == {"loss", *(f"boxes/{name}" for name in NAMES)}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_logs(loaded.evaluate(*data, verbose=0, return_dict=True), expected)
    means = expected_means(model(data[0]), data[1], semantics="tf2_person")
    assert_logs(expected, means, "boxes/")


@pytest.mark.first_case
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        inputs, targets = small_data(8)
        model, loss = good_model(targets), YoloLoss(grid=GRID)
        metric = ResponsibleBoxes(loss)
        history = fit(
            model,
            (inputs, targets),
            loss=loss,
            metrics=[metric],
            optimizer=STILL(0.0),
            epochs=1,
        )
        predictions = model(inputs)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert predictions.dtype == policy.removeprefix("mixed_")
    assert metric.variables[0].dtype == "float32"
    logs = {name: values[0] for name, values in history.items()}
    # XLA, which `fit` compiles with, may keep more digits of the predictions.
    assert_logs(logs, expected_means(predictions, targets), rel=0.02)


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match="ResponsibleBoxes: loss must be the YoloLoss .* got Grid"):
        ResponsibleBoxes(GRID)
