"""All that a step changes, how a run builds it, and the batches of its steps."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from yolov1 import data
from yolov1.training import cfg_files, strategies
from yolov1.training.checkpoints import Checkpoints, Progress, build_model
from yolov1.training.config import TrainConfig
from yolov1.training.config_checks import MONITORS
from yolov1.training.optimizers import MovingAverage, build_optimizer
from yolov1.training.run_directory import WrongRun
from yolov1.training.tasks import TASKS


@dataclasses.dataclass
class State:
    """All that a step changes, and what changes it."""

    strategy: tf.distribute.Strategy
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    average: MovingAverage | None
    progress: Progress
    checkpoints: Checkpoints

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes the results."""
        return strategies.worker(self.strategy)[0] == 0

    def best(self, config: TrainConfig) -> dict:
        """``{"best_map_voc07": figure}`` or the like; None where nothing was evaluated."""
        figure = float(self.progress.best.numpy()) * MONITORS[config.task][config.monitor]
        return {f"best_{config.monitor}": figure if np.isfinite(figure) else None}

    @contextlib.contextmanager
    def averaged_weights(self):
        """Inside, the model has the moving average of its weights, where there is one."""
        if self.average is None:
            yield self.model
            return
        self.average.swap()
        try:
            yield self.model
        finally:
            self.average.swap()


def epoch_end_steps(examples: int, batch_size: int, epochs: int) -> list[int]:
    """The number of steps done when each epoch ends.

    Batches run across epochs, so that every example is seen equally often and every batch is
    full; an epoch has at least one step.
    """
    return [max(e, round(e * examples / batch_size)) for e in range(1, epochs + 1)]


def new_state(config: TrainConfig, grid, images: int, directory, strategy) -> State:
    """The state before the first step of a run over so many images, of the seed alone; sets Keras'
    seed and precision.

    Raises:
        WrongRun: the batch does not divide by replicas and subdivisions; or as `build_state`.
    """
    replicas, parts = strategy.num_replicas_in_sync, config.subdivisions
    if config.batch_size % (replicas * parts):
        times = f" times {parts} subdivisions" if parts > 1 else ""
        raise WrongRun(
            f"--batch_size must be a multiple of the {replicas} replicas{times}, got "
            f"{config.batch_size}."
        )
    # Before the model.
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(config.precision)
    return build_state(config, grid, directory, strategy, steps_per_epoch(config, images))


def steps_per_epoch(config: TrainConfig, images: int) -> float:
    """As the schedules of learning rates count them: at least one, and maybe a fraction."""
    return max(1.0, images / config.batch_size)


def build_state(config: TrainConfig, grid, directory, strategy, epoch_steps: float) -> State:
    """As `new_state`, of an epoch of so many steps; Keras' seed and precision are as they are.

    Raises:
        WrongRun: as `build_model`; or replicas would share batch statistics of parts of a batch.
        DarknetError, OSError: as `build_optimizer`.
    """
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = build_model(config, grid, folder=directory.path)
        shared = [layer.name for layer in model.layers if getattr(layer, "synchronized", False)]
        if shared and replicas > 1 and config.subdivisions > 1:
            raise WrongRun(
                f"--subdivisions={config.subdivisions}: the {replicas} replicas cannot share batch "
                f"statistics ({shared[0]} is synchronized) of parts of a batch. Give "
                "--subdivisions=1, or leave synchronized=true out of --model_options."
            )
        optimizer = build_optimizer(config, epoch_steps, replicas, directory.path)
        optimizer.build(model.trainable_variables)
        average = MovingAverage(model, config.ema) if config.ema else None
        progress = Progress(len(TASKS[config.task].terms))
    worker, _ = strategies.worker(strategy)
    # Every worker must take part in saving; only the first one's files are kept.
    folder = directory / ("checkpoints" if worker == 0 else f"checkpoints/worker{worker}")
    first = directory / "checkpoints" if worker else None
    checkpoints = Checkpoints(folder, model, optimizer, progress, average, first, config.keep_last)
    return State(strategy, model, optimizer, average, progress, checkpoints)


def batches_of(
    config: TrainConfig, dataset, directory, start: int, end: int, *, shard=(0, 1), say=None
):
    """The batches of the steps from `start` until `end`, as `data.training_batches` has them.

    Raises:
        BadExampleError: an image that is to be kept cannot be read.
        DarknetError, OSError: as `cfg_files.augmentation`.
    """
    return data.training_batches(
        dataset,
        config.grid(len(dataset.classes)),
        config.batch_size,
        seed=config.seed,
        start_step=start,
        steps=end - start,
        augmentation=cfg_files.augmentation(config, directory.path),
        on_collision=config.on_collision,
        neighbours=config.neighbours,
        shard=shard,
        cache=config.cache,
        cache_bytes=config.cache_bytes,
        say=say,
    )
