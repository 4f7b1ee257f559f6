"""Backbones out of keras.applications, without a network."""

import urllib.error

import keras
import numpy as np
import pytest

from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.models.applications import Preprocess, application_names

SMALL = GridSpec(S=3, B=2, C=4, image_size=96)


@pytest.fixture(scope="module")
def mobilenet():
    return models.build("applications:MobileNetV2", grid=SMALL, trainable=False, dropout=0.3)


def test_output_shape_and_type(mobilenet):
    images = np.random.default_rng(0).uniform(size=(2, 96, 96, 3)).astype(np.float32)
    predictions = mobilenet(images)
    assert predictions.shape == (2, 3, 3, 14) and predictions.dtype == "float32"
    assert np.isfinite(predictions).all()


def test_the_backbone_is_kerass_own_behind_its_preprocessing(mobilenet):
    base = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(96, 96, 3), name="reference"
    )
    backbone = mobilenet.get_layer("backbone")
    assert backbone.count_params() == base.count_params() == 2_257_984
    base.set_weights(backbone.get_weights())
    images = np.random.default_rng(0).uniform(size=(1, 96, 96, 3)).astype(np.float32)
    got = backbone(mobilenet.get_layer("preprocess")(images))
    np.testing.assert_allclose(got, base(images * 2 - 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "application, expected",
    [
        ("MobileNetV2", [0.0, -0.5, 1.0]),
        ("VGG16", [255 - 103.939, 63.75 - 116.779, 127.5 - 123.68]),  # BGR minus the means
        ("DenseNet121", [0.015 / 0.229, -0.206 / 0.224, 0.594 / 0.225]),  # torch's
        ("EfficientNetB0", [127.5, 63.75, 255.0]),  # it rescales inside
        ("MobileNetV3Small", [127.5, 63.75, 255.0]),
    ],
)
def test_preprocessing(application, expected):
    pixel = np.float32([[[[0.5, 0.25, 1.0]]]])
    np.testing.assert_allclose(Preprocess(application)(pixel)[0, 0, 0], expected, rtol=1e-4)


def test_a_frozen_backbone_leaves_the_head_to_train(mobilenet):
    names = {w.path.split("/")[0] for w in mobilenet.trainable_variables}
    assert names == {"neck", "neck_norm", "head"}


@pytest.mark.first_case
@pytest.mark.parametrize("S, side", [(4, 6), (7, 12)])
def test_a_fine_grid_stands_on_an_earlier_layer(S, side):
    grid = GridSpec(S=S, B=1, C=1, image_size=96)
    model = models.build("applications:MobileNetV2", grid=grid)
    backbone = model.get_layer("backbone")
    assert backbone.output_shape[1] == side and len(backbone.trainable_variables) > 50
    assert model.output_shape == (None, S, S, 6)


@pytest.mark.first_case
@pytest.mark.parametrize(
    "application, S, layer",
    [
        ("MobileNetV2", 14, "block_13_expand_relu"),
        ("ResNet50", 7, "conv5_block3_out"),
        ("ResNet50", 14, "conv4_block6_out"),
        ("VGG16", 14, "block5_conv3"),
        ("InceptionV3", 7, "mixed7"),  # 12 x 12; later ones of this size are single branches
    ],
)
def test_where_a_head_stands(application, S, layer):
    with keras.StatelessScope(initialize_variables=False):  # shapes are enough
        model = models.build(f"applications:{application}", grid=GridSpec(S=S, image_size=224))
    assert model.get_layer("backbone").operations[-1].name == layer


@pytest.mark.slow
def test_round_trip_through_a_file(mobilenet, tmp_path):
    mobilenet.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(size=(1, 96, 96, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), mobilenet(images))
    assert models.grid_of(loaded) == SMALL


def test_errors_say_what_there_is():
    with pytest.raises(ValueError, match="no 'MobileNetV9'; it has .*MobileNetV2, .*Xception"):
        models.build("applications:MobileNetV9", grid=SMALL)
    with pytest.raises(ValueError, match="no layer 'foo' with a map; its last ones are .*out_relu"):
        models.build("applications:MobileNetV2", grid=SMALL, layer="foo")
    with pytest.raises(ValueError, match="at 96 px is 48 x 48, too coarse for S=50; raise image"):
        models.build("applications:MobileNetV2", grid=GridSpec(S=50, image_size=96))
    with pytest.raises(ValueError, match="at least 71"):
        models.build("applications:Xception", grid=GridSpec(image_size=32))


def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    with pytest.raises(RuntimeError, match="could not be downloaded .*no route.*weights=PATH"):
        models.build(
            "applications:MobileNetV2", grid=GridSpec(S=3, image_size=96), weights="imagenet"
        )


def test_every_listed_name_is_a_backbone():
    assert {"ResNet50", "VGG16", "EfficientNetV2B0"} <= set(application_names())
    assert "mobilenet_v2" not in application_names()
