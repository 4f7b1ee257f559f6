"""The last layers: features to predictions ``[N, S, S, D]``, each value activated once.

Two ways in: a 1x1 convolution on a feature map of S x S (`conv_head`), and a dense layer on a flat
vector (`dense_head`), whose output is Darknet's flat vector, layout ``planes``: the classes of all
cells, then the confidences of all cells, then the boxes of all cells.

Both stay in float32 under mixed precision: small errors, and their sums, need it.
"""

import keras
import numpy as np
from keras import ops

from yolov1.activations import BLOCKS, resolve_activations
from yolov1.grid import GridSpec

_FUNCTIONS = {"linear": lambda x: x, "sigmoid": ops.sigmoid, "softmax": ops.softmax}


def planes_to_cells(planes, grid: GridSpec):
    """``[N, S*S*D]`` in layout ``planes`` to ``[N, S, S, D]``.

    Class c of cell i is at ``i*C + c``, confidence of box j at ``L*C + i*B + j``, box j at
    ``L*(C+B) + 4*(i*B + j)``, with ``i = row*S + col`` and ``L = S*S`` (Darknet's detection layer).
    """
    ends = [grid.cells * grid.C, grid.cells * (grid.C + grid.B)]
    shape = (-1, grid.S, grid.S)
    blocks = (planes[:, : ends[0]], planes[:, ends[0] : ends[1]], planes[:, ends[1] :])
    channels = (grid.C, grid.B, 4 * grid.B)
    return ops.concatenate(
        [ops.reshape(block, (*shape, c)) for block, c in zip(blocks, channels, strict=True)],
        axis=-1,
    )


def cells_to_planes(cells, grid: GridSpec):
    """``[N, S, S, D]`` to ``[N, S*S*D]`` in layout ``planes``; the inverse of `planes_to_cells`."""
    blocks = (grid.class_channels, grid.confidence_channels, grid.box_channels)
    return ops.concatenate(
        [
            ops.reshape(cells[..., block], (-1, grid.cells * (block.stop - block.start)))
            for block in blocks
        ],
        axis=-1,
    )


@keras.saving.register_keras_serializable(package="yolov1")
class ActivateCells(keras.layers.Layer):
    """Activates classes, confidences, xy and wh of ``[N, S, S, D]``, each block once.

    Args:
        B, C: boxes of a cell and classes.
        activations: as `resolve_activations` takes it; softmax runs over the classes of a cell.
    """

    def __init__(self, B, C, activations="linear", **kwargs):
        super().__init__(**kwargs)
        self.B, self.C = B, C
        self.activations = resolve_activations(activations)

    def call(self, inputs):
        act = {block: _FUNCTIONS[name] for block, name in self.activations.items()}
        if set(self.activations.values()) == {"linear"}:
            return inputs
        boxes = inputs[..., self.C + self.B :]
        if self.activations["xy"] == self.activations["wh"]:
            boxes = act["xy"](boxes)
        else:
            pairs = ops.reshape(boxes, (*ops.shape(boxes)[:-1], self.B, 4))
            pairs = ops.concatenate([act["xy"](pairs[..., :2]), act["wh"](pairs[..., 2:])], axis=-1)
            boxes = ops.reshape(pairs, ops.shape(boxes))
        classes = act["classes"](inputs[..., : self.C])
        confidences = act["confidences"](inputs[..., self.C : self.C + self.B])
        return ops.concatenate([classes, confidences, boxes], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"B": self.B, "C": self.C, "activations": self.activations}


@keras.saving.register_keras_serializable(package="yolov1")
class YoloReshape(ActivateCells):
    """The flat output of a dense layer, ``[N, S*S*D]`` in layout ``planes``, to predictions.

    What both posts call their reshape layer: `planes_to_cells`, then `ActivateCells`. (Theirs have
    softmax over the classes and sigmoid elsewhere: ``activations="softmax"``.)

    Args:
        S, B, C: the grid.
        activations: as `resolve_activations` takes it.
    """

    def __init__(self, S, B, C, activations="linear", **kwargs):
        super().__init__(B, C, activations, **kwargs)
        self.grid = GridSpec(S=S, B=B, C=C)

    def call(self, inputs):
        return super().call(planes_to_cells(inputs, self.grid))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.grid.prediction_shape)

    def get_config(self):
        return super().get_config() | {"S": self.grid.S}


