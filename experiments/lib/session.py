"""A training from its configuration to its report: what every experiment that trains does."""

import json
import shlex

from absl import app

from experiments.lib import common, evaluators
from experiments.lib import flags as experiment_flags
from yolov1 import data, models, reporting, training


def open_sets(config):
    """The training set and the evaluation set of a configuration."""
    train_set = common.open_split(config, config.train_split)
    return train_set, common.open_split(config, config.eval_split, classes=train_set.classes)


def train(config, module: str, *, open_sets=open_sets, callbacks=None, given=None):
    """Trains, evaluates and writes the run directory.

    Args:
        config: `TrainConfig`.
        module: of the experiment, for the command that goes on after an interruption.
        open_sets: function of the configuration giving training set and evaluation set.
        callbacks: function of the run directory giving further Keras callbacks.
        given: field of the configuration -> the flag that determines it, where that is not its
            own; a resumed run must agree.

    Returns:
        (run directory, its summary); the summary is None on workers that do not write.

    Raises:
        app.UsageError: flags that do not go together, or with the data.
    """
    with common.usage_errors():
        worker, workers = training.cluster_task(config.strategy)
        # A wrong name or option is refused before anything is written.
        models.check_options(config.model, training.parse_options(config.model_options))
    if workers > 1 and not config.output_dir:
        raise app.UsageError("--output_dir must be given when several workers train together.")
    run = training.RunDirectory.for_config(config)
    # Worker 0 alone writes; the others only look.
    if run.create(config.resume) if worker == 0 else config.resume and run.has_checkpoint:
        config = experiment_flags.resumed_config(run, config, given)
    if not config.dataset:
        raise app.UsageError(f"--dataset is missing; see python -m {module} --help.")
    if config.backbone and not (config.resume and run.has_checkpoint):
        training.require_backbone(config)

    # ------------------------------------------------------------------ data
    train_set, eval_set = open_sets(config)
    if config.task == "classify":
        common.require_labels(train_set, eval_set)
    common.warn_of_overlap(train_set, eval_set)
    grid = config.grid(len(train_set.classes))
    if worker == 0:
        write_description(run, config, grid, train_set, eval_set)

    # ------------------------------------------------------------------ train
    measures = {}  # one per model: tracing a network again costs seconds

    def measure(model):
        if id(model) not in measures:
            evaluator = evaluators.EVALUATORS[config.task]
            measures[id(model)] = evaluator(model, eval_set, grid, config)
        return measures[id(model)]()

    try:
        state = training.train(
            config,
            train_set,
            run,
            evaluate=lambda model: evaluators.headline(measure(model)),
            callbacks=callbacks(run) if callbacks else (),
        )
    except KeyboardInterrupt:
        where = shlex.quote(f"--output_dir={run.path}")
        print(f"\nInterrupted. Go on with: python -m {module} {where} --resume")
        raise SystemExit(130) from None
    if not state.is_chief:
        return run, None

    # ------------------------------------------------------------------ evaluate
    with state.averaged_weights() as model:
        measured = measure(model)
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
    measures[id(model)].write_pictures(run / "pictures")
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
    return run, summary


def write_description(run, config, grid, train_set, eval_set):
    """What goes into the run: config.json and dataset.json.

    Raises:
        app.UsageError: a resumed run would see other data than it started with.
    """
    sides = sorted({7, 9, 11, 14, grid.S})
    found = {
        name: data.statistics(dataset, sides=sides, image_size=grid.image_size)
        for name, dataset in (("train", train_set), ("eval", eval_set))
    }
    path = run / "dataset.json"
    if config.resume and path.exists():
        before = json.loads(path.read_text())["train"]
        for what in ("images", "boxes", "classes"):
            if before[what] != found["train"][what]:
                raise app.UsageError(
                    f"--resume: the training data has changed since the run started ({what} were "
                    f"{before[what]}, are {found['train'][what]}). Start a new --output_dir."
                )
    skipped = list(dict.fromkeys(map(tuple, (*train_set.skipped, *eval_set.skipped))))
    run.write_config(config, grid, train_set.classes, skipped=skipped)
    training.write_json(path, found)
