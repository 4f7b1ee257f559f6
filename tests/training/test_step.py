"""A batch in parts is the batch; what a part changes, the next one has."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from yolov1 import data
from yolov1.training import RunDirectory, TrainConfig
from yolov1.training.state import build_state
from yolov1.training.step import accumulated, make_step

CONFIG = TrainConfig(
    model="fast",
    model_options="dropout=0,width=0.125",
    image_size=64,
    batch_size=8,
    weight_decay=1e-3,
    clip_norm=0.0,
    ema=0.5,
    schedule="constant",
    warmup_epochs=0.0,
    learning_rate=1e-2,
)


@pytest.fixture(scope="module")
def variables():
    generator = np.random.default_rng(0)
    return [tf.Variable(generator.normal(size=s).astype(np.float32)) for s in ((12, 5), (5,))]


def part_of(variables, parts):
    def part(images, targets):
        with tf.GradientTape() as tape:
            outputs = tf.nn.relu(images @ variables[0] + variables[1])
            loss = tf.reduce_sum((outputs - targets) ** 2) / 8
        return tape.gradient(loss, variables), (outputs, tf.reduce_sum(outputs, 1, keepdims=True))

    return tf.function(lambda x, y: accumulated(part, x, y, parts), autograph=False), part


@pytest.mark.first_case
@pytest.mark.parametrize("jit", [False, True])
def test_parts_add_up_to_the_batch_and_keep_its_order(variables, jit):
    # Small whole numbers: every sum is exact, so that no order of them matters.
    generator = np.random.default_rng(1)
    images, targets = (
        tf.constant(generator.integers(-3, 4, (8, n)).astype(np.float32)) for n in (12, 5)
    )
    for variable in variables:
        variable.assign(tf.round(variable))
    gradients, results = part_of(variables, 1)[1](images, targets)
    for parts in (1, 2, 4, 8):
        run = part_of(variables, parts)[0]
        got, shown = tf.function(run, jit_compile=jit, autograph=False)(images, targets)
        for a, b in zip((*gradients, *results), (*got, *shown), strict=True):
            np.testing.assert_array_equal(a, b)


def trained(tmp_path, steps=3, **changes):
    """All weights and what the steps told, after some steps on shapes."""
    config = dataclasses.replace(CONFIG, **changes)
    dataset = data.open("shapes:count=16", split="train", image_size=config.image_size, seed=1)
    grid = config.grid(len(dataset.classes))
    keras.utils.set_random_seed(0)
    state = build_state(config, grid, RunDirectory(tmp_path), tf.distribute.get_strategy(), 2.0)
    step = make_step(config, grid, state, keep_predictions=True)
    batches = data.training_batches(dataset, grid, config.batch_size, seed=0, steps=steps)
    told = [step(images, targets) for images, targets, _ in batches]
    return state, [[t.numpy() for t in each] for each in told]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "darknet"])
def test_a_network_without_batch_statistics_learns_the_same(tmp_path, optimizer):
    whole, told = trained(tmp_path, optimizer=optimizer)
    for parts in (2, 8):
        state, other = trained(tmp_path, subdivisions=parts, optimizer=optimizer)
        for a, b in zip(told, other, strict=True):
            for x, y in zip(a, b, strict=True):  # terms, their mean, rate, predictions
                np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-6)
        for a, b in zip(whole.model.weights, state.model.weights, strict=True):
            if "seed" not in a.path:
                scale = max(np.abs(a.numpy()).max(), 1e-3)  # biases start at 0
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * scale, err_msg=a.path)
        assert int(state.progress.step) == 3 and int(state.optimizer.iterations) == 3
        for a, b in zip(whole.average.averages, state.average.averages, strict=True):
            scale = max(np.abs(a.numpy()).max(), 1e-3)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * scale)


@pytest.mark.slow
def test_batch_normalisation_sees_each_part(tmp_path):
    """Its averages move once for each, by what a batch of the part's images has."""
    options = {"model": "laptop", "model_options": "width=0.34"}
    state, _ = trained(tmp_path, steps=1, subdivisions=2, **options)
    moved = state.model.get_layer("stage1_norm").moving_mean.numpy()

    config = dataclasses.replace(CONFIG, **options)
    dataset = data.open("shapes:count=16", split="train", image_size=config.image_size, seed=1)
    grid = config.grid(len(dataset.classes))
    keras.utils.set_random_seed(0)
    model = build_state(
        config, grid, RunDirectory(tmp_path), tf.distribute.get_strategy(), 2.0
    ).model
    images, _, _ = next(iter(data.training_batches(dataset, grid, 8, seed=0, steps=1)))
    for piece in tf.split(images, 2):
        model(piece, training=True)
    expected = model.get_layer("stage1_norm").moving_mean.numpy()
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-7)
    once, _ = trained(tmp_path, steps=1, **options)
    assert np.abs(once.model.get_layer("stage1_norm").moving_mean.numpy() - moved).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_and_xla_in_parts(tmp_path, precision):
    """Loss scaling, and a compiled step: each part's gradients are summed before they are used."""
    changes = {"optimizer": "darknet", "precision": precision}
    try:
        keras.mixed_precision.set_dtype_policy(precision)
        _, whole = trained(tmp_path, steps=2, **changes)
        _, parts = trained(tmp_path, steps=2, subdivisions=2, jit_compile=True, **changes)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    for (_, mean, *_), (_, other, *_) in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other.sum(), mean.sum(), rtol=2e-2)
        assert np.isfinite(other).all()
