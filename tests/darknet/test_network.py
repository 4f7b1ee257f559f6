"""Networks built from cfg files, and written again; networks of ours that become Darknet's."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.darknet.weights_files import golden, recipe
from tests.shared import ROOT, SHARED, shared
from yolov1 import darknet, models
from yolov1.grid import GridSpec
from yolov1.models import grid_of

HEADERS = ("golden", "darknet_full", "headers")
# A network of every kind of layer, with keys out of order, comments and a key Darknet ignores.
EVERY = """# all of them
[net]
batch = 4
height=18
width=18
channels=2
mine=5

[crop]
crop_height=16
crop_width=14
[conv]
filters=6
size=3
stride=2
pad=1
batch_normalize=1
activation=ramp
; groups
[convolutional]
groups=2
filters=4
size=2
padding=1
activation=tanh
[maxpool]
size=3
stride=1
[local]
filters=3
size=3
pad=1
activation=leaky
[dropout]
probability=.2
[connected]
output=10
batch_normalize=1
activation=relu
[convolutional]
filters=5
activation=logistic
[avgpool]
[connected]
output=6
activation=linear
[softmax]
groups=2
[cost]
type=sse
"""


def family():
    """The cfg files that describe YOLOv1; the large ones are slow (1 GB of weights are drawn)."""
    for path in sorted((SHARED / "golden/darknet_full/cfg").glob("*.cfg")):
        counted = darknet.plan(darknet.read_cfg(path), refuse=False)
        old = {"joint", "objectness", "background", "nuisance"} & {
            key for key, _ in counted.layers[-1].section.options
        }
        if not old:
            marks = pytest.mark.slow if counted.floats > 30_000_000 else ()
            yield pytest.param(path, id=path.stem, marks=marks)


def random_model(text=EVERY, **options):
    """A network of a cfg's text, with a number in each of its parameters."""
    network = darknet.plan(darknet.parse_cfg(text))
    model = darknet.build(network, **options)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(rng.random(variable.shape, np.float32) + 0.1)
    return model


def files(folder, name="mine"):
    return folder / f"{name}.cfg", folder / f"{name}.weights"


def saved(model, folder, name="mine", **options):
    folder.mkdir(exist_ok=True)
    paths = files(folder, name)
    darknet.save(model, *paths, **options)
    return paths


def images_for(model, count=2):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).random(shape, np.float32)


