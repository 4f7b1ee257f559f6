"""Writes a trained detector as files that other programs run, and proves each of them.

    python -m experiments.export --checkpoint=runs/shapes
    python -m experiments.export --checkpoint=runs/mine --format=tflite,onnx \\
        --precision=float32,float16,int8
    python -m experiments.export --checkpoint=runs/mine --format=onnx --nms=outside --input=uint8

Every file is loaded again and run on the evaluation split, beside the network: how far predictions
and boxes are from the network's, what it costs in average precision, how large it is, how long it
takes. The table is printed, is in export.json beside the files (summary.json has its precisions and
speeds), and on the run's report.html. Where a figure exceeds `--tolerance` the experiment fails,
after all is written, and says which.

int8 is calibrated on images of `--calibration`, brought to the network's size as it sees them.
docs/export.md says what is in each file and how it is run.
"""

import math
import shlex
import sys
import time

from absl import flags

from yolov1 import data, inference, reporting, training
from yolov1.files import safe_name, user_path
from yolov1.inference import formats
from yolov1.revision import git_revision
from yolov1.training.run_directory import environment

from .lib import common, detectors, proof, subjects
from .lib import flags as experiment_flags
from .lib.flags import UserError

FORMAT = flags.DEFINE_list(
    "format", ["all"], f"Of {', '.join(formats.FORMATS)}; all: those whose extra is installed."
)
PRECISION = flags.DEFINE_list("precision", ["float32"], "Of float32, float16, int8.")
NMS = flags.DEFINE_enum(
    "nms",
    None,
    ("inside", "outside"),
    "Whether the file suppresses overlapping boxes; default: inside where its format can.",
)
INPUT = flags.DEFINE_enum(
    "input", "float32", ("float32", "uint8"), "Pixels of the file: in [0, 1], or whole numbers."
)
CALIBRATION = flags.DEFINE_string(
    "calibration", "", "Split that int8 is calibrated on; empty: what the run was trained on."
)
CALIBRATION_IMAGES = flags.DEFINE_integer(
    "calibration_images", 200, "Images of it, evenly spread.", lower_bound=1
)
TOLERANCE = flags.DEFINE_list(
    "tolerance",
    [],
    f"NAME=VALUE of {', '.join(proof.FIGURES)}, or one VALUE for all, in place of the defaults of "
    "each precision.",
)
DATASET = subjects.define_dataset()
subjects.define_split()
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder export/ of the run.")
detectors.define(score_threshold=None, iou_threshold=None)
subjects.define_images()

NAME = "export.json"


def main(argv):
    del argv
    start = time.perf_counter()
    path = user_path(flags.FLAGS.checkpoint)
    allowed = proof.tolerances(TOLERANCE.value)
    detector = detectors.load_detector()
    if not isinstance(detector, inference.Detector):
        raise UserError(
            "--tiles, --overlap and --augment are not of a file: whoever runs it looks several "
            "times. Leave them out; experiments.detect takes them of files too."
        )
    if getattr(detector, "metadata", None) is not None:
        raise UserError(
            f"{path} is an exported file already, whose network cannot be written once more. Give "
            "the run, or a .keras file."
        )
    suppression = detector.options["suppression"]
    jobs, left_out = plan(suppression)
    config = subjects.as_flags_say(subjects.configuration(path, detector))
    moved = not DATASET.value
    dataset = subjects.open_split(path, config, config.eval_split, detector.classes, moved=moved)
    calibration = None
    if any(job["precision"] == "int8" for job in jobs):
        calibration = calibration_images(path, config, detector, moved)
    if flags.FLAGS.debug:
        dataset = dataset[: subjects.DEBUG_IMAGES]
    output = common.results_folder(OUTPUT_DIR.value or path / "export")

    print(f"the network itself, on {len(dataset)} images")
    has_loss = not subjects.is_file(path)
    held = proof.Proof(detector, dataset, config, input_dtype=INPUT.value, loss=has_loss)
    described = describe(path, detector, config, len(dataset), allowed)
    rows, done = [], {}
    for job in jobs:
        row = export(detector, job, output, path, calibration, held, allowed)
        rows.append(row)
        done = described | {
            "seconds": time.perf_counter() - start,
            "run": held.run,
            "exports": [*rows, *left_out],
            "passed": not any(map(faults, rows)),
        }
        training.write_json(output / NAME, done)
    training.write_json(output / "summary.json", summary_of(done))
    report(path, output)
    print(proof.table(held.run, done["exports"]))
    if held.run["map_voc07"] is None:
        print("The split has no object: the proof is that of predictions and boxes alone.")
    print(f"written to {output}")
    wrong = [f"{row['file']}: {fault}" for row in rows for fault in faults(row)]
    return "error: " + "\n".join(wrong) if wrong else None


