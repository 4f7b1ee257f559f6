"""`models.build`: names, options, files, precision."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.shared import ROOT
from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.models.posts import AS_PUBLISHED

GRID = GridSpec(S=3, B=2, C=4, image_size=64)
IMAGES = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
SMALL = {
    "paper": {"width": 1 / 32, "batch_norm": True},
    "fast": {"width": 1 / 32},
    "laptop": {"width": 0.25, "dropout": 0.5},
    "pyramid": {"width": 0.25, "dropout": 0.5},
}
every_network = pytest.mark.parametrize("name", SMALL)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no network 'papre'; there are paper, fast, laptop, "):
        models.build("papre", grid=GRID)
    assert set(SMALL) < set(models.NAMES)


def test_an_unknown_option_is_named():
    with pytest.raises(ValueError, match="'laptop' has no option 'widht'; .*width, depth, dropout"):
        models.build("laptop", grid=GRID, widht=2)
    with pytest.raises(ValueError, match="has no option 'application'"):
        models.build("applications:MobileNetV2", grid=GRID, application="VGG16")
    assert models.options_of("paper")["dropout"] == 0.5
    for options, kind in (
        ({"width": "x"}, "a number, got 'x'"),
        ({"width": True}, "a number, got True"),
        ({"batch_norm": 1}, "true or false, got 1"),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(options))} of 'paper' must be {kind}"):
            models.build("paper", grid=GRID, **options)
    assert "weights" in models.options_of("applications:MobileNetV2")


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name, policy",
    [
        ("paper", "float32"),
        ("fast", "mixed_float16"),
        ("laptop", "float32"),
        ("laptop", "mixed_bfloat16"),
        ("pyramid", "mixed_bfloat16"),
    ],
)
def test_round_trip_through_a_file(name, policy, mixed_precision, tmp_path):
    mixed_precision(policy)
    prior = {"confidences": 0.1, "xy": 0.5}
    model = models.build(name, grid=GRID, activations="softmax", prior=prior, **SMALL[name])
    predictions = model(IMAGES)
    assert predictions.dtype == "float32" and predictions.shape == (2, 3, 3, 14)
    mixed_precision("float32")  # the file, not the process, says how a model computes
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES), predictions)
    assert {v.dtype for v in loaded.trainable_variables} == {"float32"}
    assert models.grid_of(loaded) == models.grid_of(model) == GRID


@pytest.mark.slow
def test_a_new_process_reads_every_network_after_one_import(tmp_path):
    """Each uses layers and activations of its own, and Keras reads what has been imported."""
    names = [name for name in models.NAMES if ":" not in name]
    for name in (*names, "applications:VGG16"):  # that of the fewest layers
        options = SMALL.get(name, {"width": 1 / 64, "batch_norm": True})
        grid = GridSpec(S=3, B=2, C=4, image_size=144)
        models.build(name, grid=grid, **options if ":" not in name else {}).save(
            tmp_path / f"{name.replace(':', '-')}.keras"
        )
    for name, options in AS_PUBLISHED.items():
        model = models.build(name, grid=GridSpec(image_size=144), width=1 / 64, **options)
        model.save(tmp_path / f"{name}-published.keras")
    code = (
        "import keras, pathlib, sys, yolov1.models; "
        "files = sorted(pathlib.Path(sys.argv[1]).glob('*.keras')); "
        "print(len([keras.saving.load_model(file) for file in files]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names) + 1 + len(AS_PUBLISHED)


@pytest.mark.first_case
@every_network
def test_half_precision_stays_close_to_float32(name, mixed_precision):
    model = models.build(name, grid=GRID, **SMALL[name])
    mixed_precision("mixed_bfloat16")
    half = models.build(name, grid=GRID, **SMALL[name])
    half.set_weights(model.get_weights())
    expected = np.asarray(model(IMAGES))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(half(IMAGES), expected, atol=0.05 * scale)


@every_network
def test_kernels_are_free_of_regularisers(name):
    assert models.build(name, grid=GRID, **SMALL[name]).losses == []


@pytest.mark.first_case
@every_network
def test_gradients_reach_every_weight(name):
    model = models.build(name, grid=GRID, **SMALL[name])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((model(IMAGES, training=True) - 1) ** 2)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path


@pytest.mark.slow
def test_the_laptop_network_trains_under_xla():
    model = models.build("laptop", grid=GRID, width=0.25, depth=0)

    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        return loss, tape.gradient(loss, model.trainable_variables[:1])[0]

    plain = step(IMAGES)
    compiled = tf.function(step, jit_compile=True)(IMAGES)
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * np.abs(a).max())


def test_grid_of_refuses_other_models():
    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ValueError, match="must end in an ActivateCells layer.*got Dense"):
        models.grid_of(other)
