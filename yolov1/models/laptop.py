"""A small, fully convolutional YOLOv1 that trains on a laptop's CPU.

Every stage halves the map with a strided 3x3 convolution, which costs a quarter of a convolution
followed by pooling; no layer ever works at full resolution. The number of stages follows from the
grid: as many as leave a map of at least S x S (224 px: 7 x 7 after five for S=7, 14 x 14 after four
for S=14). Where the map is larger than the grid (224 px, S=9: 14 x 14), the mean over each cell's
area brings it to S x S. Blocks at grid resolution follow, so that a cell sees its neighbours.
"""

import keras

from yolov1.grid import GridSpec
from yolov1.models.blocks import Blocks, halvings, images_of

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
        activations, prior: of the head, see `heads.conv_head`; by default it starts at
            `layers.usual_prior`.
        momentum: of the moving averages of batch normalisation; short trainings need them fast.
        synchronized: batch statistics over all replicas.

    Raises:
        ValueError: a width or depth that is not positive (depth may be 0).
    """
    layers = Blocks("laptop", width, depth, momentum, synchronized)
    images, x = images_of(grid)
    *_, x = layers.stages(x, STAGES[: stage_count(grid)])
    head = {"dropout": dropout, "activations": activations, "prior": prior}
    return layers.detector(images, x, grid, NECK, **head)


def stage_count(grid: GridSpec) -> int:
    """The halvings, at least one, that leave a map of at least S x S."""
    return halvings(grid, len(STAGES))
