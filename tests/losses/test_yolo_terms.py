"""`YoloTerms`: the loss's terms in the logs, without a second evaluation of the loss."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.losses.cases import (
    GRID,
    MODES,
    Calls,
    every_mode,
    expected_logs,
    expected_terms,
    fit,
    same_logs,
    small_data,
    small_model,
)
from tests.ops.loss_cases import random_case
from yolov1 import ops
from yolov1.losses import YoloLoss, YoloTerms
from yolov1.semantics import TERMS

STILL = keras.optimizers.SGD  # with a learning rate of 0, so that the terms are known


@every_mode("two steps a call")
def test_logs_are_means_over_the_images_of_each_epoch(mode, monkeypatch):
    calls = Calls(monkeypatch)
    inputs, targets = small_data(11)
    model, loss = small_model(), YoloLoss(grid=GRID)
    history = fit(
        model,
        (inputs, targets),
        loss=loss,
        metrics=[YoloTerms(loss)],
        optimizer=STILL(0.0),
        compiled=MODES[mode],
        epochs=2,
        validation_data=(inputs[:5], targets[:5]),  # 4 + 1 images
    )
    graphs = Counter(call["graph"] for call in calls)
    evaluated = model.evaluate(inputs, targets, batch_size=4, verbose=0, return_dict=True)
    trained = expected_logs(model, inputs, targets)
    validated = expected_logs(model, inputs[:5], targets[:5])
    for epoch in range(2):
        logs = {name: values[epoch] for name, values in history.items()}
        same_logs(logs, trained | {f"val_{name}": value for name, value in validated.items()})
    same_logs(evaluated, trained)
    if mode == "eager":
        assert graphs == {None: 2 * (3 + 2)}, "once a step"
    else:
        assert set(graphs.values()) == {1}, "once a trace"


class Watched(keras.Sequential):
    """Keeps the graphs of its steps."""

    def train_step(self, data):
        self.train_graph = tf.compat.v1.get_default_graph()
        return super().train_step(data)

    def test_step(self, data):
        self.test_graph = tf.compat.v1.get_default_graph()
        return super().test_step(data)


@pytest.mark.parametrize("sample_weight", (None, np.ones(8)))
def test_a_step_has_one_loss_op(sample_weight):
    model, loss = Watched(small_model().layers), YoloLoss(grid=GRID, impl="fused")
    data = small_data(8)
    options = {"loss": loss, "metrics": [YoloTerms(loss)], "sample_weight": sample_weight}
    fit(model, data, validation_data=data, epochs=1, **options)
    assert model.train_graph is not model.test_graph
    for graph in (model.train_graph, model.test_graph):
        assert [op.type for op in graph.get_operations()].count("Yolov1>YoloLoss") == 1


def test_sample_weight():
    inputs, targets = small_data(8)
    weights = np.float32([0, 2, 1, 1, 3, 0, 1, 1])
    model, loss = small_model(), YoloLoss(grid=GRID)
    plain, weighted = YoloTerms(loss), YoloTerms(loss, prefix="weighted_")
    compiled = {"weighted_metrics": [weighted]}
    options = {"loss": loss, "metrics": [plain], "compiled": compiled, "sample_weight": weights}
    history = fit(model, (inputs, targets), optimizer=STILL(0.0), epochs=1, **options)
    terms = expected_terms(model, inputs, targets)
    for i, name in enumerate(TERMS):
        assert history[name] == pytest.approx([terms[:, i].mean()], rel=1e-5)
        mean = np.average(terms[:, i], weights=weights)
        assert history[f"weighted_{name}"] == pytest.approx([mean], rel=1e-5)


def test_progress_bar_and_tensorboard(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data, model, loss = small_data(8), small_model(), YoloLoss(grid=GRID)
    history = fit(
        model,
        data,
        loss=loss,
        metrics=[YoloTerms(loss)],
        validation_data=data,
        epochs=2,
        verbose=2,
        callbacks=[keras.callbacks.TensorBoard(tmp_path)],
    )
    printed = capsys.readouterr().out
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(tmp_path / part)).Reload()
        for name in TERMS:
            logged = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors(f"epoch_{name}")]
            np.testing.assert_allclose(logged, history[prefix + name], rtol=1e-6)
            assert f" {prefix}{name}: {history[prefix + name][-1]:.4f}" in printed


def test_compiled_model_is_saved_and_loaded_with_its_terms(tmp_path, monkeypatch):
    data, model, loss = small_data(8), small_model(), YoloLoss(grid=GRID, semantics="darknet")
    fit(model, data, loss=loss, metrics=[YoloTerms(loss, prefix="loss/")])
    expected = model.evaluate(*data, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    calls = Calls(monkeypatch)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    same_logs(loaded.evaluate(*data, verbose=0, return_dict=True), expected)
    assert set(expected) == {"loss", *(f"loss/{name}" for name in TERMS)}
    assert len(calls) == 1, "the loaded metric finds the terms of the loaded loss"


def test_two_heads():
    one = small_model()
    model = keras.Model(one.inputs, [one.outputs[0], 2 * one.outputs[0]])
    inputs, targets = small_data(8)
    losses = [YoloLoss(grid=GRID), YoloLoss(grid=GRID, semantics="darknet")]
    metrics = [[YoloTerms(losses[0])], [YoloTerms(losses[1], prefix="second_")]]
    history = fit(
        model,
        (inputs, [targets, targets]),
        loss=losses,
        metrics=metrics,
        optimizer=STILL(0.0),
        epochs=1,
    )
    second = ops.yolo_loss(2 * one(inputs), targets, grid=GRID, semantics="darknet")
    for i, name in enumerate(TERMS):
        first = expected_terms(one, inputs, targets)[:, i].mean()
        assert history[name] == pytest.approx([first], rel=1e-5)
        mean = second.terms.numpy()[:, i].mean()
        assert history[f"second_{name}"] == pytest.approx([mean], rel=1e-5)


def test_terms_of_a_model_with_another_loss():
    data, model = small_data(8), small_model()
    metrics = [YoloTerms(YoloLoss(grid=GRID))]
    other = keras.losses.KLDivergence(reduction="sum")
    loss = lambda y_true, y_pred: other(y_true[..., :3], y_pred[..., :3])  # noqa: E731
    history = fit(model, data, loss=loss, metrics=metrics, optimizer=STILL(0.0), epochs=1)
    want = expected_logs(model, *data)
    for name in TERMS:
        assert history[name] == pytest.approx([want[name]], rel=1e-5)


def test_terms_left_behind_belong_to_their_arguments(monkeypatch):
    calls = Calls(monkeypatch)
    predictions, targets = map(tf.constant, random_case(GRID, 3, 0.5))
    others = tf.constant(random_case(GRID, 3, 0.5, seed=1)[1])
    loss = YoloLoss(grid=GRID)
    loss(targets, predictions)
    assert len(calls) == 1
    again = YoloLoss(grid=GRID).terms(targets, predictions)
    assert len(calls) == 1
    np.testing.assert_array_equal(again, ops.yolo_loss(predictions, targets, grid=GRID).terms)
    for options, t in (({}, others), ({"semantics": "darknet"}, targets)):
        loss(targets, predictions)
        count = len(calls)
        terms = YoloLoss(grid=GRID, **options).terms(t, predictions)
        assert len(calls) == count + 1
        np.testing.assert_array_equal(
            terms, ops.yolo_loss(predictions, t, grid=GRID, **options).terms
        )


def test_a_graphs_terms_stay_in_their_graph():
    predictions, targets = map(tf.constant, random_case(GRID, 3, 0.5))
    loss = YoloLoss(grid=GRID)
    inside = tf.function(lambda: loss(targets, predictions))()  # captures what is eager outside
    terms = loss.terms(targets, predictions).numpy()
    assert float(inside) == pytest.approx(terms.sum(axis=1).mean(), rel=1e-6)


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match="loss must be the YoloLoss that compile.. gets, got Grid"):
        YoloTerms(GRID)
