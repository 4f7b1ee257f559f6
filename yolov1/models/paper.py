"""The two networks of the YOLOv1 paper (arXiv 1506.02640, figure 3), layer by layer.

``paper`` is the network of 24 convolutions and 2 dense layers (Darknet's yolo.cfg of 2015):
271,703,550 parameters for 448 px, S=7, B=2, C=20. ``fast`` is Fast YOLO (yolo-tiny.cfg of that
time): 9 convolutions and 3 dense layers, 45,089,374 parameters.

As in those files: bias and no batch normalisation, leaky 0.1 everywhere but in the last layer
(and the first dense layer of ``fast``), images moved from [0, 1] to [-1, 1] inside the network,
and Darknet's symmetric padding. Dense layers flatten in Keras' order (row, column, channel);
Darknet's is (channel, row, column): `yolov1.darknet.save` writes it, and ``darknet:CFG`` (see
`yolov1.models.build`) is a network of Darknet's file itself.
"""

import keras

from yolov1.grid import GridSpec
from yolov1.heads import dense_head

POOL = "pool"  # 2x2, stride 2

# (filters, kernel[, stride]) of a convolution, or POOL.
PAPER = (
    (64, 7, 2), POOL,
    (192, 3), POOL,
    (128, 1), (256, 3), (256, 1), (512, 3), POOL,
    *((256, 1), (512, 3)) * 4, (512, 1), (1024, 3), POOL,
    *((512, 1), (1024, 3)) * 2, (1024, 3), (1024, 3, 2),
    (1024, 3), (1024, 3),
)  # fmt: skip
FAST = (
    (16, 3), POOL, (32, 3), POOL, (64, 3), POOL, (128, 3), POOL, (256, 3), POOL, (512, 3), POOL,
    (1024, 3), (1024, 3), (1024, 3),
)  # fmt: skip
# (units, slope of the leaky activation, 1 being linear) of the dense layers before the head.
PAPER_DENSE = ((4096, 0.1),)
FAST_DENSE = ((256, 1.0), (4096, 0.1))

# Darknet: convolutions normal with variance 2 / fan_in, dense layers uniform in +-sqrt(2 / fan_in).
_CONV_INITIALIZER = "he_normal"
_DENSE_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2 / 3, "mode": "fan_in", "distribution": "uniform"},
}


def darknet_convolutions(x, table, *, batch_norm=False, width=1.0):
    """Convolutions and pools of a table such as `PAPER`, padded as Darknet pads.

    A convolution has ``kernel // 2`` zeros on every side. Keras' "same" agrees for stride 1, but
    for stride 2 on an even map it pads less on the left and top, which shifts the whole map.
    """
    number = 0
    for entry in table:
        if entry == POOL:
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(x)
            continue
        filters, kernel, stride = (*entry, 1)[:3]
        number += 1
        if stride > 1:
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"pad{number}")(x)
        x = keras.layers.Conv2D(
            scaled(filters, width),
            kernel,
            stride,
            padding="valid" if stride > 1 else "same",
            use_bias=not batch_norm,
            kernel_initializer=_CONV_INITIALIZER,
            name=f"conv{number}",
        )(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.LeakyReLU(negative_slope=0.1, name=f"leaky{number}")(x)
    return x


def build_paper(
    *,
    grid: GridSpec,
    batch_norm: bool = False,
    dropout: float = 0.5,
    width: float = 1.0,
    activations="linear",
    prior=None,
) -> keras.Model:
    """The paper's network.

    Args:
        grid: any; the published sizes are S=7 and 448 px, where the last map is 7 x 7 too.
        batch_norm: batch normalisation instead of convolution biases, as Darknet's later files.
        dropout: after the dense layer of 4096 units.
        width: multiplies filters and units; 1 is the published network.
        activations, prior: of the head, see `heads.dense_head`.

    Raises:
        ValueError: images smaller than 64 px, which the six halvings leave nothing of.
    """
    return _build("paper", PAPER, PAPER_DENSE, grid, batch_norm, dropout, width, activations, prior)


def build_fast(
    *,
    grid: GridSpec,
    batch_norm: bool = False,
    dropout: float = 0.5,
    width: float = 1.0,
    activations="linear",
    prior=None,
) -> keras.Model:
    """Fast YOLO; the arguments are `build_paper`'s."""
    return _build("fast", FAST, FAST_DENSE, grid, batch_norm, dropout, width, activations, prior)


def _build(name, table, dense, grid, batch_norm, dropout, width, activations, prior):
    if grid.image_size < 64:
        raise ValueError(
            f"{name}: image_size must be at least 64 (the network halves it six times), "
            f"got {grid.image_size}."
        )
    if width <= 0:
        raise ValueError(f"{name}: width must be positive, got {width}.")
    images = keras.Input((grid.image_size, grid.image_size, 3), name="images", dtype="float32")
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)
    x = darknet_convolutions(x, table, batch_norm=batch_norm, width=width)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, (units, slope) in enumerate(dense, start=1):
        x = keras.layers.Dense(
            scaled(units, width), kernel_initializer=_DENSE_INITIALIZER, name=f"dense{number}"
        )(x)
        if slope != 1:
            x = keras.layers.LeakyReLU(negative_slope=slope, name=f"dense{number}_leaky")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    outputs = dense_head(
        x, grid, activations=activations, prior=prior, initializer=_DENSE_INITIALIZER
    )
    return keras.Model(images, outputs, name=name)


def scaled(count: int, width: float) -> int:
    """`count` filters or units of a published network, at `width` times its size."""
    return max(1, round(count * width))
