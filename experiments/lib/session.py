"""A training from its configuration to its report: what every experiment that trains does."""

import contextlib
import functools
import json
import shlex

import keras
import tensorflow as tf
from absl import app

from yolov1 import data, interrupts, models, reporting, tracking, training
from yolov1.revision import digest_of_package, git_revision
from yolov1.tracking.tensorboard import TensorBoard
from yolov1.training.content import digest

from . import common, evaluators, watching
from . import flags as experiment_flags


class Measure:
    """Measures a model on the evaluation set, as often as asked.

    Attributes:
        evaluator: what measured last (see `evaluators`): its detections are of that time. None
            before the first time.
        predictions: None; or an observer's list, which has the predictions ``[n, S, S, D]`` of each
            batch of the last time until that empties it.
        train_set, eval_set, grid: what the run has.
    """

    def __init__(self, config, train_set, eval_set, grid):
        self.train_set, self.eval_set, self.grid = train_set, eval_set, grid
        self._arguments = eval_set, grid, config
        self._make = evaluators.EVALUATORS[config.task]
        self._evaluators = {}  # one per model: tracing a network again costs seconds
        self.evaluator = self.predictions = None

    def __call__(self, model) -> dict:
        if id(model) not in self._evaluators:
            self._evaluators[id(model)] = self._make(model, *self._arguments)
        self.evaluator = self._evaluators[id(model)]
        with data.reading(self.eval_set):
            if self.predictions is None:
                return self.evaluator()
            self.predictions.clear()
            return self.evaluator(self.predictions)


# Functions of (config, run directory, `Measure`) that give a Keras callback, or None where the
# configuration asks for none. At the end of an epoch that was measured its logs have ``map_area``
# or ``accuracy`` and the ``step``, and `Measure.evaluator` has what was found.
OBSERVERS = (TensorBoard, watching.observer)


def open_sets(config):
    """The training set and the evaluation set of a configuration."""
    train_set = common.open_split(config, config.train_split)
    return train_set, common.open_split(config, config.eval_split, classes=train_set.classes)


def train(config, module: str, *, open_sets=open_sets, callbacks=None, given=None, recipe=None):
    """Trains, evaluates and writes the run directory.

    Args:
        config: `TrainConfig`.
        module: of the experiment, for the command that goes on after an interruption.
        open_sets: function of the configuration giving training set and evaluation set.
        callbacks: function of the run directory giving further Keras callbacks.
        given: field of the configuration -> the flag that determines it, where that is not its
            own; a resumed run must agree.
        recipe: the name of the one that the configuration is from, for config.json.

    Returns:
        (run directory, its summary); the summary is None on workers that do not write.

    Raises:
        app.UsageError: flags that do not go together.
        UserError: data that they do not go with; a resumed run that would become another.
    """
    with experiment_flags.user_errors():
        worker, workers = training.cluster_task(config.strategy)
        # A wrong name or option is refused before anything is written.
        models.check_options(config.model, training.parse_options(config.model_options))
        tracking.check(config.track)
        storage = training.Storage(config.storage) if config.storage else None
    if workers > 1 and not config.output_dir:
        raise app.UsageError("--output_dir must be given when several workers train together.")
    if storage:
        fetch(storage, config)
    begun = config.resume and training.RunDirectory(config.output_dir).has_checkpoint
    if config.fork and not begun:
        config = experiment_flags.forked_config(config, given)
    run = training.RunDirectory.for_config(config)
    # Worker 0 alone writes; the others only look.
    resumed = run.create(config.resume) if worker == 0 else config.resume and run.has_checkpoint
    if resumed:
        config = experiment_flags.resumed_config(run, config, given)
    if not config.dataset:
        raise app.UsageError(f"--dataset is missing; see python -m {module} --help.")
    if not resumed and not config.fork:
        training.require_start(config)

    # ------------------------------------------------------------------ data
    with common.of_a_run(run.path) if resumed else contextlib.nullcontext():
        train_set, eval_set = open_sets(config)
    if config.task == "classify":
        common.require_labels(train_set, eval_set)
    common.warn_of_overlap(train_set, eval_set)
    watching.places(config, train_set, eval_set)  # images that are not there are refused now
    grid = config.grid(len(train_set.classes))
    if resumed:
        require_epochs("resume", run, run.steps, config, len(train_set))
    else:
        if config.fork:
            path, step = config.forked_from()
            require_epochs("fork", training.RunDirectory(path), step, config, len(train_set))
        with experiment_flags.user_errors():
            training.cfg_files.require_classes(config, train_set.classes)
            config = training.cfg_files.keep_copies(config, run.path)
    content = None
    if worker == 0 or workers > 1:
        sets = {"train": train_set, "eval": eval_set}
        content = {name: fingerprint(config, dataset) for name, dataset in sets.items()}
    if worker == 0:
        write_description(run, config, grid, train_set, eval_set, content, recipe)
    with experiment_flags.user_errors():
        tracked = tracking.start(config.track if worker == 0 else "", run)
    with tracked as tracker:
        more = [*(callbacks(run) if callbacks else ()), tracker]
        alike = of_workers(config, content) if workers > 1 else {}
        copy = functools.partial(send, storage, run) if storage else None
        summary = _train(config, module, run, train_set, eval_set, more, alike, copy)
    if storage and worker == 0:
        storage.send(run)
        print(f"copied:   {storage.uri}")
    return run, summary


