"""Darknet's gradient descent as a Keras optimizer, and its learning rates as a Keras schedule."""

import keras
import numpy as np
from keras import ops

from yolov1.darknet import rules
from yolov1.darknet.cfg import parse_cfg

MOMENTUM, DECAY = 0.9, 0.0005  # of every cfg of the family


@keras.saving.register_keras_serializable(package="yolov1")
class DarknetSGD(keras.optimizers.Optimizer):
    """Gradient descent with a momentum that does not contain the learning rate.

    With g the gradient of the mean loss of an image::

        m = momentum * m + g + decay * w        (decay: kernels only)
        w = w - learning_rate * m

    Darknet (``update_convolutional_layer`` and its like) keeps -B m for a batch of B images and
    multiplies it by the momentum after the step. `keras.optimizers.SGD` keeps the learning rate in
    its momentum: trajectories part after every change of the rate.

    Args:
        learning_rate: a number, or a schedule such as `DarknetSchedule`.
        momentum: in [0, 1).
        decay: of kernels, at least 0: biases and what scales or shifts in batch normalisation do
            not decay.
        **options: of `keras.optimizers.Optimizer` (clipping acts on g, without the decay).
    """

    def __init__(
        self, learning_rate=0.001, momentum=MOMENTUM, decay=DECAY, name="darknet_sgd", **options
    ):
        super().__init__(learning_rate=learning_rate, name=name, **options)
        if not 0 <= momentum < 1:
            raise ValueError(f"DarknetSGD: momentum must be in [0, 1), got {momentum!r}.")
        if not 0 <= decay < float("inf"):
            raise ValueError(f"DarknetSGD: decay must be finite and at least 0, got {decay!r}.")
        self.momentum, self.decay = float(momentum), float(decay)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.momenta = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        m = self.momenta[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        if self.decay and variable.name.endswith("kernel"):
            gradient = gradient + self.decay * variable
        self.assign(m, self.momentum * m + gradient)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * m)

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "decay": self.decay}


@keras.saving.register_keras_serializable(package="yolov1")
class DarknetSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates of a cfg's [net]: a table of `rules.rates`, so that each is Darknet's.

    Args:
        cfg: the text of the file.
        steps: of the whole training; from there on the last rate stays.
        start: batches that the network has seen before step 0.

    Raises:
        DarknetError: as `rules.rates`.
    """

    def __init__(self, cfg: str, steps: int, start: int = 0):
        self.cfg, self.steps, self.start = cfg, int(steps), int(start)
        self._rates = rules.rates(parse_cfg(cfg), self.steps, self.start)

    def __call__(self, step):
        table = ops.convert_to_tensor(self._rates)
        return ops.take(table, ops.clip(ops.cast(step, "int32"), 0, self.steps - 1))

    def get_config(self):
        return {"cfg": self.cfg, "steps": self.steps, "start": self.start}


def momentum_of(net) -> float:
    """The momentum of a section [net]."""
    return float(np.float32(net.get("momentum", MOMENTUM)))
