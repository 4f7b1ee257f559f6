"""What the small networks are made of: convolutions with batch normalisation, residual blocks."""

import keras

from yolov1.models.layers import FusedBatchNormalization

# name -> function of a layer's name
ACTIVATIONS = {
    "leaky": lambda name: keras.layers.LeakyReLU(negative_slope=0.1, name=name),
    "silu": lambda name: keras.layers.Activation("silu", name=name),  # x sigmoid(x)
}


def filters_of(filters: int, width: float) -> int:
    """Filters at a width, a multiple of 8 and at least 8."""
    return max(8, round(filters * width / 8) * 8)


class Blocks:
    """Functions of features that share how batches are normalised.

    Args:
        momentum: of the moving averages of batch normalisation; short trainings need them fast.
        synchronized: batch statistics over all replicas.
        activation: behind each convolution, of `ACTIVATIONS`.

    Raises:
        ValueError: another activation.
    """

    def __init__(self, momentum: float, synchronized: bool, activation: str = "leaky"):
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}."
            )
        self.normalisation = {"momentum": momentum, "synchronized": synchronized}
        self.activation = activation

    def conv(self, x, filters: int, kernel: int, name: str, strides: int = 1):
        """Convolution, batch normalisation, activation."""
        x = keras.layers.Conv2D(
            filters,
            kernel,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(x)
        x = FusedBatchNormalization(**self.normalisation, name=name + "_norm")(x)
        return ACTIVATIONS[self.activation](f"{name}_{self.activation}")(x)

    def residual(self, x, filters: int, count: int, name: str):
        """`count` blocks of a 1x1 convolution to half the filters and a 3x3 one back, each added to
        what comes in."""
        for k in range(count):
            y = self.conv(x, filters // 2, 1, f"{name}_block{k + 1}_reduce")
            y = self.conv(y, filters, 3, f"{name}_block{k + 1}")
            x = keras.layers.Add(name=f"{name}_block{k + 1}_add")([x, y])
        return x


def images_of(grid):
    """The input, images in [0, 1], and the same in [-1, 1]."""
    images = keras.Input((grid.image_size, grid.image_size, 3), name="images", dtype="float32")
    return images, keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)


def default_prior(grid) -> dict:
    """Every block at the centre of its range, but few cells that hold an object."""
    return {"classes": 1 / (grid.C + 1), "confidences": 0.05, "xy": 0.5, "wh": 0.4}


def halvings(grid, most: int) -> int:
    """How often an image can be halved, at least once, to leave a map of at least S x S."""
    side, count = -(-grid.image_size // 2), 1
    while count < most and -(-side // 2) >= grid.S:
        side, count = -(-side // 2), count + 1
    return count
