"""The training loop: one straight loop for one device, several GPUs and several machines.

Keras 3's ``fit`` cannot train under MultiWorkerMirroredStrategy and cannot resume exactly; this
loop does both, because step s is a function of (seed, s) and of the checkpoint alone.
"""

import contextlib
import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf

from yolov1 import data
from yolov1.files import make_folder
from yolov1.training import cfg_files, strategies
from yolov1.training.callbacks import MetricsFile, ProgressLine, TensorBoardScalars, event_file
from yolov1.training.capture import Capture
from yolov1.training.checkpoints import Checkpoints, Progress, build_model
from yolov1.training.clocks import CheckpointClock, Stopwatch
from yolov1.training.config import MONITORS, TrainConfig
from yolov1.training.optimizers import MovingAverage, build_optimizer
from yolov1.training.profile import Profile
from yolov1.training.run_directory import WrongRun
from yolov1.training.start import start_from_run
from yolov1.training.step import capturing, make_step
from yolov1.training.tasks import TASKS


class NonFiniteLoss(FloatingPointError):
    """The loss of an image was NaN or infinite."""


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


def train(config: TrainConfig, dataset, directory, *, evaluate=None, callbacks=()) -> State:
    """Trains on a data set and keeps ``metrics.csv``, ``checkpoints/`` and ``tensorboard/``.

    Args:
        config: the run's choices.
        dataset: a `yolov1.data.Dataset` of at least one example.
        directory: the `RunDirectory`; with ``config.resume`` its last checkpoint is gone on from.
        evaluate: function of the model giving ``{name: value}``, called every
            ``config.eval_every`` epochs with the averaged weights; its ``config.monitor`` decides
            which weights are the best.
        callbacks: further Keras callbacks; at the end of an epoch they see the averaged weights,
            and what they give to `tf.summary` goes into the run's file for TensorBoard.

    Returns:
        The final state.

    Raises:
        BadExampleError: an image cannot be read any more.
        NonFiniteLoss: names step, term and image; the last checkpoint is from before it.
        WorkloadError: ``config.capture`` names a file of something else, or no step of the run.
        WrongRun: ``config.backbone`` or ``config.init`` is a run that does not fit; the batch does
            not divide by replicas and subdivisions, or these do not go with batch statistics that
            the replicas share; ``config.profile`` names no step of the run.
        DarknetError: a cfg file that the configuration names is refused.
    """
    # 1. Devices, before anything else touches TensorFlow.
    strategy = strategies.resolve_strategy(config.strategy)
    worker, workers = strategies.worker(strategy)
    make_folder(directory.path)
    replicas, parts = strategy.num_replicas_in_sync, config.subdivisions
    if config.batch_size % (replicas * parts):
        times = f" times {parts} subdivisions" if parts > 1 else ""
        raise WrongRun(
            f"--batch_size must be a multiple of the {replicas} replicas{times}, got "
            f"{config.batch_size}."
        )
    # 2. Seed and precision, before the model.
    keras.utils.set_random_seed(config.seed)
    keras.mixed_precision.set_dtype_policy(config.precision)
    # 3. Model, optimizer and checkpoint.
    grid = config.grid(len(dataset.classes))
    epoch_ends = epoch_end_steps(len(dataset), config.batch_size, config.epochs)
    steps_per_epoch = max(1.0, len(dataset) / config.batch_size)
    state = build_state(config, grid, directory, strategy, steps_per_epoch)
    step = 0
    if config.resume:
        # A kill may have come between two workers' saves: all go on from what all have.
        step = strategies.smallest(strategy, state.checkpoints.newest())
    if step:
        state.checkpoints.restore_last(step)
    else:
        start_from_run(config, state, dataset.classes, say=print if worker == 0 else None)
    # 4. Data, from where the checkpoint stands.
    start = int(state.progress.step.numpy())
    capture = None
    if config.capture:
        capture = Capture(config, grid, start, epoch_ends[-1], writes=worker == 0)
    profile = Profile(config, directory / "tensorboard", start, epoch_ends[-1], writes=worker == 0)
    batches = data.training_batches(
        dataset,
        grid,
        config.batch_size,
        seed=config.seed,
        start_step=start,
        steps=epoch_ends[-1] - start,
        augmentation=cfg_files.augmentation(config, directory.path),
        on_collision=config.on_collision,
        shard=(worker, workers),
        cache=config.cache,
        cache_bytes=config.cache_bytes,
        say=print if worker == 0 else None,
    )
    # 5. Loop.
    # A row at the very step is written again where its epoch was interrupted before it was closed.
    first = start if int(state.progress.steps_in_sum.numpy()) else start + 1
    events = contextlib.nullcontext()
    if worker == 0:
        callbacks = [
            *callbacks,
            MetricsFile(directory, first, epoch_ends),
            TensorBoardScalars(),
            ProgressLine(epoch_ends, start),
        ]
        events = event_file(directory / "tensorboard", first)
    else:
        evaluate = None
    step = make_step(config, grid, state)
    if capture:
        step = capturing(config, grid, state, step, capture)
    with events:
        run_epochs(
            *(config, state, dataset, step, iter(batches), epoch_ends, profile),
            evaluate=evaluate,
            callbacks=callbacks,
        )
    return state


