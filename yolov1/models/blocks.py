"""What the small networks are made of: convolutions with batch normalisation, residual blocks."""

import keras

from yolov1.heads import conv_head
from yolov1.models.layers import AreaResample, FusedBatchNormalization, usual_prior

# name -> function of a layer's name
ACTIVATIONS = {
    "leaky": lambda name: keras.layers.LeakyReLU(negative_slope=0.1, name=name),
    "silu": lambda name: keras.layers.Activation("silu", name=name),  # x sigmoid(x)
}


class Blocks:
    """How one network makes its layers.

    Args:
        name: of the network.
        width: multiplies the filters (rounded to multiples of 8).
        depth: multiplies the residual blocks (rounded; 0 leaves the convolutions alone).
        momentum: of the moving averages of batch normalisation; short trainings need them fast.
        synchronized: batch statistics over all replicas.
        activation: behind each convolution, of `ACTIVATIONS`.

    Raises:
        ValueError: a width or depth that is not positive (depth may be 0); another activation.
    """

    def __init__(self, name, width, depth, momentum, synchronized, activation="leaky"):
        if width <= 0 or depth < 0:
            raise ValueError(
                f"{name}: width must be positive and depth at least 0, got {width=}, {depth=}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"{name}: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}."
            )
        self.name, self.width, self.depth = name, width, depth
        self.normalisation = {"momentum": momentum, "synchronized": synchronized}
        self.activation = activation

    def filters(self, count: int) -> int:
        """So many at width 1: a multiple of 8, and at least 8."""
        return max(8, round(count * self.width / 8) * 8)

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

    def stage(self, x, filters: int, count: int, name: str, kernel: int = 3, strides: int = 1):
        """A convolution, and residual blocks behind it: a 1x1 convolution to half the filters and a
        3x3 one back, added to what comes in. `filters` and `count` are those at width and depth 1.
        """
        filters = self.filters(filters)
        x = self.conv(x, filters, kernel, name, strides)
        for k in range(round(count * self.depth)):
            y = self.conv(x, filters // 2, 1, f"{name}_block{k + 1}_reduce")
            y = self.conv(y, filters, 3, f"{name}_block{k + 1}")
            x = keras.layers.Add(name=f"{name}_block{k + 1}_add")([x, y])
        return x

    def stages(self, x, stages) -> list:
        """The map behind each of some stages (filters, blocks), each at half the size of the one
        before; the first looks at 6x6 pixels."""
        maps = []
        for k, (filters, count) in enumerate(stages, start=1):
            x = self.stage(x, filters, count, f"stage{k}", kernel=6 if k == 1 else 3, strides=2)
            maps.append(x)
        return maps

    def detector(self, images, x, grid, neck, *, dropout, activations, prior) -> keras.Model:
        """The network whose last map is `x`: brought to the grid, a stage there, the head."""
        x = self.stage(AreaResample(grid.S, name="to_grid")(x), *neck, "neck")
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        prior = usual_prior(grid) if prior is None else prior
        head = conv_head(x, grid, activations=activations, prior=prior)
        return keras.Model(images, head, name=self.name)


def images_of(grid):
    """The input, images in [0, 1], and the same in [-1, 1]."""
    images = keras.Input((grid.image_size, grid.image_size, 3), name="images", dtype="float32")
    return images, keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)


def halvings(grid, most: int) -> int:
    """How often an image can be halved, at least once, to leave a map of at least S x S."""
    side, count = -(-grid.image_size // 2), 1
    while count < most and -(-side // 2) >= grid.S:
        side, count = -(-side // 2), count + 1
    return count
