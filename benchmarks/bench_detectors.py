"""Which detector is better after the same training: ours, or what one would take instead?

    python -m benchmarks.bench_detectors                       # ours alone on drawn shapes, minutes
    python -m benchmarks.bench_detectors --data=bccd --cpu_seconds=3600 --seeds=0-2 \\
        --peer_python=PATH/bin/python --output_dir=runs/detectors
    python -m benchmarks.bench_detectors --data=bccd --flags='bccd: --augment=dihedral --S=20'

--peer_python is an interpreter that has Ultralytics (`pip install ultralytics` in an environment of
its own, AGPL); it trains yolov8n from scratch. Without it ours is measured alone. Both learn the
same images at the same input size for the same CPU-seconds: user and system time of all processes
of a training, from its start to its end. How many epochs that is, two short trainings say (of 1 and
of 4 epochs), or --epochs and --peer_epochs. What stands after ``--`` are further flags of
experiments.train, for all data sets.

Both find things in the test images with their own suppression and write a COCO list of results, by
which this project's evaluation measures both. Then they take turns, on the same cores, at images
in memory, one at a time: from pixels to boxes that score at least 0.25 (network, decoding,
suppression), and so does ours as an ONNX file, where onnxruntime is installed.

What is in OUTPUT_DIR is kept and gone on with: the same command finishes what was stopped. Rows go
to ``results/detectors.csv``, the table and the pictures (ours left, the other right) to
OUTPUT_DIR/DATA.
"""

import dataclasses
import os
import shlex
from pathlib import Path

from absl import app, flags

from benchmarks import detectors_results as results
from benchmarks import harness, targets
from benchmarks.detectors_data import CASES, Files
from benchmarks.detectors_programs import Failed, read_record
from benchmarks.detectors_results import Detector
from benchmarks.detectors_training import Ours, Peer, epochs_within, record_of, train
from experiments.lib import children
from experiments.lib import flags as experiment_flags
from yolov1 import inference
from yolov1.extras import MissingExtra
from yolov1.files import make_folder, user_path
from yolov1.studies import plan, statistics


def seeds_of(text: str) -> list[int]:
    with experiment_flags.user_errors():
        return plan.parse_seeds(text) if text else []


def trained(case, files, place, words, config) -> list[Detector]:
    """The detectors of a data set, trained where they are not there; and those given."""
    trainers = [(Ours(words), seeds_of(config.seeds), config.epochs)]
    if config.peer_python:
        peer = Peer(config.peer_python, files, case.image_size, case.peer)
        trainers.append((peer, seeds_of(config.peer_seeds), config.peer_epochs))
    given = {"ours": config.runs, "peer": config.peer_weights}
    found = []
    for trainer, seeds, epochs in trainers:
        paths = [user_path(path).absolute() for path in given[trainer.name]]
        if not paths and seeds:
            epochs = epochs or epochs_within(trainer, place, config.cpu_seconds)
            paths = [train(trainer, place, seed, epochs) for seed in seeds]
        known = [trainer.known(path) for path in paths]
        if len({folder.name for folder, _, _ in known}) < len(known):
            raise app.UsageError("two folders have one name, by which results are called.")
        for path, (folder, seed, epochs) in zip(paths, known, strict=True):
            tries = read_record(record_of(folder))
            found.append(
                Detector(
                    trainer.name,
                    seed,
                    epochs,
                    trainer.serve(path, case.image_size, threads()),
                    place / "measured" / f"{trainer.name}-{folder.name}",
                    sum(tries) if tries else None,
                )
            )
    return found


def threads() -> int:
    return len(os.sched_getaffinity(0))


def as_onnx(detector: Detector) -> Detector | None:
    """The same network as an ONNX file; None where what writes or runs it is not installed."""
    run, file = detector.command[-1], detector.folder / "detector.onnx"
    try:
        detector.folder.mkdir(parents=True, exist_ok=True)
        inference.export(inference.load(run), file, format="onnx")
        inference.load(file)
    except MissingExtra as error:
        print(f"left out: ours as an ONNX file: {error}")
        return None
    command = [*detector.command[:-1], file]
    folder = detector.folder.with_name(f"{detector.folder.name}-onnx")
    return dataclasses.replace(detector, name="ours, ONNX", command=command, folder=folder)


def measure_case(name, case, words, config) -> list[dict]:
    """Everything about one data set; its rows."""
    print(f"\n{name}", flush=True)
    place = user_path(config.output_dir) / name
    make_folder(place)
    files = Files(case, place.absolute() / "yolo")
    words = [*files.of_ours(case), *words]
    detectors = trained(case, files, place.absolute(), words, config)
    if config.train_only:
        return []
    firsts = [next((d for d in detectors if d.name == n), None) for n in ("ours", "peer")]
    onnx = as_onnx(firsts[0]) if firsts[0] else None
    detectors += [onnx] if onnx else []
    for detector in detectors:
        results.measure(detector, files)
    if onnx:  # the file does not say what it computes: the same
        onnx.figures |= {name: firsts[0].figures[name] for name in results.COUNTS}
    timed = {d.name: d for d in reversed(detectors)}
    seconds = results.time_in_turns(
        list(timed.values()),
        files.images[: config.timed_images],
        turn_images=config.turn_images,
        repeats=config.repeats,
        budget=config.budget,
    )
    environment = {"cpu_budget": config.cpu_seconds, "threads": threads()} | harness.environment()
    rows = [
        results.row(
            name, case, files, d, seconds[d.name] if d is timed[d.name] else None, environment
        )
        for d in detectors
    ]
    if config.pictures:
        shown = [detector for detector in firsts if detector]
        results.write_pictures(place / "pictures", shown, files, config.pictures)
    return rows