@keras.saving.register_keras_serializable(package="yolov1")
class PriorBias(keras.initializers.Initializer):
    """Biases with which a head starts out predicting the given values.

    Args:
        S, B, C: the grid; S only matters for the flat layout.
        activations: of the head; a sigmoid's bias is the logit of the value, a softmax's is 0.
        prior: the value after activation that each block starts with, for some of the blocks
            ``classes``, ``confidences``, ``xy``, ``wh``; blocks not named start with a bias of 0.

    Raises:
        ValueError: an unknown block, or a value outside (0, 1) in front of a sigmoid.
    """

    def __init__(self, S, B, C, activations="linear", prior=None):
        self.grid = GridSpec(S=S, B=B, C=C)
        self.activations = resolve_activations(activations)
        self.prior = dict(prior or {})
        for block, value in self.prior.items():
            if block not in BLOCKS:
                raise ValueError(f"prior: no block {block!r}; blocks are {', '.join(BLOCKS)}.")
            if self.activations[block] == "sigmoid" and not 0 < value < 1:
                raise ValueError(f"prior: {block} is a sigmoid's output, in (0, 1), got {value!r}.")

    def __call__(self, shape, dtype=None):
        cell = np.zeros(self.grid.channels, np.float32)
        boxes = cell[self.grid.box_channels].reshape(self.grid.B, 4)
        blocks = {
            "classes": cell[self.grid.class_channels],
            "confidences": cell[self.grid.confidence_channels],
            "xy": boxes[:, :2],
            "wh": boxes[:, 2:],
        }
        for block, value in self.prior.items():
            if self.activations[block] == "sigmoid":
                blocks[block][...] = np.log(value / (1 - value))
            elif self.activations[block] == "linear":
                blocks[block][...] = value
        if tuple(shape) != cell.shape:  # a dense head: the cell's values in every cell
            cells = ops.convert_to_tensor(np.broadcast_to(cell, (1, *self.grid.prediction_shape)))
            return ops.cast(ops.reshape(cells_to_planes(cells, self.grid), shape), dtype)
        return ops.convert_to_tensor(cell, dtype=dtype)

    def get_config(self):
        grid = {"S": self.grid.S, "B": self.grid.B, "C": self.grid.C}
        return grid | {"activations": self.activations, "prior": self.prior}


def conv_head(features, grid: GridSpec, *, activations="linear", prior=None):
    """``[N, S, S, F]`` features to ``[N, S, S, D]`` predictions through a 1x1 convolution.

    The kernel starts small (normal, 0.01), so that training starts at the prior.

    Args:
        activations, prior: as of `PriorBias`, whose errors are raised.
    """
    bias = PriorBias(grid.S, grid.B, grid.C, activations, prior)
    x = keras.layers.Conv2D(
        grid.channels,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=bias,
        dtype="float32",
        name="head",
    )(features)
    return ActivateCells(grid.B, grid.C, activations, dtype="float32", name="predictions")(x)


def dense_head(
    features, grid: GridSpec, *, activations="linear", prior=None, initializer="he_normal"
):
    """``[N, F]`` features to ``[N, S, S, D]`` predictions through a dense layer in flat order.

    Args:
        activations, prior: as of `PriorBias`, whose errors are raised.
        initializer: of the kernel, as Keras takes it.
    """
    x = keras.layers.Dense(
        grid.flat_size,
        kernel_initializer=initializer,
        bias_initializer=PriorBias(grid.S, grid.B, grid.C, activations, prior),
        dtype="float32",
        name="head",
    )(features)
    return YoloReshape(grid.S, grid.B, grid.C, activations, dtype="float32", name="predictions")(x)
