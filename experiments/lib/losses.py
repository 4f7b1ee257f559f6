"""Several losses of the same outputs of one network: values, gradients, and where these point."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from yolov1.cell_loss import CellLoss, cell_loss
from yolov1.semantics import PRESETS, TERMS, LossSemantics
from yolov1.training import TrainConfig


class Seen(NamedTuple):
    """One loss of a batch of N images: its mean over them, and the gradients of that mean.

    Norms are Euclidean, and of all five terms each by itself; the gradient is their sum.
    """

    semantics: LossSemantics
    cells: CellLoss  # NumPy; its gradient is of each image's loss, by the network's outputs
    boxes: np.ndarray  # [N, L, B, 4]: x, y of the cell, w, h of the image, as the loss reads them
    terms: np.ndarray  # [5]
    output_norms: np.ndarray  # [5], by the outputs
    weight_norms: np.ndarray  # [5], by the trainable weights
    by_outputs: list[np.ndarray]  # one array
    by_weights: list[np.ndarray]  # one for each weight

    @property
    def loss(self) -> float:
        return float(self.terms.sum())


def parse(text: str) -> dict[str, LossSemantics]:
    """``'paper,darknet,paper:box=ciou,weight_xy=1'`` to semantics by name: three of them here.

    Raises:
        ValueError: an unknown preset or option, an option of no loss, or a loss named twice.
    """
    names = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if "=" in word and ":" not in word:
            if not names:
                raise ValueError(f"--losses: the option {word!r} follows no loss, got {text!r}.")
            names[-1] += ("," if ":" in names[-1] else ":") + word
        else:
            names.append(word)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"--losses must name losses, each once, got {text!r}.")
    return {name: _semantics(name) for name in names}


def _semantics(name) -> LossSemantics:
    preset, _, options = name.partition(":")
    if preset not in PRESETS:
        raise ValueError(f"--losses: no loss {preset!r}; there are {', '.join(PRESETS)}.")
    # The one reader of such options, which names what is wrong with them.
    return TrainConfig(semantics=preset, semantics_options=options).loss_semantics()


def read_as(outputs, grid, was: str, wanted: str):
    """Outputs ``[N, S, S, D]`` whose w and h mean `was` (`LossSemantics.wh`) as those that are the
    same boxes where they mean `wanted`: squares of roots, or roots of sizes.

    A size of 0 or less, whose box is empty, has the root 0, with derivative 0.
    """
    was, wanted = was == "predict_sqrt", wanted == "predict_sqrt"
    if was == wanted:
        return tf.identity(outputs)
    first = grid.box_channels.start
    boxes = tf.reshape(outputs[..., first:], [*outputs.shape[:-1], grid.B, 4])
    xy, sizes = boxes[..., :2], boxes[..., 2:]
    # The inner choice keeps the root's derivative finite where the outer one leaves it out.
    positive = tf.where(sizes > 0, sizes, tf.ones_like(sizes))
    changed = tf.square(sizes) if was else tf.where(sizes > 0, tf.sqrt(positive), 0.0)
    boxes = tf.reshape(tf.concat([xy, changed], -1), [*outputs.shape[:-1], 4 * grid.B])
    return tf.concat([outputs[..., :first], boxes], -1)


def of_term(semantics: LossSemantics, term: str) -> LossSemantics:
    """The loss that is one term of another; the boxes that are responsible stay."""
    return dataclasses.replace(semantics, **{f"weight_{t}": 0 for t in TERMS if t != term})


def compare(model, images, targets, grid, losses, *, wh=None, training=False, impl="auto"):
    """What each loss makes of one forward pass.

    Args:
        model: a Keras model that gives activated predictions ``[N, S, S, D]``.
        images, targets: a batch, as the pipeline gives it.
        losses: name -> `LossSemantics`.
        wh: what the network's w and h mean; each loss is then of the same boxes (`read_as`). None:
            each takes the same numbers for what it would have trained them to be.
        training: whether the layers work as in training (statistics of the batch, dropout).
        impl: of the loss.

    Returns:
        name -> `Seen`. Weight decay is in none of them.
    """
    with tf.GradientTape(persistent=True) as tape:
        outputs = tf.cast(model(images, training=training), tf.float32)
        tape.watch(outputs)
        # On the one tape, so that a loss's gradient by its predictions goes back to the weights.
        read = {
            name: read_as(outputs, grid, wh or semantics.wh, semantics.wh)
            for name, semantics in losses.items()
        }

    def gradients(name, semantics):
        """Of each image's loss by the outputs, and of the mean by the weights."""
        cells = cell_loss(read[name], targets, grid=grid, semantics=semantics, impl=impl)
        upstream = tf.reshape(cells.gradient, outputs.shape)
        by_outputs = tape.gradient(read[name], outputs, output_gradients=upstream)
        mean = by_outputs / len(images)
        by_weights = tape.gradient(
            outputs, model.trainable_variables, mean, unconnected_gradients="zero"
        )
        by_weights = [tf.convert_to_tensor(gradient).numpy() for gradient in by_weights]
        return cells, by_outputs, [mean.numpy()], by_weights

    found = {}
    for name, semantics in losses.items():
        cells, by_outputs, mean, by_weights = gradients(name, semantics)
        parts = [gradients(name, of_term(semantics, term))[2:] for term in TERMS]
        cells = cells._replace(gradient=tf.reshape(by_outputs, cells.gradient.shape))
        cells = CellLoss(*(part.numpy() for part in cells))
        first = grid.box_channels.start
        found[name] = Seen(
            semantics,
            cells,
            read[name][..., first:].numpy().reshape(len(images), grid.cells, grid.B, 4),
            cells.terms.sum(axis=1, dtype=np.float64).mean(axis=0),
            np.array([norm(part[0]) for part in parts]),
            np.array([norm(part[1]) for part in parts]),
            mean,
            by_weights,
        )
    return found


def dot(a, b) -> float:
    """Of two gradients, each a list of arrays of the same shapes."""
    pairs = zip(a, b, strict=True)
    return float(sum(np.vdot(x.astype(np.float64), y.astype(np.float64)) for x, y in pairs))


def norm(gradient) -> float:
    return float(np.sqrt(dot(gradient, gradient)))


def cosines(gradients) -> list[list]:
    """The cosine of the angle between every two gradients; None where one of them is 0."""
    norms = [norm(gradient) for gradient in gradients]

    def cosine(i, j):
        length = norms[i] * norms[j]
        return dot(gradients[i], gradients[j]) / length if length > 0 else None

    return [[cosine(i, j) for j in range(len(norms))] for i in range(len(norms))]


def disputed(a: CellLoss, b: CellLoss) -> np.ndarray:
    """The objects ``[N, L]`` for which two losses hold different boxes responsible."""
    return (a.responsible != b.responsible).any(axis=-1)
