"""Optimizers by name, and which decay is whose."""

import keras
import tensorflow as tf

from yolov1.darknet.sgd import MOMENTUM, DarknetSchedule, DarknetSGD, decays
from yolov1.option_text import parse_rates
from yolov1.training import cfg_files
from yolov1.training.config import TrainConfig
from yolov1.training.schedules import WarmupSchedule, epoch_table

# Whose decay is not a part of the loss (`gradient_decay`).
DECAY_THEMSELVES = ("adamw", "darknet")


def build_optimizer(
    config: TrainConfig, steps_per_epoch: float, replicas: int = 1, folder=None
) -> keras.optimizers.Optimizer:
    """The optimizer of a run, to be given gradients by `reduced`.

    Args:
        config: the run's choices.
        steps_per_epoch: may be a fraction.
        replicas: devices that share a step.
        folder: of the run, with the cfg file that ``schedule`` may name.

    ``sgd`` has momentum 0.9, the paper's. Its decay, and Adam's, is not set here: the loop adds
    it to the gradient (`gradient_decay`), because Keras' ``weight_decay`` is decoupled, which at
    momentum 0.9 is ten times weaker than what Darknet does with the same number.

    Raises:
        DarknetError: a cfg file that is refused, or says no rate for some step.
        OSError: it cannot be read.
    """
    common = {
        "learning_rate": _learning_rate(config, steps_per_epoch, folder),
        "global_clipnorm": config.clip_norm / replicas or None,
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, **common)
    elif config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(**common)
    elif config.optimizer == "darknet":
        cfg = cfg_files.read(config.schedule, folder)
        momentum = cfg.net.get("momentum", MOMENTUM) if cfg else MOMENTUM
        optimizer = DarknetSGD(momentum=momentum, decay=config.weight_decay, **common)
    else:
        optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **common)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def reschedule(optimizer, config: TrainConfig, steps_per_epoch: float, folder=None):
    """Gives an optimizer of `build_optimizer` the learning rates of a configuration with other
    epochs: what resuming with them does."""
    optimizer.learning_rate = _learning_rate(config, steps_per_epoch, folder)


def _learning_rate(config: TrainConfig, steps_per_epoch: float, folder):
    if config.learning_rates:
        return epoch_table(parse_rates(config.learning_rates), steps_per_epoch)
    steps = max(config.epochs, round(steps_per_epoch * config.epochs))
    cfg = cfg_files.read(config.schedule, folder)
    if cfg:
        return DarknetSchedule(cfg.text(), steps, config.seen // config.batch_size)
    warmup = min(round(steps_per_epoch * config.warmup_epochs), steps - 1)
    return WarmupSchedule(config.schedule, config.learning_rate, steps, warmup)


def reduced(gradients: list, replicas: int) -> list:
    """Each replica's share of the whole gradient, the same share on every replica.

    Keras clips (and looks for overflow) before it sums over the replicas, which would clip every
    replica's own gradient by itself. With equal shares, and the limit divided by the replicas
    (`build_optimizer`), what it then sums up is the clipped whole.
    """
    if replicas == 1:
        return gradients
    context = tf.distribute.get_replica_context()
    return [g / replicas for g in context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)]


def decayed_kernels(model: keras.Model) -> list:
    """What decay acts on: kernels, as in Darknet; no bias, no batch normalisation."""
    return [v for v in model.trainable_variables if decays(v)]


def gradient_decay(config: TrainConfig, model: keras.Model):
    """A function giving ``decay / 2 * sum |kernel|^2``, whose gradient is ``decay * kernel``.

    Zero for those that decay by themselves.
    """
    kernels = decayed_kernels(model)
    if config.optimizer in DECAY_THEMSELVES or not config.weight_decay:
        return lambda: 0.0
    return lambda: (
        config.weight_decay
        * tf.reduce_sum([tf.nn.l2_loss(tf.cast(kernel, tf.float32)) for kernel in kernels])
    )


class MovingAverage:
    """Exponential moving average of all weights, those of batch normalisation included.

    Keras' own option averages the trainable weights only; batch statistics of other weights
    would then go with them. The decay starts low, ``(1 + step) / (10 + step)``, so that the
    random start is forgotten.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.weights = [v.value for v in model.weights if v.dtype == "float32"]
        self.decay = decay
        # Every replica moves its own copy of the same numbers: no communication.
        self.averages = [
            tf.Variable(
                w,
                trainable=False,
                name="average",
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for w in self.weights
        ]

    def reset(self):
        """Makes the averages the weights as they are."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign(weight)

    def update(self, step):
        """Moves the averages; to be called inside the step's graph."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign_add((1 - decay) * (weight - average))

    def swap(self):
        """Exchanges weights and averages; a second call restores both."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            kept = average.numpy()
            average.assign(weight)
            weight.assign(kept)
