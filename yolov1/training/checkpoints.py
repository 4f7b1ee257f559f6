"""What a checkpoint holds, so that a resumed run ends with the same bits; and loading a run."""

from pathlib import Path

import keras
import tensorflow as tf

from yolov1.option_text import parse_options
from yolov1.training import cfg_files
from yolov1.training.checkpoint_files import CheckpointFiles
from yolov1.training.config import DARKNET, TrainConfig
from yolov1.training.optimizers import MovingAverage
from yolov1.training.run_directory import RunDirectory, WrongRun
from yolov1.training.tasks import TASKS


class Progress(tf.Module):
    """Where a run stands: variables, moved by the step itself, so that they never disagree with
    the weights, wherever the program is interrupted."""

    def __init__(self, terms: int):
        super().__init__()
        self.step = _counter(tf.int64)
        # Sums over the steps of the current epoch, for its row of metrics.csv.
        self.terms = _counter(tf.float64, shape=(terms,))
        self.steps_in_sum = _counter(tf.int64)
        self.seconds = _counter(tf.float64)  # of training, resumed parts included
        self.epoch_seconds = _counter(tf.float64)
        self.input_seconds = _counter(tf.float64)
        # The best figure of the evaluations so far; the higher, the better.
        self.best = tf.Variable(float("-inf"), dtype=tf.float64, trainable=False)

    def end_epoch(self):
        """Empties the sums of the epoch."""
        for total in (self.terms, self.steps_in_sum, self.epoch_seconds, self.input_seconds):
            total.assign(tf.zeros_like(total))


def _counter(dtype, shape=()):
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


class Checkpoints:
    """The last state of a run, those that are kept and its best weights, under ``checkpoints/``.

    ``last`` and ``kept`` hold everything: weights, optimizer, moving average, the state of
    dropout's random generators (which no Keras format saves) and `Progress`. ``best`` holds the
    weights alone.

    Args:
        first: the folder of the first worker, for the others: where it is theirs as well (shared
            storage), they go on from what is there, also where they are new.
        keep: how many of ``last`` stay.

    Attributes:
        saved: function that is called after each save.
    """

    def __init__(self, directory, model, optimizer, progress, average=None, first=None, keep=2):
        seeds = [v.value for v in model.non_trainable_variables if "seed_generator" in v.path]
        state = tf.train.Checkpoint(
            model=model, optimizer=optimizer, progress=progress, seeds=seeds
        )
        if average is not None:
            state.averages = average.averages
        directory = Path(directory)
        self._state, self._weights = state, tf.train.Checkpoint(model=model)
        self._last = CheckpointFiles(directory / "last", keep=keep)
        self._sources = [self._last]  # of what is gone on from
        if first:
            self._sources.append(CheckpointFiles(Path(first) / "last", keep=0))
        self._kept = CheckpointFiles(directory / "kept", keep=0)
        self._best = CheckpointFiles(directory / "best", keep=1)
        self._progress, self.saved = progress, lambda: None

    def save_last(self):
        self._last.save(self._state, int(self._progress.step.numpy()))
        self.saved()

    def save_kept(self):
        """As `save_last`; and the checkpoint stays when there are later ones."""
        step = int(self._progress.step.numpy())
        self._kept.save(self._state, step)  # first: a kill in between takes both back
        self._last.take(self._kept, step)
        self.saved()

    def save_best(self):
        self._best.save(self._weights, int(self._progress.step.numpy()))
        self.saved()

    def newest(self) -> int:
        """The newest step whose state is whole (a warning names newer ones that are damaged); 0
        where none was saved yet, -1 where none is whole."""
        steps = [files.newest_whole() for files in self._sources]
        none = -any(files.has_any() for files in self._sources)
        return max((step for step in steps if step is not None), default=none)

    def restore_last(self, step: int):
        """Restores the state of a step; it must fit the model exactly.

        Args:
            step: the smallest of all workers' `newest`, where that is not 0.

        Raises:
            WrongRun: it is not there, is damaged, or does not fit.
        """
        there = [files for files in self._sources if step in files.steps()]
        faults = [files.damage(step) for files in there]
        if step < 0 or (faults and all(faults)):
            fault = faults[0] if faults else self._last.all_damaged()
            raise WrongRun(
                f"--resume: {fault}. Put a copy of the checkpoints in their place, or start a new "
                "--output_dir."
            )
        if not there:
            raise WrongRun(
                f"--resume: the workers' checkpoints have no step in common (step {step} is the "
                f"newest that all could have, this worker has {self._last.steps()}). Copy one "
                "worker's checkpoints/ over the others', or start anew."
            )
        self._restore(there[faults.index(None)], step, "--resume: ")
        self._kept.drop_after(step)  # what follows is done again
        if not self._best.steps():  # of a fork, whose origin found better ones later
            self._progress.best.assign(float("-inf"))

    def steps(self) -> list[int]:
        """The steps whose whole state is in ``kept`` or ``last``, in order, damaged or not."""
        return sorted({*self._kept.steps(), *self._last.steps()})

    def restore(self, step: int):
        """Restores the state of one of `steps`, to look at: no file is touched.

        Raises:
            WrongRun: it is damaged, or does not fit.
        """
        files = self._kept if step in self._kept.steps() else self._last
        fault = files.damage(step)
        if fault:
            raise WrongRun(f"{fault}.")
        self._restore(files, step)

    def _restore(self, files, step, about=""):
        try:
            with files.restoring(self._state, step) as status:
                status.assert_consumed()
        except (AssertionError, ValueError) as error:
            raise WrongRun(
                f"{about}the checkpoint of step {step} in {files.folder} does not fit the run's "
                "configuration. Was config.json changed, or is it of another version of this "
                "program?"
            ) from error


