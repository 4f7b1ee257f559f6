"""The training loop: one straight loop for one device, several GPUs and several machines.

Keras 3's ``fit`` cannot train under MultiWorkerMirroredStrategy and cannot resume exactly; this
loop does both, because step s is a function of (seed, s) and of the checkpoint alone.
"""

import contextlib
import time

import keras
import numpy as np

from yolov1 import data
from yolov1.files import make_folder
from yolov1.interrupts import Interrupts, Wishes
from yolov1.training import strategies
from yolov1.training.callbacks import (
    MetricsFile,
    Patience,
    ProgressLine,
    TensorBoardScalars,
    event_file,
)
from yolov1.training.capture import Capture
from yolov1.training.clocks import CheckpointClock, Stopwatch, TimeLimit
from yolov1.training.config import TrainConfig
from yolov1.training.config_checks import MONITORS
from yolov1.training.digests import DigestsFile
from yolov1.training.forks import take_fork
from yolov1.training.nonfinite import NonFiniteLoss, leave_step, require_finite
from yolov1.training.profile import Profile
from yolov1.training.run_directory import WrongRun
from yolov1.training.start import start_from_run
from yolov1.training.state import State, batches_of, epoch_end_steps, new_state
from yolov1.training.step import capturing, make_step
from yolov1.training.strategies import Agreement
from yolov1.training.tasks import TASKS


def train(
    config: TrainConfig, dataset, directory, *, evaluate=None, callbacks=(), alike=None, saved=None
) -> State:
    """Trains on a data set and keeps ``metrics.csv``, ``checkpoints/`` and ``tensorboard/``.

    Args:
        config: the run's choices.
        dataset: a `yolov1.data.Dataset` of at least one example.
        directory: the `RunDirectory`; with ``config.resume`` its last checkpoint is gone on from,
            with ``config.fork`` that of another run.
        evaluate: function of the model giving ``{name: value}``, called every
            ``config.eval_every`` epochs with the averaged weights; its ``config.monitor`` decides
            which weights are the best.
        callbacks: further Keras callbacks; at the end of an epoch they see the averaged weights,
            and what they give to `tf.summary` goes into the run's file for TensorBoard.
        alike: what several workers must have alike, see `strategies.require_alike`.
        saved: function that is called after each checkpoint that the first worker writes.

    Returns:
        The final state.

    Raises:
        BadExampleError: an image cannot be read any more.
        NonFiniteLoss: names step, term and image, and a file to repeat the step with; the last
            checkpoint is from before it.
        WorkloadError: ``config.capture`` names a file of something else, or no step of the run.
        WrongRun: workers differ in what they must have alike; ``config.backbone``, ``config.init``
            or ``config.fork`` is a run that does not fit, or lacks the step; the batch does not
            divide by replicas and subdivisions, or these do not go with batch statistics that the
            replicas share; ``config.profile`` names no step of the run.
        DarknetError: a cfg file that the configuration names is refused.
    """
    # 1. Devices, before anything else touches TensorFlow.
    strategy = strategies.resolve_strategy(config.strategy)
    worker, workers = strategies.worker(strategy)
    strategies.require_alike(strategy, alike or {})
    make_folder(directory.path)
    # 2. Seed, precision, model and optimizer.
    grid = config.grid(len(dataset.classes))
    state = new_state(config, grid, len(dataset), directory, strategy)
    epoch_ends = epoch_end_steps(len(dataset), config.batch_size, config.epochs)
    if saved and worker == 0:
        state.checkpoints.saved = saved
    # 3. Checkpoint.
    step = 0
    if config.fork and not directory.has_checkpoint:
        if workers > 1:
            raise WrongRun(f"--fork={config.fork}: only one worker can go on from another run.")
        take_fork(config, directory)
    if config.resume or config.fork:
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
    batches = batches_of(
        *(config, dataset, directory, start, epoch_ends[-1]),
        shard=(worker, workers),
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
        if config.patience:
            sign = MONITORS[config.task][config.monitor]
            callbacks.append(Patience(directory, config.monitor, sign, config.patience))
        if config.digests:
            terms = TASKS[config.task].terms
            callbacks.append(DigestsFile(directory, config.digests, start, terms))
        events = event_file(directory / "tensorboard", first)
    else:
        evaluate = None
    step = make_step(config, grid, state)
    if capture:
        step = capturing(config, grid, state, step, capture)
    try:
        with events:
            run_epochs(
                *(config, state, dataset, step, iter(batches), epoch_ends, profile),
                evaluate=evaluate,
                callbacks=callbacks,
            )
    except NonFiniteLoss as error:
        if workers > 1:
            raise
        raise leave_step(error, config, dataset, directory) from None
    return state


def run_epochs(
    config, state, dataset, step, batches, epoch_ends, profile, *, evaluate=None, callbacks=()
):
    """Takes the steps that are left of a run, evaluates and saves as they go; ends with a
    checkpoint, also where Ctrl-C, SIGTERM or ``config.hours`` end it (see `Interrupts`). The
    arguments are what `train` makes of its own."""
    progress, model = state.progress, state.model
    model.stop_training = False
    hooks = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=config.epochs, steps=epoch_ends[0]
    )
    hooks.on_train_begin()
    spent, interrupts = Stopwatch(), Interrupts()
    # Of several workers the first one's clock says when all save.
    minutes = config.checkpoint_minutes if state.is_chief else float("inf")
    keep = config.keep_every, config.keep_hours
    clock = CheckpointClock(state.checkpoints, minutes, *keep, trained=progress.seconds)
    agreed = Wishes(interrupts, TimeLimit(config.hours, spent), Agreement(state.strategy))
    _, model.stop_training = agreed("training", model.stop_training)
    done = int(progress.step.numpy())
    # Steps that are done but still in the sums: their epoch was interrupted before its row.
    open_ended = int(progress.steps_in_sum.numpy()) > 0
    epochs = [e for e, end in enumerate(epoch_ends) if end > done or (end == done and open_ended)]
    with interrupts:
        try:
            for epoch in epochs:
                if model.stop_training:
                    break
                hooks.on_epoch_begin(epoch)
                while done < epoch_ends[epoch]:
                    hooks.on_train_batch_begin(done)
                    with profile.step(done), spent.of("training"):
                        logs = _one_step(config, state, dataset, step, batches, done)
                    done += 1
                    hooks.on_train_batch_end(done - 1, logs)
                    closes = done == epoch_ends[epoch]
                    due = closes and _is_evaluated(config, model, epoch)
                    stop, save = agreed("evaluation" if due else "training", clock.due)
                    if not closes:
                        with spent.of("checkpoint"):
                            clock.save(done, save and not stop)
                    if stop:
                        raise stop
                broken_off = _close_epoch(config, state, evaluate, spent, interrupts, hooks, epoch)
                last = epoch + 1 == config.epochs
                stop, broken_off, save, model.stop_training = agreed(
                    "training", broken_off, last or clock.due, model.stop_training
                )
                if broken_off:
                    raise stop
                progress.end_epoch()
                with spent.of("checkpoint"):
                    clock.save(done, (save or model.stop_training) and not stop)
                if stop:
                    raise stop
        except KeyboardInterrupt:
            if not interrupts.impatient:  # else it came where it may: the last checkpoint stands
                state.checkpoints.save_last()
            raise
        finally:
            profile.close()
    hooks.on_train_end(spent.row())


