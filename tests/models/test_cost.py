"""What a network computes, against numbers calculated by hand and published ones."""

import keras
import pytest

from tests.models.test_paper import FAST_CONVOLUTIONS
from tests.shared import shared
from yolov1 import models
from yolov1.grid import GridSpec

L = keras.layers
LOCAL = 7 * 7 * 256 * 3 * 3 * 1024  # of yolov1.cfg, which Darknet's own count leaves out


def cost(*layers, side=6, channels=4):
    return models.multiply_adds(keras.Sequential([keras.Input((side, side, channels)), *layers]))


@pytest.mark.parametrize(
    "layer, by_hand",
    [
        (L.Conv2D(5, 3, strides=2, padding="same"), 3 * 3 * (3 * 3 * 4) * 5),
        (L.Conv2D(5, 3), 4 * 4 * (3 * 3 * 4) * 5),
        (L.Conv2D(6, 3, groups=2, padding="same"), 6 * 6 * (3 * 3 * 2) * 6),
        (L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), 6 * 6 * (3 * 3) * 4 * 2),
        (L.SeparableConv2D(5, 3, padding="same"), 6 * 6 * (3 * 3 * 4 + 4 * 5)),
        (L.Conv2DTranspose(5, 2, strides=2), 6 * 6 * (2 * 2 * 4) * 5),
        (L.Dense(7), 6 * 6 * 4 * 7),
        (L.BatchNormalization(), 0),
        (L.MaxPooling2D(), 0),
    ],
)
def test_layers_by_hand(layer, by_hand):
    assert cost(layer) == by_hand


def test_dense_layers_and_networks_inside_count():
    inner = keras.Sequential([keras.Input((6, 6, 4)), L.Conv2D(5, 3)])
    assert cost(inner, L.Flatten(), L.Dense(7)) == 4 * 4 * 36 * 5 + 80 * 7


def test_a_layer_counts_as_often_as_it_is_called():
    layer, images = L.Conv2D(4, 3, padding="same"), keras.Input((6, 6, 4))
    assert models.multiply_adds(keras.Model(images, layer(layer(images)))) == 2 * 36 * 36 * 4
    # And not when another network calls it.
    assert models.multiply_adds(keras.Model(images, layer(images))) == 36 * 36 * 4


def test_the_fast_network_is_its_convolutions_and_its_head():
    """`FAST_CONVOLUTIONS` has sides and parameters, biases among them."""
    with keras.StatelessScope(initialize_variables=False):
        model = models.build("fast", grid=GridSpec(S=7, B=2, C=20, image_size=448))
    by_hand = sum(side**2 * (count - filters) for side, filters, count in FAST_CONVOLUTIONS)
    dense = [layer for layer in model.layers if type(layer) is L.Dense]
    by_hand += sum(layer.input.shape[-1] * layer.units for layer in dense)
    assert models.multiply_adds(model) == by_hand


def test_yolov1_is_what_darknet_publishes():
    """40.19 billion operations, pjreddie.com/darknet/yolov2: convolutions and dense layers."""
    cfg = shared("golden", "darknet_full", "cfg", "yolov1@e84933b.cfg")
    with keras.StatelessScope(initialize_variables=False):
        model = models.build(f"darknet:{cfg}")
    assert 2 * (models.multiply_adds(model) - LOCAL) == pytest.approx(40.19e9, rel=3e-4)


def test_an_application_is_what_its_paper_says():
    """MobileNetV2 has 300 million (Sandler et al. 2018, table 4), without its classifier."""
    model = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )
    assert models.multiply_adds(model) == pytest.approx(300e6, rel=0.01)


def test_what_cannot_be_counted_is_named():
    with pytest.raises(ValueError, match=r"'seen' \(EinsumDense\) of .* nobody counted"):
        cost(L.EinsumDense("nhwc,cd->nhwd", (6, 6, 3), name="seen"))
    with pytest.raises(ValueError, match="takes inputs of any size"):
        cost(L.Conv2D(5, 3), side=None)
