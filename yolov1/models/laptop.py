"""A small, fully convolutional YOLOv1 that trains on a laptop's CPU.

Every stage halves the map with a strided 3x3 convolution, which costs a quarter of a convolution
followed by pooling; no layer ever works at full resolution. The number of stages follows from the
grid: as many as leave a map of at least S x S (224 px: 7 x 7 after five for S=7, 14 x 14 after four
for S=14). Where the map is larger than the grid (224 px, S=9: 14 x 14), the mean over each cell's
area brings it to S x S. Blocks at grid resolution follow, so that a cell sees its neighbours.
"""

import keras

from yolov1.grid import GridSpec
from yolov1.heads import conv_head
from yolov1.models.blocks import Blocks, default_prior, filters_of, halvings, images_of
from yolov1.models.layers import AreaResample

# (filters at width 1, residual blocks at depth 1), each stage at half the size of the one before.
STAGES = (
    (24, 0),  # the stem, 6x6 stride 2
    (48, 0),
    (96, 1),
    (144, 1),
    (192, 1),
    (192, 1),
)
NECK = (192, 1)  # at grid resolution


def build_laptop(
    *,
    grid: GridSpec,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.0,
    activations="linear",
    prior=None,
    momentum: float = 0.9,
    synchronized: bool = False,
) -> keras.Model:
    """The laptop network.

    Args:
        width: multiplies the filters (rounded to multiples of 8).
        depth: multiplies the residual blocks (rounded; 0 leaves the strided convolutions).
        dropout: of the features before the head, in [0, 1).
        activations, prior: of the head, see `heads.conv_head`; by default every block starts at
            the centre of its range (class 1 / C, confidence 0.05, centre 0.5, size 0.4).
        momentum: of the moving averages of batch normalisation; short trainings need them fast.
        synchronized: batch statistics over all replicas.

    Raises:
        ValueError: a width or depth that is not positive (depth may be 0).
    """
    if width <= 0 or depth < 0:
        raise ValueError(
            f"laptop: width must be positive and depth at least 0, got {width=}, {depth=}."
        )
    prior = default_prior(grid) if prior is None else prior
    layers = Blocks(momentum, synchronized)
    images, x = images_of(grid)
    for k, (filters, count) in enumerate(STAGES[: stage_count(grid)], start=1):
        filters = filters_of(filters, width)
        x = layers.conv(x, filters, 6 if k == 1 else 3, f"stage{k}", strides=2)
        x = layers.residual(x, filters, round(count * depth), f"stage{k}")
    x = AreaResample(grid.S, name="to_grid")(x)
    filters = filters_of(NECK[0], width)
    x = layers.conv(x, filters, 3, "neck")
    x = layers.residual(x, filters, round(NECK[1] * depth), "neck")
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(
        images, conv_head(x, grid, activations=activations, prior=prior), name="laptop"
    )


def stage_count(grid: GridSpec) -> int:
    """The halvings, at least one, that leave a map of at least S x S."""
    return halvings(grid, len(STAGES))
