"""The paper's networks, layer by layer, without allocating their gigabyte."""

import keras
import numpy as np
import pytest

from tests.shared import shared
from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.models.paper import POOL, darknet_convolutions

VOC = GridSpec(S=7, B=2, C=20, image_size=448)

# Output side, filters and parameters of every convolution: kernel^2 * inputs * filters + filters.
PAPER_CONVOLUTIONS = [
    (224, 64, 9_472), (112, 192, 110_784),
    (56, 128, 24_704), (56, 256, 295_168), (56, 256, 65_792), (56, 512, 1_180_160),
    *[(28, 256, 131_328), (28, 512, 1_180_160)] * 4, (28, 512, 262_656), (28, 1024, 4_719_616),
    *[(14, 512, 524_800), (14, 1024, 4_719_616)] * 2, (14, 1024, 9_438_208), (7, 1024, 9_438_208),
    (7, 1024, 9_438_208), (7, 1024, 9_438_208),
]  # fmt: skip
FAST_CONVOLUTIONS = [
    (448, 16, 448), (224, 32, 4_640), (112, 64, 18_496), (56, 128, 73_856), (28, 256, 295_168),
    (14, 512, 1_180_160), (7, 1024, 4_719_616), (7, 1024, 9_438_208), (7, 1024, 9_438_208),
]  # fmt: skip


@pytest.fixture(scope="module")
def symbolic():
    """name -> the published network with shapes but no values: variables are never initialised."""
    built = {}
    with keras.StatelessScope(initialize_variables=False):
        for name in ("paper", "fast"):
            built[name] = models.build(name, grid=VOC)
    return built


@pytest.mark.parametrize(
    "name, convolutions, dense, total",
    [
        ("paper", PAPER_CONVOLUTIONS, [205_524_992, 6_022_590], 271_703_550),
        ("fast", FAST_CONVOLUTIONS, [12_845_312, 1_052_672, 6_022_590], 45_089_374),
    ],
)
def test_layer_table(symbolic, name, convolutions, dense, total):
    model = symbolic[name]
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    got = [(layer.output.shape[1], layer.filters, layer.count_params()) for layer in layers]
    assert got == convolutions
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.count_params() for layer in layers] == dense
    assert sum(count for *_, count in convolutions) + sum(dense) == total
    assert sum(layer.count_params() for layer in model.layers) == total
    assert model.output_shape == (None, 7, 7, 30)


@pytest.mark.parametrize("name, linear", [("paper", {"head"}), ("fast", {"dense1", "head"})])
def test_leaky_everywhere_but_in_the_linear_layers(symbolic, name, linear):
    followed_by = {}
    layers = symbolic[name].layers
    for layer, following in zip(layers, layers[1:], strict=False):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            followed_by[layer.name] = following
            assert layer.get_config()["activation"] == "linear" and layer.use_bias
    for layer, following in followed_by.items():
        if layer in linear:
            assert not isinstance(following, keras.layers.LeakyReLU), layer
        else:
            assert following.negative_slope == pytest.approx(0.1), layer
    dropout = next(layer for layer in layers if isinstance(layer, keras.layers.Dropout))
    assert dropout.rate == 0.5 and layers.index(dropout) == len(layers) - 3


def test_convolutions_and_pools_are_darknets():
    """A small network through Darknet itself: strides, padding, leaky, layer by layer."""
    golden = np.load(shared("golden", "darknet", "micro_v1_forward.npz"))
    names = [name for name in sorted(golden.files) if "convolutional" in name or "maxpool" in name]
    table = [(8, 7, 2), POOL, (12, 3), POOL, (8, 1), (16, 3), (16, 3, 2), (16, 3)]
    images = keras.Input((112, 112, 3))
    model = keras.Model(images, darknet_convolutions(images, table))
    _load_darknet(model, shared("golden", "darknet", "micro_v1.weights"))
    outputs = [
        layer.output
        for layer in model.layers
        if isinstance(layer, keras.layers.LeakyReLU | keras.layers.MaxPooling2D)
    ]
    got = keras.Model(images, outputs)(golden["input"].transpose(0, 2, 3, 1))
    for name, ours in zip(names, got, strict=True):
        expected = golden[name].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max(), err_msg=name)


def _load_darknet(model, path):
    """Convolutions out of a Darknet file, their batch normalisation folded into kernel and bias."""
    floats = np.fromfile(path, np.float32, offset=20)

    def take(*shape):
        nonlocal floats
        count = int(np.prod(shape))
        values, floats = floats[:count], floats[count:]
        return values.reshape(shape)

    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width, channels, filters = layer.kernel.shape
            bias, scale, mean, variance = (take(filters) for _ in range(4))
            kernel = take(filters, channels, height, width).transpose(2, 3, 1, 0)
            scale = scale / (np.sqrt(variance) + 1e-6)
            layer.set_weights([kernel * scale, bias - mean * scale])


@pytest.mark.parametrize("name", ["paper", "fast"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_narrow_copies_run_on_any_grid(name, batch_norm):
    grid = GridSpec(S=5, B=3, C=4, image_size=100)
    model = models.build(name, grid=grid, width=1 / 32, batch_norm=batch_norm)
    predictions = model(np.zeros([2, 100, 100, 3], np.float32))
    assert predictions.shape == (2, 5, 5, 19) and np.isfinite(predictions).all()


def test_initial_weights_have_darknets_variance():
    model = models.build("fast", grid=GridSpec(S=7, B=2, C=20, image_size=64), width=0.25)
    kernel = model.get_layer("conv9").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.02)
    dense = model.get_layer("dense2").kernel.numpy()
    assert np.abs(dense).max() <= np.sqrt(2 / 64)
    assert dense.std() == pytest.approx(np.sqrt(2 / 64 / 3), rel=0.02)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="image_size must be at least 64 .* got 32"):
        models.build("paper", grid=GridSpec(image_size=32))


@pytest.mark.slow
def test_the_whole_paper_network_runs():
    model = models.build("paper", grid=VOC)
    assert model.count_params() == 271_703_550
    assert np.isfinite(model(np.full([1, 448, 448, 3], 0.5, np.float32))).all()
