"""The networks of the two posts, ``keras_voc`` and ``tf2_person``, as Keras Sequentials.

Both follow the paper's figure 3 with layers of their own: bias and no batch normalisation, leaky
0.1 inside the convolutions, Keras' padding, two or one dense layers, a dense layer of S*S*D units,
and a reshape layer with the activations in it. For 448 px, S=7, B=2:

===========  =====  ===========  ==========================================================
network      C      parameters   against the paper's
===========  =====  ===========  ==========================================================
keras_voc    20     114,617,342  first convolution without stride, the last two "valid";
                                 dense 512 and 1024
tf2_person   1      267,889,243  dense 4096
===========  =====  ===========  ==========================================================

By default each network is corrected; what was wrong in the published ones is an option each, none
of which changes a layer's shape: `AS_PUBLISHED` has them all.
"""

import keras
from keras import ops

from yolov1.grid import GridSpec
from yolov1.heads import PriorBias, YoloReshape
from yolov1.models.layers import FusedBatchNormalization, usual_prior
from yolov1.models.paper import PAPER, POOL, scaled

# (filters, kernel[, stride[, padding]]) of a convolution, or POOL.
KERAS_VOC = ((64, 7), *PAPER[1:-2], (1024, 3, 1, "valid"), (1024, 3, 1, "valid"))
TF2_PERSON = PAPER
KERAS_VOC_DENSE = (512, 1024)
TF2_PERSON_DENSE = (4096,)

_KERNELS, _DEFAULT_KERNELS = "he_normal", "glorot_uniform"
_SMALL = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}

# The options with which `models.build` makes the networks that the posts published.
AS_PUBLISHED = {
    "keras_voc": {
        "activate_twice": True,
        "linear_dense": True,
        "linear_conv": True,
        "default_init": True,
        "l2": 5e-4,
    },
    "tf2_person": {
        "activate_twice": True,
        "linear_dense": True,
        "dropout_outputs": True,
        "default_init": True,
        "l2": 1e-5,
    },
}


@keras.saving.register_keras_serializable(package="yolov1")
def leaky(x):
    """Leaky rectifier with Darknet's slope, 0.1, as a layer's own activation."""
    return ops.leaky_relu(x, negative_slope=0.1)


def build_keras_voc(
    *,
    grid: GridSpec,
    width: float = 1.0,
    dropout: float = 0.5,
    activations="softmax",
    activate_twice: bool = False,
    linear_dense: bool = False,
    linear_conv: bool = False,
    batch_norm: bool = False,
    default_init: bool = False,
    l2: float = 0.0,
) -> keras.Sequential:
    """The network of the VOC 2007 post.

    Args:
        grid: any; S=7, B=2, C=20 and 448 px are the post's.
        width: multiplies filters and units; 1 is the published network.
        dropout: after the second dense layer.
        activations: of the reshape layer, see `heads.resolve_activations`.
        activate_twice: as published: a sigmoid in the last dense layer too. Confidences and boxes
            then lie in (0.5, 0.731), class probabilities below e / (e + 19) = 0.125 for 20 classes.
        linear_dense: as published: no activation between the dense layers.
        linear_conv: as published: no activation (and no L2) in the convolution of stride 2.
        batch_norm: batch normalisation instead of the convolutions' biases, as in Darknet's later
            files: 24 plain layers hardly learn from scratch. (Neither post has it.)
        default_init: as published: Keras' defaults, Glorot's kernels (under which the signal loses
            half of its variance in every leaky convolution) and zero biases. Else He's kernels, and
            outputs that start at `layers.usual_prior`.
        l2: as published 5e-4: ``l2 * sum(kernel^2)`` of the convolutions in the model's losses.

    Raises:
        ValueError: images smaller than 144 px, of which the two "valid" convolutions leave nothing.
    """
    _require(grid.image_size >= 144, "keras_voc", "image_size", "at least 144", grid.image_size)
    kernels = _DEFAULT_KERNELS if default_init else _KERNELS
    common = {"width": width, "batch_norm": batch_norm, "kernels": kernels, "l2": l2}
    bare = 22 if linear_conv else None
    units = [scaled(count, width) for count in KERAS_VOC_DENSE]
    return keras.Sequential(
        [
            *_convolutions(grid, KERAS_VOC, bare=bare, **common),
            *_dense(units, linear_dense, kernels),
            keras.layers.Dropout(dropout, name="dropout"),
            *_head(grid, activations, activate_twice, default_init),
        ],
        name="keras_voc",
    )


