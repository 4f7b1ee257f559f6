"""A small network that looks at three scales and answers on one grid.

Stages of strided convolutions, as in `laptop`, first reach the grid's resolution and then go on to
a quarter of it, where one convolution sees far. What they see comes back up, doubled in size and
joined with the finer stage twice: a feature pyramid (Lin et al., arXiv 1612.03144) of which only
the finest level is kept, so that there is one grid as in every YOLOv1. Its high resolutions are
thin, because there a filter costs most and says least.
"""

import keras

from yolov1.grid import GridSpec
from yolov1.models.blocks import Blocks, halvings, images_of
from yolov1.models.layers import AreaResample

# (filters at width 1, residual blocks at depth 1), each stage at half the size of the one before.
STAGES = (
    (16, 0),  # the stem, 6x6 stride 2
    (32, 0),
    (64, 1),
    (128, 2),
    (256, 1),
    (256, 1),
    (256, 1),
)
COARSER = 2  # stages beyond the grid's resolution
NECK = (80, 1)  # at grid resolution


def build_pyramid(
    *,
    grid: GridSpec,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.0,
    activation: str = "silu",
    activations="linear",
    prior=None,
    momentum: float = 0.9,
    synchronized: bool = False,
) -> keras.Model:
    """The pyramid network.

    Args:
        activation: of the convolutions: ``"silu"`` (arXiv 1702.03118) or ``"leaky"``.
        width, depth, dropout, activations, prior, momentum, synchronized: as of
            `laptop.build_laptop`.

    Raises:
        ValueError: a width or depth that is not positive (depth may be 0); another activation.
    """
    layers = Blocks("pyramid", width, depth, momentum, synchronized, activation)
    fine = halvings(grid, len(STAGES) - COARSER)  # the stage whose map has at least S x S
    images, x = images_of(grid)
    *finer_maps, x = layers.stages(x, STAGES[: fine + COARSER])
    for step in range(1, COARSER + 1):
        finer = finer_maps[-step]
        filters = finer.shape[-1]
        x = layers.conv(x, filters // 2, 1, f"up{step}_reduce")
        x = _resized(x, finer.shape[1], f"up{step}")
        x = keras.layers.Concatenate(name=f"up{step}_join")([finer, x])
        if step < COARSER:  # the last one's convolution is the neck's
            x = layers.conv(x, filters, 3, f"up{step}_conv")
    head = {"dropout": dropout, "activations": activations, "prior": prior}
    return layers.detector(images, x, grid, NECK, **head)


def _resized(x, side: int, name: str):
    """A map at about twice its side: repeated where that is exact."""
    if side == 2 * x.shape[1]:
        return keras.layers.UpSampling2D(2, name=name)(x)
    return AreaResample(side, name=name)(x)
