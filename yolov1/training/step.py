"""One step of a training, compiled."""

import numpy as np
import tensorflow as tf

from yolov1.training.config import TrainConfig
from yolov1.training.optimizers import gradient_decay, reduced
from yolov1.training.tasks import TASKS


def make_step(config: TrainConfig, grid, state, keep_predictions=False):
    """The compiled step: ``(images, targets)`` to each replica's terms ``[n, T]``, their mean over
    the global batch ``[T]``, the learning rate, and the predictions where they are wanted."""
    replicas = state.strategy.num_replicas_in_sync
    loss_of = TASKS[config.task].loss(config, grid)
    decay = gradient_decay(config, state.model)
    progress = state.progress

    def replica_step(images, targets):
        with tf.GradientTape() as tape:
            predictions = state.model(images, training=True)
            data_loss, terms = loss_of(predictions, targets)
            # The mean over the global batch: replicas' gradients are summed.
            loss = (data_loss + decay() + sum(state.model.losses)) / replicas
            scaled = state.optimizer.scale_loss(loss)
        variables = state.model.trainable_variables
        gradients = reduced(tape.gradient(scaled, variables), replicas)
        state.optimizer.apply(gradients, variables)
        if state.average is not None:
            state.average.update(progress.step)
        return terms, predictions

    # No AutoGraph, here and in all that is traced in a run: nothing needs it, and rewriting every
    # function that is reached takes a third of the time until the first step.
    @tf.function(jit_compile=config.jit_compile or None, autograph=False)
    def step(images, targets):
        # In the graph, because a schedule evaluated eagerly costs a millisecond a step.
        rate = tf.identity(state.optimizer.learning_rate)
        terms, predictions = state.strategy.run(replica_step, args=(images, targets))
        mean = state.strategy.reduce("MEAN", terms, axis=0)
        progress.terms.assign_add(tf.cast(mean, tf.float64))
        progress.steps_in_sum.assign_add(1)
        progress.step.assign_add(1)
        return (terms, mean, rate, predictions) if keep_predictions else (terms, mean, rate)

    return step


def capturing(config, grid, state, step, capture):
    """`step`, which in the steps that are captured gives `capture` what the loss was given."""

    def gathered(values):
        local = state.strategy.experimental_local_results(values)
        return np.concatenate([part.numpy() for part in local])

    keeping = make_step(config, grid, state, keep_predictions=True)
    return capture.around(step, keeping, state.progress, gathered)
