"""Networks built from cfg files, and written again; networks of ours that become Darknet's."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.darknet.networks import assert_same_predictions, files, images_for, saved
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


@pytest.mark.filterwarnings("ignore:.*mine=5 is a key Darknet ignores")
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


@pytest.mark.filterwarnings("ignore:.*mine=5 is a key Darknet ignores")
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
        darknet.load_weights(
            models.build("laptop", grid=GridSpec()), shared(*HEADERS, "v0.2.0.weights")
        )


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
DETECTION = "[detection]\nclasses=3\ncoords=4\nside=3\nnum=2\n"


def test_a_map_is_read_by_channels_first():
    """Predictions right behind a convolution, and networks that end in a map."""
    model = random_model(CONVOLUTION + DETECTION)
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
    with pytest.raises(ValueError, match="are one file"):
        darknet.save(model, cfg, cfg.parent / "." / cfg.name)
    for seen in (-1, 2**64, 1.5):
        with pytest.raises(ValueError, match="seen must be a whole number"):
            darknet.save(model, cfg, weights, seen=seen)
    assert not list(tmp_path.iterdir())


def test_what_a_cfg_seems_to_say_is_warned_of(tmp_path):
    path = tmp_path / "odd.cfg"
    path.write_text(CONVOLUTION.replace("size=2", "size=2\nactivation=leaky # slope .1"))
    for build in (darknet.build, darknet.load, lambda path: models.build(f"darknet:{path}")):
        with pytest.warns(UserWarning, match="odd.cfg: line 8: .*is read as activation=relu"):
            build(path)


@pytest.mark.parametrize("squared", [1, 0])
def test_a_cfg_says_what_the_sizes_became_in_training(squared, tmp_path):
    text = f"{CONVOLUTION}{DETECTION}sqrt={squared}\n"
    model = random_model(text)
    as_before, otherwise = ("paper", "keras_voc") if squared else ("keras_voc", "paper")
    assert darknet.cfg_of(model, as_before).text() == darknet.cfg_of(model).text() == text
    cfg, weights = saved(model, tmp_path, semantics=otherwise)
    assert darknet.read_cfg(cfg) == darknet.parse_cfg(
        text.replace(f"sqrt={squared}", f"sqrt={1 - squared}")
    )
    assert_same_predictions(model, darknet.load(cfg, weights))


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


@pytest.mark.parametrize("policy", ["float16", "float64"])
def test_whole_networks_of_other_dtypes(mixed_precision, policy):
    cfg, weights = (shared(*HEADERS, name) for name in ("micro.cfg", "v0.2.0.weights"))
    full = darknet.load(cfg, weights)
    mixed_precision(policy)
    model = darknet.load(cfg, weights)
    norm = model.get_layer("l00_batch_normalization")
    assert norm.gamma.dtype == ("float64" if policy == "float64" else "float32")
    assert_same_predictions(model, full, 1e-2 if policy == "float16" else 1e-5)
    assert np.isfinite(model(images_for(model), training=True)).all()


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
