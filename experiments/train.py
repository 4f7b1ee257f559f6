"""Trains a detector, evaluates it and writes a run directory.

    python -m experiments.train                                  # drawn shapes, four minutes
    python -m experiments.train --dataset=voc:PATH --train_split=train+val --eval_split=test
    python -m experiments.train --output_dir=runs/mine --resume  # go on after an interruption

The paper's own recipe:

    python -m experiments.train --dataset=voc:PATH --model=paper --activations=linear \\
        --image_size=448 --batch_size=64 --epochs=135 --schedule=paper --warmup_epochs=5 \\
        --optimizer=sgd --learning_rate=1e-2 --weight_decay=5e-4 --clip_norm=0 --ema=0
"""

import json

from absl import app

from experiments import common
from experiments import flags as experiment_flags
from yolov1 import data, models, reporting, training

MODULE = "experiments.train"
experiment_flags.define()


def main(argv):
    del argv
    config = experiment_flags.config_from_flags()
    with common.usage_errors():
        worker, workers = training.cluster_task(config.strategy)
        models.options_of(config.model)  # a wrong name is refused before anything is written
    if workers > 1 and not config.output_dir:
        raise app.UsageError("--output_dir must be given when several workers train together.")
    run = training.RunDirectory.for_config(config)
    # Worker 0 alone writes; the others only look.
    if run.create(config.resume) if worker == 0 else config.resume and run.has_checkpoint:
        config = experiment_flags.resumed_config(run, config)

    # ------------------------------------------------------------------ data
    train_set = common.open_split(config, config.train_split)
    eval_set = common.open_split(config, config.eval_split, classes=train_set.classes)
    common.warn_of_overlap(train_set, eval_set)
    grid = config.grid(len(train_set.classes))
    if worker == 0:
        write_description(run, config, grid, train_set, eval_set)

    # ------------------------------------------------------------------ train
    evaluators = {}  # one per model: tracing a network again costs seconds

    def measure(model):
        if id(model) not in evaluators:
            evaluators[id(model)] = common.Evaluator(model, eval_set, grid, config)
        return evaluators[id(model)]()

    try:
        state = training.train(
            config, train_set, run, evaluate=lambda model: common.headline(measure(model))
        )
    except KeyboardInterrupt:
        print(f"\nInterrupted. Go on with: python -m {MODULE} --output_dir={run.path} --resume")
        raise SystemExit(130) from None
    if not state.is_chief:
        return

    # ------------------------------------------------------------------ evaluate
    with state.averaged_weights() as model:
        measured = measure(model)
        evaluators[id(model)].write_pictures(run / "pictures")
        model.save(run / "model.keras")
    seconds = float(state.progress.seconds.numpy())
    summary = common.write_evaluation(
        run,
        measured,
        detection_seconds=measured["seconds"],
        detection_images_per_second=measured["images_per_second"],
        # Of the training, which is what this experiment is about.
        seconds=seconds,
        images_per_second=int(state.progress.step.numpy()) * config.batch_size / seconds,
        parameters=int(model.count_params()),
        best_map_voc07=None
        if measured["map_voc07"] is None
        else float(state.progress.best.numpy()),
        epochs=config.epochs,
    )
    report = reporting.write_report(run.path)

    common.print_skipped(train_set, eval_set)
    common.print_evaluation(summary)
    print(f"training took {seconds:.0f} s, {summary['images_per_second']:.1f} images/s")
    print(f"results:  {run / 'summary.json'}\npictures: {run / 'pictures'}\nreport:   {report}")


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


if __name__ == "__main__":
    experiment_flags.run(main)