def cases_of(config) -> dict:
    """{name: `Case`} with the flags and places that are given.

    Raises:
        app.UsageError: a flag that is none of `experiments.train`, or of no data set.
    """
    chosen = {name: CASES[name] for name in config.data}
    for flag, field in (("flags", "flags"), ("places", "dataset")):
        for text in config[flag].value:
            name, _, value = text.partition(":" if flag == "flags" else "=")
            if name not in chosen or not value:
                form = "DATA: FLAGS" if flag == "flags" else "DATA=KIND:PATH"
                raise app.UsageError(
                    f"--{flag} must be {form} with one of {', '.join(chosen)}, got {text!r}."
                )
            chosen[name] = dataclasses.replace(chosen[name], **{field: value.strip()})
    if config.image_size:
        size = {"image_size": config.image_size}
        chosen = {name: dataclasses.replace(case, **size) for name, case in chosen.items()}
    return chosen


def run(config, words) -> list[dict]:
    """All data sets; the rows."""
    if config.cores:
        os.sched_setaffinity(0, set(map(int, config.cores)))
    if len(config.data) > 1 and (config.runs or config.peer_weights):
        raise app.UsageError("--runs and --peer_weights are of one data set; give one --data.")
    if max(len(seeds_of(config.seeds)), len(seeds_of(config.peer_seeds)), len(config.runs)) > 2:
        statistics.require()  # before the trainings, not after them
    rows = []
    for name, case in cases_of(config).items():
        rows += measure_case(name, case, [*shlex.split(case.flags), *words], config)
    return rows


def verdicts(rows):
    """Lines of `benchmarks.targets.table`: ours is meant not to be behind."""
    rules = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = {
            name: [r for r in rows if (r["data"], r["detector"]) == (data, name)]
            for name in ("ours", "peer")
        }
        if not all(mine.values()):
            continue
        for head, figure in (("mAP@0.5", "map_area"), ("COCO AP", "map_coco")):
            ours, peer = (_mean(some, figure) for some in mine.values())
            ratio = targets.ratio(ours, peer)
            rules.append((f"{data}: {head}, ours / peer's", ratio, "at least", 1))
        ratio = targets.ratio(*(_mean(some, "ms") for some in mine.values()))
        rules.append((f"{data}: ms an image, ours / peer's", ratio, "at most", 1))
    return targets.table(rules)


def _mean(rows, name):
    values = [row[name] for row in rows if row[name] != ""]
    return sum(values) / len(values) if values else None


def main(argv):
    config = flags.FLAGS
    try:
        rows = run(config, argv[1:])
    except (Failed, children.Busy) as error:
        raise SystemExit(f"error: {error}") from error
    if not rows:
        return
    harness.write_rows(Path(config.output), rows)
    text = results.table(rows)
    (user_path(config.output_dir) / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    targets.show(verdicts(rows))


if __name__ == "__main__":
    flags.DEFINE_list("data", ["shapes"], f"Data sets, some of {', '.join(CASES)}.")
    flags.register_validator(
        "data", lambda v: bool(v) and set(v) <= set(CASES), f"must be some of {', '.join(CASES)}"
    )
    flags.DEFINE_multi_string("places", [], "DATA=KIND:PATH, where a data set lies elsewhere.")
    flags.DEFINE_multi_string(
        "flags", [], "'DATA: FLAGS' of experiments.train, in place of the data set's own."
    )
    flags.DEFINE_integer(
        "image_size", 0, "Side of the input, a multiple of 32; 0: the data set's own.", 0
    )
    flags.DEFINE_float("cpu_seconds", 300, "CPU-seconds of a training, of all its processes.", 1)
    flags.DEFINE_string("seeds", "0", "Of ours: '0-2', '0,5'; empty: none is trained.")
    flags.DEFINE_integer("epochs", 0, "Of ours; 0: as many as --cpu_seconds allows.", 0)
    flags.DEFINE_list("runs", [], "Finished runs of ours, in place of --seeds.")
    flags.DEFINE_string("peer_python", "", "Interpreter that has ultralytics; empty: ours alone.")
    flags.DEFINE_string("peer_seeds", "0", "As --seeds, of the other one.")
    flags.DEFINE_integer("peer_epochs", 0, "As --epochs, of the other one.", 0)
    flags.DEFINE_list("peer_weights", [], "FOLDER/weights/last.pt of finished trainings.")
    flags.DEFINE_list("cores", [], "Cores that both have, such as 0,1; empty: all.")
    flags.DEFINE_boolean("train_only", False, "Train what is missing, and measure nothing.")
    flags.DEFINE_integer("pictures", 10, "Test images to draw.", 0)
    flags.DEFINE_integer("timed_images", 32, "Different images to take the time with.", 1)
    flags.DEFINE_integer("turn_images", 8, "Images of a turn.", 1)
    flags.DEFINE_integer("repeats", 40, "Turns of each, at most.", 1)
    flags.DEFINE_float("budget", 60, "Seconds for the turns of a data set; at least three.")
    flags.DEFINE_string("output_dir", "runs/detectors", "Folder of trainings and results.")
    flags.DEFINE_string("output", str(harness.RESULTS / "detectors.csv"), "CSV for the rows.")
    experiment_flags.run(main, words=True)