def epoch_end_steps(examples: int, batch_size: int, epochs: int) -> list[int]:
    """The number of steps done when each epoch ends.

    Batches run across epochs, so that every example is seen equally often and every batch is
    full; an epoch has at least one step.
    """
    return [max(e, round(e * examples / batch_size)) for e in range(1, epochs + 1)]


def build_state(config: TrainConfig, grid, directory, strategy, steps_per_epoch: float) -> State:
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
        optimizer = build_optimizer(config, steps_per_epoch, replicas, directory.path)
        optimizer.build(model.trainable_variables)
        average = MovingAverage(model, config.ema) if config.ema else None
        progress = Progress(len(TASKS[config.task].terms))
    worker, _ = strategies.worker(strategy)
    # Every worker must take part in saving; only the first one's files are kept.
    folder = directory / ("checkpoints" if worker == 0 else f"checkpoints/worker{worker}")
    checkpoints = Checkpoints(folder, model, optimizer, progress, average)
    return State(strategy, model, optimizer, average, progress, checkpoints)


def run_epochs(
    config, state, dataset, step, batches, epoch_ends, profile, *, evaluate=None, callbacks=()
):
    """Takes the steps that are left of a run, evaluates and saves as they go; ends with a
    checkpoint, also where Ctrl-C ends it. The arguments are what `train` makes of its own."""
    progress, model = state.progress, state.model
    model.stop_training = False
    hooks = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=config.epochs, steps=epoch_ends[0]
    )
    hooks.on_train_begin()
    clock, spent = CheckpointClock(state.checkpoints, config.checkpoint_minutes), Stopwatch()
    alone = strategies.worker(state.strategy)[1] == 1
    done = int(progress.step.numpy())
    try:
        for epoch in range(config.epochs):
            # An epoch whose steps are done but still in the sums was interrupted before its row.
            if epoch_ends[epoch] < done or (
                epoch_ends[epoch] == done and not int(progress.steps_in_sum.numpy())
            ):
                continue
            hooks.on_epoch_begin(epoch)
            while done < epoch_ends[epoch]:
                hooks.on_train_batch_begin(done)
                with profile.step(done), spent.of("training"):
                    logs = _one_step(config, state, dataset, step, batches, done)
                done += 1
                hooks.on_train_batch_end(done - 1, logs)
                # Workers' clocks differ: several save together, at the ends of epochs.
                if alone and done < epoch_ends[epoch]:
                    with spent.of("checkpoint"):
                        clock.save_if_due()
            last = epoch + 1 == config.epochs or model.stop_training
            logs = _epoch_logs(config, state)
            logs |= _regularization(model)
            due = last or (config.eval_every and (epoch + 1) % config.eval_every == 0)
            with state.averaged_weights():  # so that what a callback saves is what was measured
                if evaluate and due:
                    logs |= _evaluate(config, state, evaluate, spent)
                hooks.on_epoch_end(epoch, logs | spent.row())
            progress.end_epoch()
            with spent.of("checkpoint"):
                clock.save_if_due(always=last or model.stop_training or not alone)
            if model.stop_training:
                break
    except KeyboardInterrupt:
        state.checkpoints.save_last()
        raise
    finally:
        profile.close()
    hooks.on_train_end(spent.row())