def build_tf2_person(
    *,
    grid: GridSpec,
    width: float = 1.0,
    dropout: float = 0.5,
    activations="sigmoid",
    activate_twice: bool = False,
    linear_dense: bool = False,
    dropout_outputs: bool = False,
    batch_norm: bool = False,
    default_init: bool = False,
    l2: float = 0.0,
) -> keras.Sequential:
    """The network of the Open Images post.

    Args:
        grid: any; S=7, B=2, C=1 and 448 px are the post's.
        width, dropout, activate_twice, linear_dense, batch_norm, default_init: see
            `build_keras_voc`.
        activations: of the reshape layer. As published ``softmax``, which is always 1 for the one
            class of the post.
        dropout_outputs: as published: dropout acts on the outputs (behind their sigmoid) and not
            on the dense layer before them: in training half of all predictions are exactly 0.5.
        l2: as published 1e-5, on every convolution.

    Raises:
        ValueError: images smaller than 64 px.
    """
    _require(grid.image_size >= 64, "tf2_person", "image_size", "at least 64", grid.image_size)
    kernels = _DEFAULT_KERNELS if default_init else _KERNELS
    common = {"width": width, "batch_norm": batch_norm, "kernels": kernels, "l2": l2}
    units = [scaled(count, width) for count in TF2_PERSON_DENSE]
    head = _head(grid, activations, activate_twice, default_init)
    drop = keras.layers.Dropout(
        dropout, dtype="float32" if dropout_outputs else None, name="dropout"
    )
    head.insert(1 if dropout_outputs else 0, drop)
    return keras.Sequential(
        [
            *_convolutions(grid, TF2_PERSON, **common),
            *_dense(units, linear_dense, kernels),
            *head,
        ],
        name="tf2_person",
    )


def _convolutions(grid, table, *, width, batch_norm, kernels, l2, bare=None):
    """Input, convolutions and pools of a table, and the flat map; convolution number `bare` has
    neither activation nor L2."""
    _require(width > 0, "models.build", "width", "positive", width)
    yield keras.Input((grid.image_size, grid.image_size, 3), name="images", dtype="float32")
    number = 0
    for entry in table:
        if entry == POOL:
            yield keras.layers.MaxPooling2D(2, padding="same", name=f"pool{number}")
            continue
        filters, kernel, stride, padding = (*entry, *(None, None, 1, "same")[len(entry) :])
        number += 1
        activation = None if number == bare else leaky
        yield keras.layers.Conv2D(
            scaled(filters, width),
            kernel,
            stride,
            padding=padding,
            use_bias=not batch_norm,
            activation=None if batch_norm else activation,
            kernel_initializer=kernels,
            kernel_regularizer=keras.regularizers.L2(l2) if l2 and number != bare else None,
            name=f"conv{number}",
        )
        if batch_norm:
            yield FusedBatchNormalization(momentum=0.9, name=f"norm{number}")
            if activation:
                yield keras.layers.Activation(leaky, name=f"leaky{number}")
    yield keras.layers.Flatten(name="flatten")


def _dense(units, linear, kernels):
    for number, count in enumerate(units, start=1):
        yield keras.layers.Dense(
            count,
            activation=None if linear else leaky,
            kernel_initializer=kernels,
            name=f"dense{number}",
        )


def _head(grid, activations, activate_twice, default_init):
    shape = (grid.S, grid.B, grid.C)
    prior = usual_prior(grid)
    dense = keras.layers.Dense(
        grid.flat_size,
        activation="sigmoid" if activate_twice else None,
        # A cell's own outputs see few objects: small kernels let it start at the prior.
        kernel_initializer=_DEFAULT_KERNELS if default_init else _SMALL,
        bias_initializer="zeros" if default_init else PriorBias(*shape, activations, prior),
        dtype="float32",
        name="head",
    )
    return [dense, YoloReshape(*shape, activations, dtype="float32", name="predictions")]


def _require(condition, op, name, expected, got):
    if not condition:
        raise ValueError(f"{op}: {name} must be {expected}, got {got}.")
