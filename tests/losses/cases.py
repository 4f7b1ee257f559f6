"""What the tests of the Keras face share: a model, data, and a look at each call of the op."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import random_case
from yolov1 import losses, ops
from yolov1.grid import GridSpec
from yolov1.losses import YoloLoss
from yolov1.semantics import TERMS

GRID = GridSpec(S=2, B=2, C=3, image_size=16)
MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "two steps a call": {"steps_per_execution": 2},
}


def every_mode(first):
    """A test of each of `MODES`, of which all but one are slow."""
    others = [pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode != first]
    return pytest.mark.parametrize("mode", [first, *others])


def small_model(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(GRID.flat_size),
            keras.layers.Reshape(GRID.prediction_shape),
        ]
    )


def small_data(images=12):
    inputs = np.random.default_rng(0).normal(size=(images, 8)).astype(np.float32)
    return inputs, random_case(GRID, images, 0.5)[1]


def expected_terms(model, inputs, targets):
    """The terms ``[N, 5]`` of the model's predictions, from the op itself."""
    return ops.yolo_loss(model(inputs), targets, grid=GRID, impl="reference").terms.numpy()


def expected_logs(model, inputs, targets):
    """What `evaluate` should return, each a mean over the images."""
    means = expected_terms(model, inputs, targets).mean(axis=0)
    return {"loss": means.sum(), **dict(zip(TERMS, means, strict=True))}


def same_logs(logs, expected):
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=2e-5, err_msg=name)


def fit(model, data, *, loss=None, optimizer=None, metrics=None, compiled=None, **options):
    """The history of a short `fit` whose order of images is fixed."""
    model.compile(
        optimizer or keras.optimizers.Adam(0.02),
        loss or YoloLoss(grid=GRID),
        metrics=metrics,
        **(compiled or {}),
    )
    options = {"batch_size": 4, "epochs": 4, "verbose": 0, "shuffle": False, **options}
    return model.fit(*data, **options).history


class Calls(list):
    """Records how `YoloLoss` calls the op: one dictionary for each call while tracing (or for each
    step when eager), with its graph, the predictions' dtype, the reduction, and `upstream`: the
    gradient of the loss that came back, where it is a constant.
    """

    def __init__(self, monkeypatch):
        monkeypatch.setattr(losses, "yolo_loss", self._call)

    def _call(self, predictions, targets, *, reduction, **options):
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        call = {"graph": graph, "dtype": predictions.dtype.name, "reduction": reduction}
        self.append(call)
        output = ops.yolo_loss(predictions, targets, reduction=reduction, **options)

        @tf.custom_gradient
        def watched(loss):
            def backward(upstream):
                call["upstream"] = tf.get_static_value(upstream)
                return upstream

            return loss, backward

        return output._replace(loss=watched(output.loss))