def fetch(storage, config):
    """Brings a run here that has got further in its storage.

    Raises:
        FileExistsError: there is one, which is not to be resumed.
    """
    storage.require_free(config.resume)
    if config.resume and (step := storage.fetch(training.RunDirectory(config.output_dir))):
        print(f"fetched the run of step {step} from {storage.uri}", flush=True)


def send(storage, run):
    """Copies a run to its storage while it trains; that must not end it, whatever fails."""
    try:
        storage.send(run)
    except Exception as error:  # each store has its own
        print(
            f"warning: the checkpoint of step {run.steps} is not in {storage.uri}: {error}. The "
            "next one will be tried.",
            flush=True,
        )


def of_workers(config, content) -> dict[str, str]:
    """What workers must have alike to train together: see `training.train`."""
    fields = config.to_dict()
    same = {name: fields[name] for name in fields if name not in experiment_flags.MAY_CHANGE}
    return {
        "the program": f"{git_revision()}, {digest_of_package()}",
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "the configuration": json.dumps(same | {"epochs": config.epochs}),
        "the data": digest(json.dumps(content).encode()),
    }


def _train(config, module, run, train_set, eval_set, callbacks, alike, saved):
    """From what is described to the report; gives the summary, None on workers that write none."""
    # ------------------------------------------------------------------ train
    grid = config.grid(len(train_set.classes))
    measure = Measure(config, train_set, eval_set, grid)
    observers = [make(config, run, measure) for make in OBSERVERS]
    try:
        state = training.train(
            config,
            train_set,
            run,
            evaluate=lambda model: evaluators.headline(measure(model)),
            callbacks=[*filter(None, [*callbacks, *observers])],
            alike=alike,
            saved=saved,
        )
    except KeyboardInterrupt as stop:
        where = shlex.quote(f"--output_dir={run.path}")
        said = interrupts.said(stop)
        print(f"\n{said}. Go on with: python -m {module} {where} --resume", flush=True)
        raise SystemExit(interrupts.exit_status(stop)) from None
    if not state.is_chief:
        return None

    # ------------------------------------------------------------------ evaluate
    with state.averaged_weights() as model:
        measured = measure(model) | measure.evaluator.shortcomings()
        model.save(run / "model.keras")
    seconds = float(state.progress.seconds.numpy())
    summary = evaluators.write_evaluation(
        run,
        measured,
        detection_seconds=measured["seconds"],
        detection_images_per_second=measured["images_per_second"],
        # Of the training, which is what this experiment is about.
        seconds=seconds,
        images_per_second=int(state.progress.step.numpy()) * config.batch_size / seconds,
        parameters=int(model.count_params()),
        epochs=config.epochs,
        **state.best(config),
    )
    # Last, so that nothing that draws can lose what was measured.
    measure.evaluator.write_pictures(run / "pictures", measured)
    report = run / "report.html"
    with common.drawing(report):
        reporting.write_report(run.path)

    common.print_skipped(train_set, eval_set)
    evaluators.print_evaluation(summary)
    print(f"training took {seconds:.0f} s, {summary['images_per_second']:.1f} images/s")
    print(f"results:  {run / 'summary.json'}")
    if (run / "pictures").exists():  # a classifier draws none
        print(f"pictures: {run / 'pictures'}")
    if report.exists():
        print(f"report:   {report}")
    return summary


