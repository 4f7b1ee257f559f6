"""Networks of ours that become Darknet's, and those that cannot."""

import keras
import numpy as np
import pytest

from tests.darknet.networks import assert_same_predictions, files, images_for, saved
from yolov1 import darknet, models
from yolov1.grid import GridSpec
from yolov1.models import grid_of


def paper(name, **options):
    grid = options.pop("grid", GridSpec(S=3, B=2, C=4, image_size=96))
    return models.build(name, grid=grid, width=0.02, **options)


def randomized(model):
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape
            layer.set_weights([rng.random(n) + s for s in (0.5, -0.5, -0.5, 0.0)])
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.standard_normal(layer.bias.shape) / 4)
    return model


@pytest.mark.each_value
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("size", [96, 75])
@pytest.mark.parametrize("name", ["paper", "fast"])
def test_networks_of_ours_become_darknets(name, size, batch_norm, tmp_path):
    grid = GridSpec(S=3, B=2, C=4, image_size=size)
    model = randomized(paper(name, grid=grid, batch_norm=batch_norm))
    cfg, weights = saved(model, tmp_path, seen=640)
    again = darknet.load(cfg, weights)
    assert grid_of(again) == grid
    assert darknet.cfg_of(model) == darknet.read_cfg(cfg)
    assert not darknet.read_cfg(cfg).remarks
    assert darknet.WeightsFile(weights).seen == 640
    images = images_for(model)
    expected = np.asarray(model(images))
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(np.asarray(again(images)), expected, rtol=0, atol=1e-5 * scale)


def test_what_the_sizes_mean_comes_from_the_semantics():
    network = darknet.plan(darknet.cfg_of(paper("fast"), semantics="darknet"))
    assert network.wh == "predict_sqrt"
    assert network.semantics == darknet.plan(darknet.cfg_of(paper("fast"))).semantics
    with pytest.warns(UserWarning, match="one coord_scale"):
        voc = darknet.plan(darknet.cfg_of(paper("fast"), semantics="keras_voc"))
    assert (voc.wh, voc.semantics.confidence_target) == ("plain", "one")


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name, options, words",
    [
        ("laptop", {}, "Darknet"),
        ("keras_voc", {}, "Darknet"),
        ("tf2_person", {}, "Darknet"),
        ("applications:MobileNetV2", {"weights": None}, "Darknet"),
        ("paper", {"activations": "sigmoid", "width": 0.02}, "'predictions'.*activations"),
    ],
)
def test_other_networks_are_refused_by_their_layer(name, options, words, tmp_path):
    model = models.build(name, grid=GridSpec(S=3, B=2, C=4, image_size=192), **options)
    with pytest.raises(darknet.DarknetError, match=words) as error:
        darknet.save(model, *files(tmp_path))
    assert any(repr(layer.name) in str(error.value) for layer in model.layers)
    assert not list(tmp_path.iterdir())


def chain(*layers, side=16, S=2):
    x = images = keras.Input((side, side, 3))
    for layer in layers:
        x = layer(x)
    head = keras.layers.Dense(S * S * 8)(x)
    return keras.Model(images, models.YoloReshape(S, 1, 3)(head))


K = keras.layers


@pytest.mark.parametrize(
    "layers, words",
    [
        ([K.Conv2D(4, 3, 2, padding="same", name="c"), K.Flatten()], "'c'.*same"),
        ([K.Conv2D(4, 3, activation="relu", name="c"), K.Flatten()], "'c'.*activation"),
        ([K.Conv2D(4, (1, 3), name="c"), K.Flatten()], "'c'.*square"),
        ([K.Conv2D(4, 3, dilation_rate=2, name="c"), K.Flatten()], "'c'.*dilation"),
        ([K.Conv2D(4, 3), K.LeakyReLU(name="r"), K.Flatten()], "'r'.*slope"),
        ([K.Conv2D(4, 3), K.BatchNormalization(name="b"), K.Flatten()], "'b'.*biases"),
        ([K.ZeroPadding2D(((0, 1), (0, 1)), name="z"), K.Conv2D(4, 3), K.Flatten()], "'z'.*pads"),
        ([K.ZeroPadding2D(1, name="z"), K.MaxPooling2D(2), K.Flatten()], "'z'"),
        ([K.Rescaling(1 / 255, name="s"), K.Flatten()], "'s'.*2x - 1"),
        ([K.Conv2D(4, 3), K.GlobalMaxPooling2D(name="g")], "'g'.*none of Darknet's"),
    ],
)
def test_the_layer_that_darknet_lacks_is_named(layers, words, tmp_path):
    with pytest.raises(darknet.DarknetError, match=words):
        darknet.save(chain(*layers), *files(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_network_that_was_never_called_is_refused():
    with pytest.raises(darknet.DarknetError, match="'never'.*is called never"):
        darknet.cfg_of(keras.Sequential([K.Dense(2, name="never")]))


def test_what_darknet_has_beside_the_papers_layers(tmp_path):
    model = chain(
        K.Conv2D(4, 5, padding="same", groups=1),
        K.MaxPooling2D(3, 2),
        K.Conv2D(6, 3, 2, padding="same", use_bias=False),
        K.BatchNormalization(scale=False),
        K.ZeroPadding2D(2),
        K.Conv2D(5, 2),
        K.MaxPooling2D(2, 1, padding="same"),
        K.Dropout(0.25),
        K.Flatten(),
        side=15,
    )
    assert_same_predictions(model, darknet.load(*saved(randomized_chain(model), tmp_path)), 1e-5)


def randomized_chain(model):
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.standard_normal(variable.shape) / 4)
    return model


def test_a_variance_that_darknet_has_no_number_for(tmp_path):
    model = paper("fast", batch_norm=True)
    norm = model.get_layer("norm2")
    norm.moving_variance.assign(norm.moving_variance - 2)
    with pytest.raises(darknet.DarknetError, match="'norm2' has a moving variance"):
        darknet.save(model, *files(tmp_path))
    assert not list(tmp_path.iterdir())
