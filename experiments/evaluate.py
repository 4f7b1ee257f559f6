"""Measures a detector on a data set: average precision, curves, errors, fit of boxes, pictures.

    python -m experiments.evaluate --checkpoint=runs/shapes
    python -m experiments.evaluate --checkpoint=runs/mine --dataset=voc:PATH --eval_split=test

Without `--dataset` and `--eval_split` it measures what the run itself was measured on. Writes
summary.json, evaluation.json, plots/, pictures/ and report.html to `--output_dir`.

    python -m experiments.evaluate --checkpoint=mine.onnx --dataset=voc:PATH --eval_split=test

measures a file of experiments.export. It knows neither a data set nor, without `--semantics`, what
the network's loss is.

    python -m experiments.evaluate --checkpoint=RUN --dataset=voc:PATH --comp4=results

also writes the files that VOC's devkit reads, as ``darknet yolo valid`` does: every box with a
score above .001 that the suppression at .5 leaves, however many they are.

    python -m experiments.evaluate --detections=results --dataset=voc:PATH --eval_split=test

measures what another program found, without a network: a folder of such files, a COCO list of
results (Darknet's coco_results.json), or a detections.json of experiments.detect. Corners are taken
as the files have them, in pixels: see `yolov1.evaluation.result_files`. What cannot be measured is
said; there is no val_loss, and nothing of responsible boxes.
"""

import dataclasses
import time

from absl import app, flags

from yolov1 import data, evaluation, reporting, training
from yolov1.data.formats import coco
from yolov1.evaluation import plots, result_files
from yolov1.files import user_path
from yolov1.kernels.load_images import SAMPLINGS

from .lib import common, detectors, evaluators, subjects
from .lib import flags as experiment_flags

DETECTIONS = flags.DEFINE_string(
    "detections",
    "",
    "In place of --checkpoint: a folder of comp4 files, a COCO list of results or a "
    "detections.json.",
)
COMP4 = flags.DEFINE_string(
    "comp4", "", "Folder for the result files of VOC's devkit, comp4_det_test_<class>.txt."
)
DATASET, EVAL_SPLIT = subjects.define_dataset(), subjects.define_split()
RESIZE = flags.DEFINE_enum(
    "resize", None, SAMPLINGS, "How images are brought to the network's size; default: the run's."
)
PICTURES = flags.DEFINE_integer("pictures", evaluators.PICTURES, "Pictures to draw.", lower_bound=0)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Default: the folder evaluate/ of the run, or beside file or detections."
)
detectors.define(required=False, score_threshold=None, iou_threshold=None)
SEMANTICS = ("semantics", "semantics_options")
subjects.define_images(*SEMANTICS)


def main(argv):
    del argv
    if bool(flags.FLAGS.checkpoint) == bool(DETECTIONS.value):
        raise app.UsageError("Give --checkpoint, a run, or --detections, files of what was found.")
    if DETECTIONS.value:
        measure_files(user_path(DETECTIONS.value))
    else:
        measure_detector(flags.FLAGS.checkpoint)


def measure_detector(path):
    """Measures what a run's network finds, or the computation of a file."""
    start = time.perf_counter()
    detector = detectors.load_detector(**{"resize": RESIZE.value} if RESIZE.value else {})
    config = configuration(subjects.configuration(path, detector))
    has_loss = not subjects.is_file(path)
    if any(flags.FLAGS[name].present for name in SEMANTICS):
        if has_loss:
            raise app.UsageError("--semantics is of a file; a run has its own.")
        given = {name: flags.FLAGS[name].value for name in SEMANTICS}
        config, has_loss = subjects.with_semantics(config, detector, **given), True
    dataset = subjects.open_split(
        path, config, config.eval_split, detector.classes, moved=not DATASET.value
    )
    if flags.FLAGS.debug:
        dataset = dataset[: subjects.DEBUG_IMAGES]
    output = common.results_folder(OUTPUT_DIR.value or detectors.default_output("evaluate"))

    if COMP4.value:
        # Darknet clips the boxes of its files less than we do, and writes all that it has.
        most = detector.grid.predicted_boxes * detector.grid.C
        with experiment_flags.user_errors("--comp4"):
            detector = detector.with_other(clip=False, max_detections=most)
    evaluator = evaluators.Evaluator(detector, dataset, detector.grid, config, loss=has_loss)
    with data.reading(dataset):
        measured = evaluator() | evaluator.shortcomings()
    if COMP4.value:
        remarks = result_files.write_comp4(user_path(COMP4.value), evaluator.detections, dataset)
        print_remarks(remarks)
    summary = write(
        output,
        measured,
        evaluator.detections,
        dataset,
        detection_seconds=measured["seconds"],
        seconds=time.perf_counter() - start,
        checkpoint=str(path),
        which=flags.FLAGS.which,
        dataset=config.dataset,
        split=config.eval_split,
    )
    print(f"{summary['images_per_second']:.1f} images/s; written to {output}")


def measure_files(path):
    """Measures what another program found."""
    start = time.perf_counter()
    for flag in ("comp4", "resize", *SEMANTICS, *detectors.FLAGS):
        if flags.FLAGS[flag].present:
            raise app.UsageError(f"--{flag} is of a network; --detections has none.")
    if not DATASET.value:
        raise app.UsageError("--detections needs --dataset=KIND:PATH, and its --eval_split.")
    config = configuration(training.TrainConfig())
    config = dataclasses.replace(config, eval_split=EVAL_SPLIT.value)
    dataset = common.open_split(config, config.eval_split)
    kind, _, place = config.dataset.partition(":")
    with experiment_flags.user_errors():
        known = {}
        if kind == "coco":
            ids = coco.ids_of_results(user_path(place), config.eval_split or None)
            known = dict(zip(("categories", "files"), ids, strict=True))
        found, remarks = result_files.read_results(path, dataset, **known)
    if flags.FLAGS.debug:
        dataset, found = dataset[: subjects.DEBUG_IMAGES], found[: subjects.DEBUG_IMAGES]
    folder = path if path.is_dir() else path.parent
    output = common.results_folder(OUTPUT_DIR.value or folder / "evaluate")
    write(
        output,
        evaluation.evaluate(found, dataset)
        | {"shortcomings": evaluation.shortcomings(found, dataset)},
        found,
        dataset,
        seconds=time.perf_counter() - start,
        detections=str(path),
        remarks=remarks,
        dataset=config.dataset,
        split=config.eval_split,
    )
    print_remarks(remarks)
    print(f"{sum(map(len, found))} boxes; written to {output}")


def configuration(config):
    """A configuration with the flags that are given."""
    return subjects.as_flags_say(config, resize=RESIZE.value or config.resize)


def write(output, measured, found, examples, **more) -> dict:
    """Writes and prints what was measured; gives the summary."""
    summary = evaluators.write_evaluation(output, measured, skipped=examples.skipped, **more)
    evaluators.write_pictures(output / "pictures", found, examples, measured, PICTURES.value)
    with common.drawing(output / "plots"):
        plots.write(measured, output / "plots")
    with common.drawing(output / "report.html"):
        reporting.write_report(output)
    common.print_skipped(examples)
    evaluators.print_evaluation(summary)
    return summary


def print_remarks(remarks):
    for remark in remarks:
        print(f"remark: {remark}")


if __name__ == "__main__":
    experiment_flags.run(main)