def require_epochs(flag, run, steps, config, images: int):
    """Raises `UserError` where a run has got further than its configuration says it shall."""
    ends = training.epoch_end_steps(images, config.batch_size, config.epochs)
    if steps > ends[-1]:
        raise experiment_flags.UserError(
            f"--{flag}: {run.path} has done {steps} steps, and --epochs={config.epochs} would "
            f"be {ends[-1]}. Give more --epochs; what is done is not undone."
        )


def write_description(run, config, grid, train_set, eval_set, content, recipe=None):
    """What goes into the run: config.json, dataset.json, and content.json to know the data by.

    Raises:
        UserError: a resumed run would see other data than it started with.
    """
    sides = sorted({7, 9, 11, 14, grid.S})
    sets = {"train": train_set, "eval": eval_set}
    found = {
        name: data.statistics(dataset, sides=sides, image_size=grid.image_size)
        for name, dataset in sets.items()
    }
    more = {"recipe": recipe} if recipe else {}
    if config.resume and run.has_checkpoint:
        require_same_data("resume", run, content, found)
    elif config.fork:
        origin = training.RunDirectory(config.forked_from()[0])
        require_same_data("fork", origin, content, found)
        more |= {"forked": training.describe_fork(config, run.path)}
    skipped = list(dict.fromkeys(map(tuple, (*train_set.skipped, *eval_set.skipped))))
    run.write_config(config, grid, train_set.classes, skipped=skipped, **more)
    training.write_json(run / "dataset.json", found)
    training.write_json(run / "content.json", content)


def fingerprint(config, dataset) -> dict:
    """What content.json has of a split of a configuration's data set."""
    # Shapes are drawn from these, by the floating point of the machine.
    drawn = f"{config.seed} {config.image_size}" if config.dataset.startswith("shapes") else ""
    return training.fingerprint(dataset, drawn)


def require_same_data(flag, run, content, found):
    """Raises `UserError` where a run's data is not what it started with, and says how it differs.

    Args:
        flag: that goes on with it.
        run: the `RunDirectory` that says what it started with.
        content: the fingerprints of both sets by name.
        found: their statistics, for runs of earlier versions, which have no fingerprints.
    """
    before = run.read_json("content.json")
    if before:
        changes = {name: training.difference(before[name], content[name]) for name in content}
    else:
        print(
            f"remark: {run.path} holds no content.json, so that only the counts of its data are "
            "compared with those it started with."
        )
        before = run.read_json("dataset.json")
        changes = {
            name: "; ".join(
                f"{what} were {old[what]}, are {found[name][what]}"
                for what in ("images", "boxes", "classes")
                if old[what] != found[name][what]
            )
            for name, old in before.items()
        }
    for name, change in changes.items():
        if change:
            raise experiment_flags.UserError(
                f"--{flag}: the {name} data is not what the run started with: {change}. Give the "
                "same data, or start a new --output_dir."
            )
