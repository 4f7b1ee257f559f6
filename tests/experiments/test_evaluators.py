"""What is measured sees images as the run's configuration resizes them, each with its loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.lib import evaluators
from yolov1 import data, training
from yolov1.grid import GridSpec
from yolov1.inference import prepare


class Watching(keras.Model):
    """Predicts nothing, and keeps what it saw."""

    def __init__(self, shape):
        super().__init__()
        self._shape, self.seen = shape, []

    def call(self, images):
        tf.py_function(lambda seen: self.seen.append(seen.numpy()), [images], [])
        return tf.zeros([tf.shape(images)[0], *self._shape])


@pytest.mark.each_value
@pytest.mark.parametrize("resize", ["half_pixel", "darknet", "darknet_black_row"])
@pytest.mark.parametrize("task", evaluators.EVALUATORS)
def test_images_are_resized_as_the_configuration_says(task, resize):
    dataset = data.open("shapes:count=2", split="val", image_size=96, seed=1)
    grid = GridSpec(S=2, B=1, C=len(dataset.classes), image_size=32)
    shape = grid.prediction_shape if task == "detect" else (grid.C,)
    model = Watching(shape)
    config = training.TrainConfig(batch_size=2, resize=resize)
    evaluators.EVALUATORS[task](model, dataset, grid, config)()
    want = next(iter(data.evaluation_batches(dataset, grid, 2, resize=resize)))[0]
    np.testing.assert_array_equal(model.seen[0], want)
    if resize != "half_pixel":
        mine = np.stack([prepare(example, grid, resize) for example in dataset])
        np.testing.assert_allclose(model.seen[0], mine, rtol=0, atol=1e-5)


def test_boxes_are_suppressed_as_the_configuration_says():
    dataset = data.open("shapes:count=2", split="val", image_size=64, seed=1)
    grid = GridSpec(S=2, B=1, C=len(dataset.classes), image_size=32)
    for suppression in ("hard", "gaussian"):
        config = training.TrainConfig(batch_size=2, suppression=suppression)
        evaluator = evaluators.Evaluator(Watching(grid.prediction_shape), dataset, grid, config)
        assert evaluator.detector.options["suppression"] == suppression


def test_each_image_has_its_loss():
    """Of a network that predicts zeros: 1 for each object's class, and its place and size (a box of
    no area has an IoU of 0, which is what its confidence shall be)."""
    dataset = data.open("shapes:count=5", split="val", image_size=64, seed=1)
    grid = GridSpec(S=4, B=1, C=len(dataset.classes), image_size=32)
    evaluator = evaluators.Evaluator(
        Watching(grid.prediction_shape), dataset, grid, training.TrainConfig(batch_size=2)
    )
    assert evaluator.losses is None
    measured = evaluator()
    targets = np.stack([data.encode_example(example, grid) for example in dataset])
    x, y, w, h = np.moveaxis(targets[..., grid.target_box_channels], -1, 0)
    want = (targets[..., grid.C] + 5 * (x**2 + y**2 + w + h)).sum(axis=(1, 2))
    np.testing.assert_allclose(evaluator.losses, want, rtol=1e-5)
    assert measured["val_loss"] == pytest.approx(want.mean())
    assert len(set(want.round(3))) == 5  # so that another order would show
