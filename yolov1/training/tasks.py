"""What a network learns: boxes on a grid, or one class for a whole image.

Everything else of a training (data, loop, checkpoints, run directory) is the same for both: an
image with a class is an image with one box as large as itself, on a grid of one cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from yolov1 import models, ops
from yolov1.semantics import TERMS


class Task(NamedTuple):
    """What differs between the tasks.

    Attributes:
        terms: names of the T terms that the loss of an image is the sum of.
        build: ``(name, grid=, **options)`` to a network.
        loss: ``(config, grid)`` to a function of (predictions, targets ``[N, S, S, C + 5]``) that
            gives the mean loss, a scalar with a gradient, and the terms ``[N, T]``.
    """

    terms: tuple[str, ...]
    build: Callable
    loss: Callable


def _yolo_loss(config, grid):
    semantics = config.loss_semantics()

    def loss(predictions, targets):
        return ops.yolo_loss(
            predictions,
            targets,
            grid=grid,
            semantics=semantics,
            reduction="mean",
            impl=config.impl,
        )

    return loss


def _cross_entropy(config, grid):
    """Of the softmax of the logits ``[N, C]``, in nats; 0 for an image without a class."""

    def loss(logits, targets):
        labels = targets[:, 0, 0, grid.class_channels]
        entropy = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(entropy), entropy[:, None]

    return loss


TASKS = {
    "detect": Task(TERMS, models.build, _yolo_loss),
    "classify": Task(("cross_entropy",), models.build_classifier, _cross_entropy),
}
