"""The posts' networks: their published tables, what each option changes, saving and loading."""

import csv

import keras
import numpy as np
import pytest

from tests.shared import shared
from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.models.posts import AS_PUBLISHED

SMALL = {
    "keras_voc": {"grid": GridSpec(C=3, image_size=144), "width": 0.02},
    "tf2_person": {"grid": GridSpec(C=1, image_size=64), "width": 0.02},
}
POSTS = list(SMALL)


def summary(model):
    """Rows of Keras' model.summary(): layer, output shape, parameters."""
    return [
        (type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params())
        for layer in model.layers
    ]


def without_values(name, grid, **options):
    """The network with shapes but no values: variables are never initialised."""
    with keras.StatelessScope(initialize_variables=False):
        return models.build(name, grid=grid, **options)


@pytest.mark.parametrize("options", [{}, AS_PUBLISHED["keras_voc"]], ids=["corrected", "published"])
def test_keras_voc_has_every_row_of_the_posts_summary(options):
    model = without_values("keras_voc", GridSpec(), **options)
    with open(shared("spec", "keras_voc_summary.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    want = [
        (
            {"Reshape": "YoloReshape"}.get(row["layer"], row["layer"]),
            tuple(map(int, row["output_shape"].split("x"))),
            int(row["parameters"]),
        )
        for row in rows
    ]
    assert summary(model) == want
    assert isinstance(model, keras.Sequential) and model.count_params() == 114_617_342
    assert models.grid_of(model) == GridSpec()


@pytest.mark.parametrize(
    "options", [{}, AS_PUBLISHED["tf2_person"]], ids=["corrected", "published"]
)
def test_tf2_person_layer_by_layer(options):
    model = without_values("tf2_person", GridSpec(C=1), **options)
    rows = summary(model)
    convolutions = [(shape, count) for kind, shape, count in rows if kind == "Conv2D"]
    assert len(convolutions) == 24 and convolutions[0] == ((224, 224, 64), 9_472)
    assert convolutions[-1] == ((7, 7, 1024), 9_438_208)
    assert sum(count for _, count in convolutions) == 60_155_968
    dense = [(shape, count) for kind, shape, count in rows if kind == "Dense"]
    assert dense == [((4096,), 205_524_992), ((539,), 2_208_283)]
    assert model.count_params() == 267_889_243 and model.output_shape == (None, 7, 7, 11)


@pytest.mark.first_case
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("published", [False, True])
def test_save_and_load(post, published, tmp_path):
    """The posts' own networks could not be loaded again."""
    options = SMALL[post] | (AS_PUBLISHED[post] if published else {})
    model = models.build(post, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    side = options["grid"].image_size
    images = np.random.default_rng(0).random((2, side, side, 3), np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))
    assert models.grid_of(loaded) == options["grid"]
    assert (
        len(loaded.losses)
        == len(model.losses)
        == (0 if not published else 23 + (post != "keras_voc"))
    )


@pytest.mark.first_case
@pytest.mark.parametrize("post", POSTS)
def test_activated_twice_no_confidence_is_below_a_half(post):
    options = SMALL[post] | {"grid": GridSpec(C=20, image_size=144), "activations": "softmax"}
    images = np.random.default_rng(0).random((4, 144, 144, 3), np.float32)

    def outputs(**more):
        keras.utils.set_random_seed(1)
        model = models.build(post, **options | more, default_init=True)
        kernel, bias = model.get_layer("head").get_weights()
        bias = np.random.default_rng(0).normal(0, 10, bias.shape)
        model.get_layer("head").set_weights([kernel, bias])
        return np.asarray(model(images))

    once, twice = outputs(), outputs(activate_twice=True)
    assert once[..., 20:].min() < 0.1 and once[..., 20:].max() > 0.9  # sigmoid's whole range
    assert twice[..., 20:].min() >= 0.5 and twice[..., 20:].max() <= 0.7311
    assert twice[..., :20].max() <= np.e / (np.e + 19) + 1e-6
    # The floor of the no-object term: half of 98 squares of at least 0.5.
    assert (0.5 * (twice[..., 20:22] ** 2).sum(axis=(1, 2, 3))).min() >= 12.25


@pytest.mark.parametrize("post", POSTS)
def test_linear_dense_layers(post):
    for linear in (False, True):
        model = models.build(post, **SMALL[post], linear_dense=linear)
        layer = model.get_layer("dense1")
        got = layer.activation(keras.ops.convert_to_tensor([-1.0, 2.0]))
        np.testing.assert_allclose(got, [-1 if linear else -0.1, 2])


def test_the_convolution_without_activation():
    options = SMALL["keras_voc"] | {"l2": 1e-3}
    bare = models.build("keras_voc", **options, linear_conv=True)
    names = [layer.name for layer in bare.layers if isinstance(layer, keras.layers.Conv2D)]
    linear = [n for n in names if bare.get_layer(n).activation is keras.activations.linear]
    unregularized = [n for n in names if bare.get_layer(n).kernel_regularizer is None]
    assert linear == unregularized == ["conv22"] and bare.get_layer("conv22").strides == (2, 2)
    whole = models.build("keras_voc", **options)
    assert len(whole.losses) == 24


def test_l2_is_keras_sum_of_squares():
    model = models.build("tf2_person", **SMALL["tf2_person"], l2=1e-2)
    kernels = [x.kernel for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    want = 1e-2 * sum(float((np.asarray(k) ** 2).sum()) for k in kernels)
    assert len(kernels) == 24 and float(sum(model.losses)) == pytest.approx(want, rel=1e-5)


def test_dropout_on_the_outputs():
    """Published: in training half of the outputs are exactly sigma(0), whatever goes in."""
    model = models.build("tf2_person", **SMALL["tf2_person"] | {"dropout_outputs": True})
    images = np.random.default_rng(0).random((4, 64, 64, 3), np.float32)
    trained = np.asarray(model(images, training=True))[..., 1:]
    assert 0.4 < (trained == 0.5).mean() < 0.6
    corrected = models.build("tf2_person", **SMALL["tf2_person"])
    assert (np.asarray(corrected(images, training=True)) == 0.5).mean() < 0.01


def test_dropped_outputs_stay_in_float32(mixed_precision):
    mixed_precision("mixed_bfloat16")
    model = models.build("tf2_person", **SMALL["tf2_person"] | {"dropout_outputs": True})
    assert model.get_layer("dropout").compute_dtype == "float32"
    assert model.get_layer("dense1").compute_dtype == "bfloat16"


def test_batch_normalisation_instead_of_biases():
    model = models.build("tf2_person", **SMALL["tf2_person"], batch_norm=True)
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 24 and not any(layer.use_bias for layer in convolutions)
    assert not any(layer.activation is not keras.activations.linear for layer in convolutions)


@pytest.mark.parametrize("post", POSTS)
def test_outputs_start_at_the_prior(post):
    model = models.build(post, **SMALL[post] | {"activations": "sigmoid"})
    side = SMALL[post]["grid"].image_size
    got = np.asarray(model(np.random.default_rng(0).random((1, side, side, 3), np.float32)))
    C = SMALL[post]["grid"].C
    np.testing.assert_allclose(got[..., :C], 1 / (C + 1), rtol=0.1)
    np.testing.assert_allclose(got[..., C : C + 2], 0.05, rtol=0.1)
    boxes = got[..., C + 2 :].reshape(-1, 4)
    np.testing.assert_allclose(boxes, np.tile([0.5, 0.5, 0.4, 0.4], (len(boxes), 1)), rtol=0.1)


def test_glorot_loses_the_signal_and_he_does_not():
    """Leaky 0.1 keeps (1 + 0.01) / 2 of the mean square; Glorot's variance does not make up."""
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    size = {}
    for default in (True, False):
        keras.utils.set_random_seed(0)
        options = {"grid": GridSpec(C=1, image_size=64), "width": 0.25, "default_init": default}
        model = models.build("tf2_person", **options)
        features = keras.Model(model.inputs, model.get_layer("conv20").output)(images)
        size[default] = float(np.sqrt(np.mean(np.square(features))))
    assert size[False] > 0.1
    assert size[True] < size[False] / 1000


@pytest.mark.parametrize(
    "post, grid, message",
    [
        ("keras_voc", GridSpec(image_size=128), "image_size must be at least 144, got 128"),
        ("tf2_person", GridSpec(image_size=32), "image_size must be at least 64, got 32"),
    ],
)
def test_images_that_are_too_small(post, grid, message):
    with pytest.raises(ValueError, match=message):
        models.build(post, grid=grid, width=0.02)
