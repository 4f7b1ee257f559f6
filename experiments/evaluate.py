"""Measures a trained run on a data set: average precision, curves, errors, fit of boxes, pictures.

    python -m experiments.evaluate --checkpoint=runs/shapes
    python -m experiments.evaluate --checkpoint=runs/mine --dataset=voc:PATH --eval_split=test

Without `--dataset` and `--eval_split` it measures what the run itself was measured on. Writes
summary.json, evaluation.json, plots/ and pictures/ to `--output_dir`.
"""

import contextlib
import dataclasses
import time

from absl import flags

from experiments.lib import common, evaluators
from experiments.lib import flags as experiment_flags
from yolov1 import data, training
from yolov1.evaluation import plots
from yolov1.files import make_folder, user_path

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run directory.", required=True)
WHICH = flags.DEFINE_enum(
    "which", "last", ("last", "best"), "Weights: the last ones, or the best by --monitor."
)
DATASET = flags.DEFINE_string("dataset", "", "As in training; empty: the run's own.")
EVAL_SPLIT = flags.DEFINE_string("eval_split", "", "Split; empty: the run's own.")
PICTURES = flags.DEFINE_integer("pictures", evaluators.PICTURES, "Pictures to draw.", lower_bound=0)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder evaluate/ of the run.")
experiment_flags.define(names=("bad_examples", "batch_size"), batch_size=32)

DEBUG_IMAGES = 32


def main(argv):
    del argv
    start = time.perf_counter()
    values = flags.FLAGS
    model, run = training.load_run(CHECKPOINT.value, WHICH.value)
    config = dataclasses.replace(
        run.config,
        dataset=DATASET.value or run.config.dataset,
        eval_split=EVAL_SPLIT.value or run.config.eval_split,
        bad_examples=values.bad_examples,
        batch_size=values.batch_size,
    )
    moved = contextlib.nullcontext() if DATASET.value else common.of_a_run(CHECKPOINT.value)
    with moved:
        dataset = common.open_split(config, config.eval_split, classes=run.classes)
    if values.debug:
        dataset = dataset[:DEBUG_IMAGES]
    output = make_folder(user_path(OUTPUT_DIR.value or f"{CHECKPOINT.value}/evaluate"))

    evaluator = evaluators.Evaluator(model, dataset, run.grid, config)
    with data.reading(dataset):
        measured = evaluator()
    summary = evaluators.write_evaluation(
        output,
        measured,
        detection_seconds=measured["seconds"],
        seconds=time.perf_counter() - start,
        checkpoint=str(CHECKPOINT.value),
        which=WHICH.value,
        dataset=config.dataset,
        split=config.eval_split,
        skipped=dataset.skipped,
    )
    evaluator.write_pictures(output / "pictures", PICTURES.value)
    with common.drawing(output / "plots"):
        plots.write(measured, output / "plots")
    common.print_skipped(dataset)
    evaluators.print_evaluation(summary)
    print(f"{summary['images_per_second']:.1f} images/s; written to {output}")


if __name__ == "__main__":
    experiment_flags.run(main)
