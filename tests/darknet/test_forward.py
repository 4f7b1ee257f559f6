"""Networks of cfg and weights files, held against what Darknet itself gave for them."""

import keras
import numpy as np
import pytest
from PIL import Image

from tests.darknet.weights_files import golden, recipe
from tests.shared import shared
from yolov1 import darknet
from yolov1.heads import cells_to_planes
from yolov1.models import activations_of, grid_of

REAL = ("yolov1-tiny", "yolo-tiny-2015", "yolov1", "yolo-2015")
BIG = ("yolov1", "yolo-2015")


def difference(found, expected):
    """The largest difference, as a share of the largest value."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def channels_last(images):
    return np.ascontiguousarray(np.moveaxis(images, -3, -1))


def sections_of(model):
    """{index: what the section gives, as Darknet's flat or [c, h, w] vectors}, as one network."""
    last = {}
    for layer in model.layers:
        if layer.name[0] == "l" and layer.name[1:3].isdigit():
            last[int(layer.name[1:3])] = layer.output
    outputs = {
        index: keras.ops.transpose(x, (0, 3, 1, 2)) if len(x.shape) == 4 else x
        for index, x in last.items()
    }
    return keras.Model(model.inputs[0], outputs)


def flat_predictions(model, images):
    cells = model(channels_last(images), training=False)
    return np.asarray(cells_to_planes(cells, grid_of(model)))


@pytest.mark.parametrize("name", ["micro_tiny", "micro_v1"])
def test_every_layer_of_the_small_networks(name):
    expected = np.load(shared("golden", "darknet", f"{name}_forward.npz"))
    model = small_network(name, name)
    found = sections_of(model)(channels_last(expected["input"]), training=False)
    layers = [name for name in expected if name.startswith("layer")]
    assert len(layers) == len(darknet.cfg_of(model).sections) - 2
    for name in layers:
        array = np.asarray(found[int(name[5:7])])
        assert difference(array.reshape(expected[name].shape), expected[name]) < 2e-6, name
    assert difference(flat_predictions(model, expected["input"]), expected["output"]) < 2e-6


def test_connected_weights_of_both_orders_predict_the_same():
    images = np.load(shared("golden", "darknet", "micro_tiny_forward.npz"))["input"]
    found = [
        flat_predictions(small_network("micro_tiny", f"micro_tiny_{name}"), images)
        for name in ("v1", "transposed")
    ]
    np.testing.assert_array_equal(*found)


def small_network(cfg, weights):
    folder = ("golden", "darknet")
    return darknet.load(shared(*folder, f"{cfg}.cfg"), shared(*folder, f"{weights}.weights"))


WHOLE = "v0.2.0 v0.1.0 v0.2.5 floats_lr0 floats_lr0.001 floats_lr0.0001".split()


@pytest.mark.parametrize("cfg, weights", [("micro", w) for w in WHOLE] + [("small_variance",) * 2])
def test_every_form_of_weights_predicts_the_same(cfg, weights):
    folder = ("golden", "darknet_full", "headers")
    result = "small_variance" if cfg == "small_variance" else "forward"
    expected = np.load(shared(*folder, f"{result}.npz"))
    model = darknet.load(shared(*folder, f"{cfg}.cfg"), shared(*folder, f"{weights}.weights"))
    images = expected["input"].reshape(-1, 3, 28, 28)
    output = expected["output"].reshape(len(images), -1)
    assert difference(flat_predictions(model, images), output) < 1e-5


def test_a_wrong_epsilon_shows_in_small_variances():
    folder = ("golden", "darknet_full", "headers")
    expected = np.load(shared(*folder, "small_variance.npz"))
    model = darknet.load(
        shared(*folder, "small_variance.cfg"),
        shared(*folder, "small_variance.weights"),
        batch_norm="gpu",
    )
    images = expected["input"].reshape(-1, 3, 28, 28)
    found = flat_predictions(model, images)
    assert difference(found, expected["output"].reshape(found.shape)) > 0.1


def darknet_resize(pixels, side):
    """Corner-aligned bilinear, columns then rows, in float32; ``[h, w, 3]`` to side x side."""
    image = (pixels / 255).astype(np.float32)
    for axis in (1, 0):
        n = image.shape[axis]
        place = np.arange(side, dtype=np.float32) * np.float32((n - 1) / (side - 1))
        low = np.minimum(place.astype(int), n - 2)
        part = (place - low).astype(np.float32)
        part = part[:, None] if axis == 1 else part[:, None, None]
        a, b = np.take(image, low, axis), np.take(image, low + 1, axis)
        image = (1 - part) * a + part * b
    return image


@pytest.mark.first_case
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in BIG else ()) for n in REAL]
)
def test_the_real_networks(name, tmp_path):
    described = golden("real", f"{name}.json")
    expected = np.load(shared("golden", "darknet_full", "real", f"{name}.npz"))
    weights = tmp_path / "seeded.weights"
    assert recipe().write(described, weights) == described["weights_md5"]
    model = darknet.load(shared("golden", "darknet_full", "cfg", described["cfg"]), weights)
    weights.unlink()
    with Image.open(shared("golden", "darknet_full", "real", "BloodImage_00012.png")) as image:
        pixels = darknet_resize(np.asarray(image), 448)[None]
    found = sections_of(model)(pixels, training=False)
    features = np.asarray(found[described["features_layer"]])[0]
    flat = cells_to_planes(model(pixels, training=False), grid_of(model))
    assert difference(np.asarray(flat)[0], expected["prediction"]) < 1e-5
    assert difference(features, expected["features"]) < 2e-5
    for facts in described["layers"]:
        if facts["section"] == "detection":
            continue
        values = np.asarray(found[facts["index"]]).ravel()
        tolerance = 1e-4 * facts["absmax"]
        assert abs(values.mean() - facts["mean"]) < tolerance
        assert abs(values.std() - facts["std"]) < tolerance
        np.testing.assert_allclose(values[facts["at"]], facts["values"], atol=tolerance)


def test_activations_of_a_softmax_detector():
    text = shared("golden", "darknet", "micro_v1.cfg").read_text()
    model = darknet.build(darknet.parse_cfg(text.replace("softmax=0", "softmax=1")))
    assert activations_of(model)["classes"] == "softmax"
    images = np.random.default_rng(0).random((2, 112, 112, 3), np.float32)
    classes = np.asarray(model(images))[..., : grid_of(model).C]
    np.testing.assert_allclose(classes.sum(-1), 1, rtol=1e-5)