def save_weights(run: RunDirectory, model):
    """Writes weights that were not trained here as the run's checkpoint of step 0."""
    files = CheckpointFiles(run / "checkpoints" / "last", keep=1)
    files.save(tf.train.Checkpoint(model=model), 0)


def require_task(config: TrainConfig, task: str, path):
    """Raises `WrongRun` where the run at `path` with this configuration is of another task."""
    if config.task != task:
        raise WrongRun(
            f"{path} is a run of the task {config.task!r}, expected {task!r}. {WRONG_TASK[task]}"
        )


def require_start(config: TrainConfig):
    """Raises `WrongRun` where ``config.backbone`` is no classifier of the network to be trained, or
    ``config.init`` no run of it."""
    flag, path = ("backbone", config.backbone) if config.backbone else ("init", config.init)
    if not path:
        return
    other, _, _ = RunDirectory(path).read_config()
    if config.backbone:
        require_task(other, "classify", path)
    elif other.task == "detect":
        require_task(other, config.task, path)
    of_files = other.model.startswith(DARKNET) and config.model.startswith(DARKNET)
    if other.model != config.model and not of_files:
        train = "train" if other.task == "detect" else "pretrain"
        raise WrongRun(
            f"--{flag}={path} was {train}ed for --model={other.model}, expected "
            f"{config.model}: networks differ in strides and padding even where the shapes of "
            f"their weights agree. {train.capitalize()} --model={config.model}, or train "
            f"--model={other.model}."
        )


WRONG_TASK = {
    "detect": "A pretrained classifier finds no boxes; start a detector from it with --backbone.",
    "classify": "Pretrain one with experiments.pretrain.",
}


def build_model(config: TrainConfig, grid, *, folder=None, restored: bool = False) -> keras.Model:
    """The model of a configuration, as training and loading both build it.

    Args:
        folder: of the run, with the cfg file that ``model`` may name.
        restored: its weights will be restored, so pretrained ones need not be fetched.

    Raises:
        WrongRun: the network refuses its options or the grid, or has no weights to start from.
    """
    name, options = config.model, parse_options(config.model_options)
    cfg = cfg_files.path_of(name, folder)
    if cfg:
        name = f"{DARKNET}{cfg}"
    else:
        options = {"activations": config.activations} | options
    if restored and "weights" in options:
        options["weights"] = None
    try:
        return TASKS[config.task].build(name, grid=grid, **options)
    except (ValueError, RuntimeError, OSError) as error:
        raise WrongRun(f"--model={config.model}: {error}") from error


def load_run(path, which: str = "last", *, task: str = "detect"):
    """A run directory's model with its trained weights (their moving average, where it has one).

    Args:
        path: the run directory.
        which: ``last``: what the run's summary was measured with; or ``best``: the weights with
            the best ``--monitor`` seen while training on the evaluation split. (Figures reported
            for ``best`` on that same split are optimistic: it was chosen by them.)
        task: what the network must have learnt, see `TrainConfig`.

    Returns:
        ``(model, run)``: the model, and a `LoadedRun` with ``config``, ``grid``, ``classes`` and
        ``semantics``.

    A damaged checkpoint is named in a warning, and the one before it taken.

    Raises:
        FileNotFoundError: no run, or no such checkpoint in it yet.
        WrongRun: a run of another task, no checkpoint that is whole, or one that does not fit the
            configuration.
        ValueError: another `which`.
    """
    if which not in ("best", "last"):
        raise ValueError(f"load_run: which must be 'best' or 'last', got {which!r}.")
    directory = RunDirectory(path)
    config, grid, classes = directory.read_config()
    require_task(config, task, directory.path)
    files = CheckpointFiles(directory / "checkpoints" / which, keep=1)
    step = files.newest_whole()
    if step is None and files.has_any():
        other = " --which=last takes the weights of the end." if which == "best" else ""
        raise WrongRun(f"{files.all_damaged()}.{other}")
    if step is None:
        raise FileNotFoundError(
            f"{directory.path} holds no checkpoint {which!r} yet; it is written after the first "
            + ("--checkpoint_minutes." if which == "last" else "evaluation (--eval_every).")
        )
    model = build_model(config, grid, folder=directory.path, restored=True)
    average = MovingAverage(model, config.ema) if config.ema and which == "last" else None
    state = tf.train.Checkpoint(model=model)
    if average is not None:
        state.averages = average.averages
    try:
        with files.restoring(state, step) as status:
            status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise WrongRun(
            f"load_run: the checkpoint of step {step} in {files.folder} does not fit the "
            f"{config.model!r} network that {directory.path}/config.json describes. Was one of "
            "them changed?"
        ) from error
    if average is not None:
        average.swap()
    return model, LoadedRun(config, grid, classes)


class LoadedRun:
    """What the weights of a run mean."""

    def __init__(self, config: TrainConfig, grid, classes):
        self.config, self.grid, self.classes = config, grid, classes
        self.semantics = config.loss_semantics()