def _is_evaluated(config, model, epoch) -> bool:
    last = epoch + 1 == config.epochs or model.stop_training
    return bool(last or (config.eval_every and (epoch + 1) % config.eval_every == 0))


def _close_epoch(config, state, evaluate, spent, interrupts, hooks, epoch) -> bool:
    """Evaluates where it is time to, and writes what is known of an epoch. Gives whether that was
    broken off, where there are other workers to be told."""
    logs = _epoch_logs(config, state) | _regularization(state.model)
    with state.averaged_weights():  # so that what a callback saves is what was measured
        if evaluate and _is_evaluated(config, state.model, epoch):
            try:
                logs |= _evaluate(config, state, evaluate, spent, interrupts)
            except KeyboardInterrupt:
                if strategies.worker(state.strategy)[1] == 1 or interrupts.impatient:
                    raise
                return True
        hooks.on_epoch_end(epoch, logs | spent.row())
    return False


def _evaluate(config, state, evaluate, spent, interrupts) -> dict:
    """Measures the weights, and keeps them where they are the best so far."""
    with spent.of("evaluation"), interrupts.at_once():
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
        batch = next(batches)
    fetched = time.perf_counter()
    replica_terms, mean, rate = step(*strategies.to_replicas(state.strategy, batch[:2]))
    local = state.strategy.experimental_local_results(replica_terms)
    terms = np.concatenate([part.numpy() for part in local])  # in the order of the batch
    names = TASKS[config.task].terms
    require_finite(dataset, names, terms, batch, number)
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