def assert_same_predictions(model, other, tolerance=0.0):
    images = images_for(model)
    first, second = (np.asarray(m(images, training=False)) for m in (model, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


# There and back.


def test_a_file_read_and_written_is_the_same(tmp_path):
    cfg, weights = shared(*HEADERS, "micro.cfg"), shared(*HEADERS, "v0.2.0.weights")
    model = darknet.load(cfg, weights)
    seen = darknet.WeightsFile(weights).seen
    model.save(tmp_path / "model.keras")
    through_keras = keras.models.load_model(tmp_path / "model.keras")
    built = models.build(f"darknet:{cfg}")
    assert darknet.load_weights(built, weights).seen == seen
    for number, each in enumerate((model, through_keras, built, models.logits(model))):
        written = saved(each, tmp_path, str(number), seen=seen)
        assert written[1].read_bytes() == weights.read_bytes()
        assert darknet.read_cfg(written[0]) == darknet.read_cfg(cfg)
        assert written[0].read_text() == cfg.read_text()


def test_every_kind_of_layer_there_and_back(tmp_path):
    model = random_model()
    cfg, weights = saved(model, tmp_path)
    again = darknet.load(cfg, weights)
    assert again.output_shape == (None, 6)
    assert_same_predictions(model, again)
    assert weights.read_bytes() == saved(again, tmp_path, "again")[1].read_bytes()
    assert cfg.read_text() == EVERY
    model.save(tmp_path / "model.keras")
    through_keras = keras.models.load_model(tmp_path / "model.keras")
    assert_same_predictions(model, through_keras)
    assert weights.read_bytes() == saved(through_keras, tmp_path, "keras")[1].read_bytes()
    groups = np.asarray(again(images_for(again))).reshape(-1, 2, 3)
    np.testing.assert_allclose(groups.sum(-1), 1, rtol=1e-6)


def test_large_kernels_are_written_piece_by_piece(tmp_path, monkeypatch):
    """Each piece holds one output or place, and all of them make the whole."""
    whole = random_model()
    cfg, weights = saved(whole, tmp_path)
    monkeypatch.setattr("yolov1.darknet.transfer._PIECE", 1)
    read = darknet.load(cfg, weights)
    assert_same_predictions(whole, read)
    for variable in read.weights:  # and none is copied whenever it is read
        twice = [variable.value.read_value() for _ in range(2)]
        addresses = {np.from_dlpack(value).ctypes.data for value in twice}
        assert len(addresses) == 1, variable.path


@pytest.mark.parametrize("cfg", list(family()))
def test_every_cfg_of_the_family_has_a_network(cfg):
    network = darknet.plan(darknet.read_cfg(cfg))
    if network.unsupported:
        with pytest.raises(darknet.DarknetError, match="XNOR"):
            darknet.build(network)
        return
    model = darknet.build(network)
    assert model.count_params() == network.floats
    expected = (network.classes,) if network.grid is None else network.grid.prediction_shape
    assert model.output_shape == (None, *expected)


def test_partial_files_fill_the_first_layers():
    cfg = shared(*HEADERS, "micro.cfg")
    whole = darknet.load(cfg, shared(*HEADERS, "v0.2.0.weights"))
    model = darknet.load(cfg, shared(*HEADERS, "partial_5.weights"), partial=True)
    equal = {
        layer.name: all(map(np.array_equal, layer.get_weights(), other.get_weights()))
        for layer, other in zip(model.layers, whole.layers, strict=True)
        if layer.get_weights() and layer.name[0] == "l"
    }
    assert [name for name, same in equal.items() if not same] == ["l06_connected", "l07_connected"]
    assert np.std(model.get_layer("l06_connected").get_weights()[0]) > 0.01  # drawn, not zeros


def test_a_file_that_does_not_fit_changes_nothing():
    model = random_model()
    before = model.get_weights()
    with pytest.raises(darknet.DarknetError, match="wanted"):
        darknet.load_weights(model, shared(*HEADERS, "v0.2.0.weights"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(darknet.DarknetError, match="carries no cfg"):
        darknet.load_weights(paper("fast"), shared(*HEADERS, "v0.2.0.weights"))


def test_a_network_that_was_changed_is_refused(tmp_path):
    model = random_model()
    last = type(model.layers[-1]).from_config(model.layers[-1].get_config())
    shorter = keras.Model(model.inputs[0], last(model.get_layer("l03_maxpool").input))
    with pytest.raises(darknet.DarknetError, match="no layer 'l04_local'"):
        darknet.save(shorter, *files(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_copy_of_a_loaded_network_is_drawn_anew():
    model = darknet.load(shared(*HEADERS, "micro.cfg"), shared(*HEADERS, "v0.2.0.weights"))
    for layer in keras.models.clone_model(model).layers:
        if hasattr(layer, "kernel"):
            assert layer.kernel.numpy().std() > 0.05


CONVOLUTION = "[net]\nheight=6\nwidth=6\nchannels=3\n[conv]\nfilters=13\nsize=2\nstride=2\n"


def test_a_map_is_read_by_channels_first():
    """Predictions right behind a convolution, and networks that end in a map."""
    detection = "[detection]\nclasses=3\ncoords=4\nside=3\nnum=2\n"
    model = random_model(CONVOLUTION + detection)
    features = random_model(CONVOLUTION)
    assert features.output_shape == (None, 3, 3, 13)
    images = images_for(model)
    flat = np.moveaxis(np.asarray(features(images)), -1, 1).reshape(2, 117)
    cells = np.asarray(model(images))
    np.testing.assert_array_equal(cells, models.planes_to_cells(flat, grid_of(model)))


def test_neither_file_is_written_without_the_other(tmp_path):
    model, (cfg, weights) = random_model(CONVOLUTION), files(tmp_path)
    for paths in ((tmp_path / "no" / "a.cfg", weights), (cfg, tmp_path / "no" / "a.weights")):
        with pytest.raises(FileNotFoundError):
            darknet.save(model, *paths)
        assert not list(tmp_path.iterdir())


# models.build.


def test_models_build_takes_the_grid_from_the_cfg():
    name = f"darknet:{shared(*HEADERS, 'micro.cfg')}"
    grid = GridSpec(S=3, B=2, C=3, image_size=28)
    assert grid_of(models.build(name)) == grid_of(models.build(name, grid=grid)) == grid
    with pytest.raises(ValueError, match=r"S=3, B=2.*got GridSpec\(S=7"):
        models.build(name, grid=GridSpec())
    assert models.options_of(name) == {"batch_norm": "cpu", "batch_norm_gradient": "darknet"}
    gpu = models.build(name, batch_norm="gpu", batch_norm_gradient="exact")
    norm = gpu.get_layer("l00_batch_normalization")
    assert (norm.epsilon_in, norm.gradient) == ("variance", "exact")
    for options in ({"batch_norm": "tpu"}, {"batch_norm_gradient": "?"}, {"width": 2.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            models.build(name, **options)
    with pytest.raises(TypeError, match="needs grid="):
        models.build("paper")
    with pytest.raises(ValueError, match="no backbone"):
        models.build_classifier(name, grid=grid)


def test_predictions_are_float32_under_mixed_precision(mixed_precision):
    mixed_precision("mixed_bfloat16")
    model = darknet.load(shared(*HEADERS, "micro.cfg"), shared(*HEADERS, "v0.2.0.weights"))
    mixed_precision("float32")
    full = darknet.load(shared(*HEADERS, "micro.cfg"), shared(*HEADERS, "v0.2.0.weights"))
    assert model.get_layer("l02_convolutional").compute_dtype == "bfloat16"
    assert model(images_for(model)).dtype == "float32"
    assert_same_predictions(model, full, 0.1)


# Networks of ours.


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


# Memory.


@pytest.mark.slow
def test_the_large_file_is_imported_in_little_memory(tmp_path):
    weights = tmp_path / "yolov1.weights"
    recipe().write(golden("real", "yolov1.json"), weights)
    code = (
        "import resource, sys, tensorflow as tf, yolov1.models; from yolov1 import darknet\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "tf.zeros(1) + 1; before = peak(); model = darknet.load(*sys.argv[1:]); "
        "print(peak() - before)"
    )
    cfg = shared("golden", "darknet_full", "cfg", "yolov1@e84933b.cfg")
    command = [sys.executable, "-c", code, str(cfg), str(weights)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.3 * weights.stat().st_size