def _evaluate(config, state, evaluate, spent) -> dict:
    """Measures the weights, and keeps them where they are the best so far."""
    with spent.of("evaluation"):
        measured = evaluate(state.model)
    sign = MONITORS[config.task][config.monitor]
    figure = measured.get(config.monitor, float("nan")) * sign
    if figure > state.progress.best.numpy():
        state.progress.best.assign(figure)
        with spent.of("checkpoint"):
            state.checkpoints.save_best()
    return measured


def _one_step(config, state, dataset, step, batches, number) -> dict:
    """Fetches a batch, takes a step, checks its loss; returns what the callbacks are told."""
    started = time.perf_counter()
    with data.reading(dataset):
        images, targets, indices = next(batches)
    fetched = time.perf_counter()
    replica_terms, mean, rate = step(*strategies.to_replicas(state.strategy, (images, targets)))
    local = state.strategy.experimental_local_results(replica_terms)
    terms = np.concatenate([part.numpy() for part in local])  # in the order of `indices`
    names = TASKS[config.task].terms
    if not np.isfinite(terms).all():
        _report_non_finite(dataset, names, terms, indices.numpy(), number)
    seconds = time.perf_counter() - started
    progress = state.progress
    progress.seconds.assign_add(seconds)
    progress.epoch_seconds.assign_add(seconds)
    progress.input_seconds.assign_add(fetched - started)
    mean = mean.numpy()
    return {
        "loss": float(mean.sum()),
        **dict(zip(names, map(float, mean), strict=True)),
        "learning_rate": float(rate.numpy()),
        "images_per_second": config.batch_size / seconds,
    }


def _report_non_finite(dataset, names, terms, indices, number):
    bad = np.argwhere(~np.isfinite(terms))
    named = ", ".join(
        f"{names[t]} of image {dataset[int(indices[i])].image_id!r} is {terms[i, t]}"
        for i, t in bad[:8]
    )
    more = f" (and {len(bad) - 8} more)" if len(bad) > 8 else ""
    raise NonFiniteLoss(
        f"The loss is not finite at step {number}: {named}{more}. The last checkpoint is from "
        "before this step. Usual causes: a learning rate that is too high, a warm-up that is too "
        "short, float16 overflow; --clip_norm=10 often helps."
    )


def _regularization(model) -> dict:
    """What the layers' own regularisers add to the loss; ``loss`` is without it."""
    losses = model.losses
    return {"regularization": float(sum(losses))} if losses else {}


def _epoch_logs(config, state) -> dict:
    progress = state.progress
    steps = int(progress.steps_in_sum.numpy())
    seconds = float(progress.epoch_seconds.numpy())
    input_seconds = float(progress.input_seconds.numpy())
    terms = progress.terms.numpy() / max(steps, 1)
    return {
        "step": int(progress.step.numpy()),
        "seconds": round(float(progress.seconds.numpy()), 3),
        "images_per_second": round(steps * config.batch_size / max(seconds, 1e-9), 2),
        "learning_rate": float(state.optimizer.learning_rate.numpy()),
        "loss": float(terms.sum()),
        **dict(zip(TASKS[config.task].terms, map(float, terms), strict=True)),
        "input_seconds": round(input_seconds, 3),
        "step_seconds": round(seconds - input_seconds, 3),
    }
