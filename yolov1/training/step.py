"""One step of a training, compiled."""

import numpy as np
import tensorflow as tf

from yolov1.training.config import TrainConfig
from yolov1.training.optimizers import gradient_decay, reduced
from yolov1.training.tasks import TASKS


def make_step(config: TrainConfig, grid, state, keep_predictions=False, keep_gradients=False):
    """The compiled step: ``(images, targets)`` to each replica's terms ``[n, T]``, their mean over
    the global batch ``[T]``, the learning rate, and where they are wanted the predictions, or these
    with the gradients by them and by the trainable variables, as they are before they are clipped
    (of ``mixed_float16`` times the optimizer's scale)."""
    replicas = state.strategy.num_replicas_in_sync
    loss_of = TASKS[config.task].loss(config, grid)
    decay = gradient_decay(config, state.model)
    progress, variables = state.progress, state.model.trainable_variables

    def part(images, targets):
        with tf.GradientTape() as tape:
            predictions = state.model(images, training=True)
            data_loss, terms = loss_of(predictions, targets)
            # The mean over the global batch: gradients of replicas and of parts are summed.
            loss = (data_loss + decay() + sum(state.model.losses)) / (
                replicas * config.subdivisions
            )
            scaled = state.optimizer.scale_loss(loss)
        sources = [*variables, predictions] if keep_gradients else variables
        gradients = tape.gradient(scaled, sources)
        return gradients[: len(variables)], (terms, predictions, *gradients[len(variables) :])

    def replica_step(images, targets):
        gradients, results = accumulated(part, images, targets, config.subdivisions)
        gradients = reduced(gradients, replicas)
        state.optimizer.apply(gradients, variables)
        if state.average is not None:
            state.average.update(progress.step)
        return results, gradients if keep_gradients else ()

    # No AutoGraph, here and in all that is traced in a run: nothing needs it, and rewriting every
    # function that is reached takes a third of the time until the first step.
    @tf.function(jit_compile=config.jit_compile or None, autograph=False)
    def step(images, targets):
        # In the graph, because a schedule evaluated eagerly costs a millisecond a step.
        rate = tf.identity(state.optimizer.learning_rate)
        (terms, *results), gradients = state.strategy.run(replica_step, args=(images, targets))
        mean = state.strategy.reduce("MEAN", terms, axis=0)
        progress.terms.assign_add(tf.cast(mean, tf.float64))
        progress.steps_in_sum.assign_add(1)
        progress.step.assign_add(1)
        if keep_gradients:
            return terms, mean, rate, *results, gradients
        return (terms, mean, rate, *results) if keep_predictions else (terms, mean, rate)

    return step


def accumulated(part, images, targets, parts: int):
    """What `part` makes of a batch that goes through it in `parts`, one after another.

    As Darknet's ``subdivisions``: whatever a part changes (moving averages, generators) it changes
    for the next one; nothing of a part but its results is in memory while the next one runs.

    Args:
        part: function of (images, targets) giving (gradients, results): a list of tensors, and a
            tuple of tensors whose first axis is the images'.
        images, targets: of a batch that `parts` divides; the first part is the first images.

    Returns:
        The sums of the gradients, and the results of the whole batch, in its order.
    """
    if parts == 1:
        return part(images, targets)
    pieces = [tf.reshape(t, (parts, -1, *t.shape[1:])) for t in (images, targets)]
    gradients, results = part(*(piece[0] for piece in pieces))
    kept = [tf.TensorArray(r.dtype, parts, element_shape=r.shape).write(0, r) for r in results]

    # A loop of the graph, not of Python: the network does not stand in it once for each part, and
    # no two of them can run at a time.
    def body(k, gradients, kept):
        more, results = part(*(piece[k] for piece in pieces))
        gradients = [a + b for a, b in zip(gradients, more, strict=True)]
        return k + 1, gradients, [a.write(k, r) for a, r in zip(kept, results, strict=True)]

    _, gradients, kept = tf.while_loop(
        lambda k, *_: k < parts,
        body,
        (1, gradients, kept),
        parallel_iterations=1,
        maximum_iterations=parts - 1,
    )
    return gradients, tuple(_joined(array.stack()) for array in kept)


def _joined(parts):
    """``[parts, n, ...]`` to ``[parts * n, ...]``."""
    return tf.reshape(parts, (-1, *parts.shape[2:]))


def capturing(config, grid, state, step, capture):
    """`step`, which in the steps that are captured gives `capture` what the loss was given."""

    def gathered(values):
        local = state.strategy.experimental_local_results(values)
        return np.concatenate([part.numpy() for part in local])

    keeping = make_step(config, grid, state, keep_predictions=True)
    return capture.around(step, keeping, state.progress, gathered)
