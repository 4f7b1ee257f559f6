"""The heads: flat order, activations applied once, priors, float32."""

import keras
import numpy as np
import pytest

from tests.shared import shared
from yolov1 import heads
from yolov1.grid import GridSpec

VOC = GridSpec(S=7, B=2, C=20)
PERSON = GridSpec(S=7, B=2, C=1)
ODD = [GridSpec(S=3, B=1, C=1), GridSpec(S=5, B=4, C=7), GridSpec(S=1, B=3, C=2)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
@pytest.mark.parametrize(
    "grid, path", [(VOC, ("keras_voc", "reshapeA.npz")), (PERSON, ("tf2_person", "reshapeB.npz"))]
)
def test_the_published_reshape_layers(grid, path):
    """Both posts' layers: Darknet's flat order, softmax over classes, sigmoid on the rest."""
    golden = np.load(shared("golden", *path))
    planes = keras.Input((grid.flat_size,))
    cells = heads.YoloReshape(grid.S, grid.B, grid.C, "softmax")(planes)
    model = keras.Model(planes, cells)
    np.testing.assert_allclose(model(golden["flat"]), golden["out"], atol=1e-6)


@pytest.mark.parametrize("grid", [VOC, PERSON, *ODD])
def test_flat_order_by_its_formula(grid):
    values = np.arange(2 * grid.flat_size, dtype=np.float32).reshape(2, -1)
    cells = np.asarray(heads.planes_to_cells(values, grid))
    assert cells.shape == (2, *grid.prediction_shape)
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, col, j = rng.integers(grid.S), rng.integers(grid.S), rng.integers(grid.B)
        c, k, i = rng.integers(grid.C), rng.integers(4), row * grid.S + col
        cell = cells[1, row, col]
        assert cell[c] == values[1, i * grid.C + c]
        assert cell[grid.C + j] == values[1, grid.cells * grid.C + i * grid.B + j]
        flat = grid.cells * (grid.C + grid.B) + 4 * (i * grid.B + j) + k
        assert cell[grid.C + grid.B + 4 * j + k] == values[1, flat]
    np.testing.assert_array_equal(heads.cells_to_planes(cells, grid), values)


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
@pytest.mark.parametrize("grid", [VOC, *ODD])
@pytest.mark.parametrize(
    "activations",
    ["linear", "softmax", "sigmoid", {"xy": "sigmoid"}, {"wh": "sigmoid", "classes": "softmax"}],
)
def test_each_block_gets_its_own_activation(grid, activations):
    cells = np.random.default_rng(1).normal(size=(2, *grid.prediction_shape)).astype(np.float32)
    chosen = heads.resolve_activations(activations)
    got = np.asarray(heads.ActivateCells(grid.B, grid.C, activations)(cells))

    exps = np.exp(cells[..., grid.class_channels])
    functions = {
        "linear": lambda x: x,
        "sigmoid": sigmoid,
        "softmax": lambda x: exps / exps.sum(axis=-1, keepdims=True),
    }
    expected = cells.copy()
    for block, channels in {
        "classes": range(grid.C),
        "confidences": range(grid.C, grid.C + grid.B),
        "xy": [grid.C + grid.B + 4 * j + k for j in range(grid.B) for k in (0, 1)],
        "wh": [grid.C + grid.B + 4 * j + k for j in range(grid.B) for k in (2, 3)],
    }.items():
        expected[..., channels] = functions[chosen[block]](cells[..., channels])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "activations, message",
    [
        ("tanh", "must be one of linear, softmax, sigmoid, .* or a mapping .* got 'tanh'"),
        ("softmax,wh=tanh", "wh must be one of linear, sigmoid, got 'tanh'"),
        ("softmax,boxes", "no block 'boxes'; blocks are classes, confidences, xy, wh"),
        (None, "must be one of .* got None"),
        ({"wh": "softmax"}, "wh must be one of linear, sigmoid, got 'softmax'"),
        ({"boxes": "linear"}, "no block 'boxes'; blocks are classes, confidences, xy, wh"),
    ],
)
def test_unknown_activations_are_refused(activations, message):
    with pytest.raises(ValueError, match=message):
        heads.ActivateCells(2, 20, activations)


def test_a_name_with_other_blocks_behind_it():
    layer = heads.ActivateCells(2, 20, "softmax, xy=linear,classes=sigmoid")
    assert layer.activations == {
        **{"classes": "sigmoid", "confidences": "sigmoid", "xy": "linear", "wh": "sigmoid"}
    }
    assert heads.ActivateCells(2, 20, "softmax").activations["classes"] == "softmax"


@pytest.mark.parametrize("head", [heads.conv_head, heads.dense_head])
@pytest.mark.parametrize("activations", ["linear", "softmax", "sigmoid", "softmax,xy=linear"])
def test_a_head_starts_at_its_prior(head, activations):
    grid = GridSpec(S=3, B=2, C=4)
    shape = (3, 3, 8) if head is heads.conv_head else (8,)
    features = keras.Input(shape)
    prior = {"classes": 0.25, "confidences": 0.1, "xy": 0.5, "wh": 0.3}
    model = keras.Model(features, head(features, grid, activations=activations, prior=prior))
    got = np.asarray(model(np.zeros([2, *shape], np.float32)))
    assert got.shape == (2, 3, 3, 14)
    expected = [0.25] * 4 + [0.1] * 2 + [0.5, 0.5, 0.3, 0.3] * 2
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), atol=1e-6)


def test_impossible_priors_are_refused():
    with pytest.raises(ValueError, match=r"wh is a sigmoid's output, in \(0, 1\), got 1.5"):
        heads.PriorBias(7, 2, 20, "sigmoid", {"wh": 1.5})
    with pytest.raises(ValueError, match="no block 'size'"):
        heads.PriorBias(7, 2, 20, "linear", {"size": 0.5})


@pytest.mark.parametrize("head", [heads.conv_head, heads.dense_head])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_heads_stay_in_float32(head, policy, mixed_precision):
    mixed_precision(policy)
    shape = (7, 7, 4) if head is heads.conv_head else (4,)
    features = keras.Input(shape)
    dense = keras.layers.Dense(4)(features)
    model = keras.Model(features, head(dense, VOC, activations="softmax"))
    assert dense.dtype == policy.removeprefix("mixed_")
    assert model.output.dtype == "float32"
    assert {w.dtype for layer in model.layers[2:] for w in layer.weights} == {"float32"}
    assert model.get_layer("head").compute_dtype == "float32"
