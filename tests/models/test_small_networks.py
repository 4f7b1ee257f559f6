"""The small networks, laptop and pyramid: any grid and image size, and they learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.models.laptop import stage_count

both = pytest.mark.parametrize("name", ["laptop", "pyramid"])


@pytest.mark.parametrize(
    "image_size, S, stages", [(224, 7, 5), (224, 14, 4), (112, 7, 4), (448, 7, 6), (100, 9, 3)]
)
def test_stages_follow_from_the_grid(image_size, S, stages):
    grid = GridSpec(S=S, B=2, C=3, image_size=image_size)
    assert stage_count(grid) == stages
    assert -(-image_size // 2**stages) >= S


@pytest.mark.each_value
@pytest.mark.parametrize(
    "image_size, S, B, C",
    [
        (224, 7, 2, 20),
        (112, 14, 3, 1),
        (224, 9, 2, 3),
        (97, 11, 1, 5),
        (32, 20, 2, 2),
        (8, 1, 1, 1),
    ],
)
@both
def test_any_grid_on_any_image_size(name, image_size, S, B, C):
    grid = GridSpec(S=S, B=B, C=C, image_size=image_size)
    model = models.build(name, grid=grid, width=0.25)
    predictions = model(np.zeros([2, image_size, image_size, 3], np.float32))
    assert predictions.shape == (2, *grid.prediction_shape)
    assert predictions.dtype == "float32"


@pytest.mark.first_case
@both
def test_width_and_depth(name):
    grid = GridSpec(S=7, B=2, C=3, image_size=112)
    counts = [
        models.build(name, grid=grid, width=width, depth=depth).count_params()
        for width, depth in [(0.5, 0), (0.5, 1), (0.5, 2), (1, 1)]
    ]
    assert counts == sorted(set(counts))
    assert 300_000 < counts[-1] < 3_000_000
    with pytest.raises(ValueError, match="width must be positive and depth at least 0"):
        models.build(name, grid=grid, width=0)


@both
def test_it_starts_at_its_prior(name):
    grid = GridSpec(S=7, B=2, C=4, image_size=112)
    images = np.random.default_rng(0).uniform(size=(4, 112, 112, 3)).astype(np.float32)
    predictions = np.asarray(models.build(name, grid=grid)(images, training=True))
    # The head's kernel starts small, but not at zero: the boxes of a cell must differ.
    np.testing.assert_allclose(predictions[..., grid.confidence_channels].mean(), 0.05, atol=0.1)
    np.testing.assert_allclose(predictions[..., grid.class_channels].mean(), 0.2, atol=0.1)
    assert np.abs(predictions[..., grid.C] - predictions[..., grid.C + 1]).max() > 1e-3


@pytest.mark.slow
@both
def test_it_learns_where_things_are(name):
    """A spot in one cell: a few steps must move the loss of a plain regression."""
    grid = GridSpec(S=4, B=1, C=1, image_size=32)
    images, targets = np.zeros([16, 32, 32, 3], np.float32), np.zeros([16, 4, 4, 6], np.float32)
    for k, image in enumerate(images):
        row, col = divmod(k, 4)
        image[row * 8 + 2 : row * 8 + 6, col * 8 + 2 : col * 8 + 6] = 1
        targets[k, row, col] = 1
    model = models.build(name, grid=grid, width=0.5, depth=0)
    model.compile(keras.optimizers.Adam(3e-3), "mse", jit_compile=False)
    before = model.evaluate(images, targets, verbose=0)
    model.fit(images, targets, batch_size=16, epochs=40, verbose=0)
    assert model.evaluate(images, targets, verbose=0) < 0.2 * before


def test_a_cell_does_not_depend_on_the_far_side():
    """Convolutions only: the paper's dense layers would let every pixel reach every cell."""
    grid = GridSpec(S=28, B=1, C=1, image_size=224)
    model = models.build("laptop", grid=grid, width=0.25, depth=0)
    images = tf.Variable(np.random.default_rng(0).uniform(size=(1, 224, 224, 3)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = model(images)[0, 2, 2, 1]
    reach = np.abs(tape.gradient(value, images).numpy()[0]).sum(axis=-1)
    assert reach[16:24, 16:24].min() > 0
    assert reach[112:, 112:].max() == 0


def test_an_unknown_activation_is_refused():
    grid = GridSpec(S=7, B=2, C=3, image_size=112)
    with pytest.raises(ValueError, match="activation must be one of leaky, silu, got 'relu7'"):
        models.build("pyramid", grid=grid, activation="relu7")


def test_a_cell_of_the_pyramid_sees_further():
    """Through the way down to a quarter of the grid and up again, at fewer multiply-adds."""
    grid, reach = GridSpec(S=28, B=1, C=1, image_size=224), {}
    images = tf.Variable(np.random.default_rng(0).uniform(size=(1, 224, 224, 3)), dtype=tf.float32)
    for name in ("laptop", "pyramid"):
        model = models.build(name, grid=grid)
        with tf.GradientTape() as tape:
            value = model(images)[0, 14, 14, 1]
        seen = np.abs(tape.gradient(value, images).numpy()[0]).sum(axis=(0, -1))
        reach[name] = np.ptp(np.flatnonzero(seen)), models.multiply_adds(model)
    assert reach["pyramid"][0] > 1.5 * reach["laptop"][0]
    assert reach["pyramid"][1] < reach["laptop"][1]