def plan(suppression="hard"):
    """(what is written, what is not): dicts of format, precision, nms and input, the latter with
    the reason.

    Raises:
        UserError: a format, or a precision, of which nothing would be written.
    """
    for flag in (FORMAT, PRECISION):
        if not flag.value:
            raise UserError(f"--{flag.name} names nothing. Leave it out for {flag.default[0]}.")
    every = FORMAT.value == ["all"]
    names = list(dict.fromkeys(formats.FORMATS if every else FORMAT.value))
    jobs, left_out = [], []
    for name in names:
        for precision in dict.fromkeys(PRECISION.value):
            job = {"format": name, "precision": precision, "input": INPUT.value}
            try:
                formats.check(name, precision=precision, input_dtype=INPUT.value)
                job["nms"] = NMS.value or formats.places(name, suppression)[0]
                formats.check(name, nms=job["nms"], suppression=suppression)
                formats.require(name)
                jobs.append(job)
            except (ValueError, formats.MissingExtra) as error:
                if isinstance(error, formats.MissingExtra) and not every:
                    raise
                left_out.append({"nms": NMS.value or "-"} | job | {"left_out": str(error)})
    words = [("precision", precision) for precision in PRECISION.value]
    words += [] if every else [("format", name) for name in names]
    for key, word in words:
        if not any(job[key] == word for job in jobs):
            raise UserError(next(job["left_out"] for job in left_out if job[key] == word))
    return jobs, left_out


def calibration_images(path, config, detector, moved):
    """A function that gives the images that int8 is calibrated on, one by one, as `export` of
    `yolov1.inference` takes it."""
    split = CALIBRATION.value or config.train_split
    dataset = subjects.open_split(path, config, split, detector.classes, moved=moved)
    chosen = dataset[:: max(1, len(dataset) // CALIBRATION_IMAGES.value)]
    chosen = chosen[
        : min(CALIBRATION_IMAGES.value, subjects.DEBUG_IMAGES if flags.FLAGS.debug else 10**9)
    ]
    print(f"int8 is calibrated on {len(chosen)} of them")

    def images():
        with data.reading(chosen):
            batches = data.evaluation_batches(chosen, detector.grid, 1, resize=detector.resize)
            for batch, _ in batches:
                yield batch.numpy()

    return images


def export(detector, job, output, path, calibration, held, allowed) -> dict:
    """Writes one file and proves it; gives its row of export.json."""
    module = formats.FORMATS[job["format"]]
    usual = {"nms": module.NMS[0], "input": "float32"}
    parts = [job[name] for name, value in usual.items() if job[name] != value]
    stem = "-".join([safe_name(path.resolve().stem), job["precision"], *parts])
    file = output / module.name_of(stem)
    row = job | {"file": file.name}
    start = time.perf_counter()
    try:
        inference.export(
            detector,
            file,
            format=job["format"],
            precision=job["precision"],
            nms=job["nms"],
            input_dtype=job["input"],
            calibration=calibration,
            source=path.resolve().name,
        )
        row["write_seconds"] = time.perf_counter() - start
        print(f"{file.name}: written in {row['write_seconds']:.1f} s")
        if job["nms"] not in (NMS.value, module.NMS[0]):
            print(
                f"{file.name}: suppression is outside: {job['format']} has no "
                f"{detector.options['suppression']} one inside. Whoever runs it suppresses."
            )
        row |= held.of(file)
        row["exceeded"] = proof.held_against(row, allowed[job["precision"]])
    except Exception as error:  # a converter's: the other formats are not to be lost
        row["error"] = f"{type(error).__name__}: {str(error).strip()[:1000]}"
        print(f"{file.name}: {row['error']}")
    return row


def summary_of(done) -> dict:
    """The precisions and the speed of each file that could be measured."""
    figures = (*proof.MAPS, "images_per_second")
    found = {row["file"]: row for row in done["exports"] if "map_voc07" in row}
    files = {name: {key: row.get(key) for key in figures} for name, row in found.items()}
    return {"passed": done["passed"], "files": files, "seconds": done["seconds"]}


def faults(row) -> list[str]:
    """What is wrong with an export, in words."""
    if "error" in row:
        return [row["error"]]
    return [
        f"{proof.FIGURES[fault['figure']]}: {fault['value']:.3g}, allowed {fault['allowed']:g} "
        f"(--tolerance={fault['figure']}=...)"
        for fault in row["exceeded"]
    ]


def describe(path, detector, config, images, allowed) -> dict:
    """What export.json says of all exports together."""
    grid = detector.grid
    return {
        "command": shlex.join(["python", "-m", "experiments.export", *sys.argv[1:]]),
        "checkpoint": str(path),
        "which": flags.FLAGS.which,
        "revision": git_revision(),
        "dataset": config.dataset,
        "split": config.eval_split,
        "images": images,
        "classes": detector.classes and list(detector.classes),
        "grid": {"S": grid.S, "B": grid.B, "C": grid.C, "image_size": grid.image_size},
        "wh": detector.wh,
        "resize": detector.resize,
        "options": detector.options,
        "tolerance": {
            precision: {name: most if most < math.inf else None for name, most in own.items()}
            for precision, own in allowed.items()
        },
        "environment": environment() | {"libraries": formats.versions()},
    }


def report(path, output):
    """The page of a run shows the exports in its own folder."""
    if subjects.is_file(path):
        return
    page = path / "report.html"
    if output.resolve() != (path / "export").resolve():
        print(f"{page} shows exports in {path / 'export'} only")
        return
    with common.drawing(page):
        reporting.write_report(path)


if __name__ == "__main__":
    experiment_flags.run(main)
