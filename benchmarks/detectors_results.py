"""What `bench_detectors` measures of detectors, and how it is shown."""

import dataclasses
import json
import statistics as numbers
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import harness
from benchmarks.detectors_programs import Program
from experiments.lib import evaluators
from yolov1 import evaluation, inference
from yolov1.evaluation import result_files
from yolov1.evaluation.shortcomings import SHOWN
from yolov1.files import replacing, safe_name
from yolov1.studies import statistics
from yolov1.training import write_json

SIZES = ("small", "medium", "large")
FIGURES = ("map_area", "map_voc07", "map_coco", *(f"ap_{size}" for size in SIZES))
COUNTS = ("parameters", "multiply_adds")
HEADS = ("mAP@0.5", "11 points", "COCO AP", *SIZES)


@dataclasses.dataclass
class Detector:
    """One trained detector.

    Attributes:
        name: ``ours``, ``ours, ONNX`` or ``peer``.
        seed, epochs: of its training, as far as they are known.
        command: of the process that answers with it.
        folder: for what is measured of it.
        cpu_seconds: of its training; None where it was trained elsewhere.
    """

    name: str
    seed: int | None
    epochs: int | None
    command: list
    folder: Path
    cpu_seconds: float | None
    figures: dict = dataclasses.field(default_factory=dict, init=False)
    found: list = dataclasses.field(default_factory=list, init=False)


def measure(detector: Detector, files):
    """Fills in figures and found boxes: by this project's evaluation, of a COCO list of results,
    which stays in its folder with ``evaluation.json`` and ``summary.json``."""
    dataset, folder = files.test, detector.folder
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(detector.command)
    try:
        found = program.ask("detect", images=files.images)["found"]
        described = program.ask("describe", image=files.images[0])
    finally:
        program.close()
    path = folder / "results.json"
    write_json(path, coco_results(found))
    known = {
        "categories": dict(enumerate(dataset.classes, start=1)),
        "files": {k: example.image_id for k, example in enumerate(dataset, start=1)},
    }
    detector.found, remarks = result_files.read_results(path, dataset, **known)
    print(*remarks, sep="\n", end="\n" * bool(remarks))
    measured = evaluation.evaluate(detector.found, dataset)
    measured["shortcomings"] = evaluation.shortcomings(detector.found, dataset)
    sizes = [example.size for example in dataset]
    coco = evaluation.coco_summary(detector.found, dataset, classes=dataset.classes, sizes=sizes)
    by_size = {f"ap_{size}": coco[f"AP{size}"] for size in SIZES}
    more = described | {"coco": coco, "cpu_seconds": detector.cpu_seconds}
    evaluators.write_evaluation(folder, measured, **more)
    by_class = {name: values["ap_area"] for name, values in measured["classes"].items()}
    detector.figures = {name: measured[name] for name in FIGURES[:3]} | by_size | described
    detector.figures["by_class"] = by_class


def coco_results(found) -> list[dict]:
    """A COCO list of results; images and classes count from 1, in the order of the data set."""
    return [
        {
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for image_id, rows in enumerate(found, start=1)
        for x0, y0, x1, y1, score, label in rows
    ]


def time_in_turns(detectors, images, *, turn_images, repeats, budget) -> dict:
    """{name: ([seconds an image, of each turn], [the same by the program's own account])}.

    All are processes that wait while another has its turn, of some images, one at a time.
    """
    programs = {detector.name: Program(detector.command) for detector in detectors}
    found = {name: ([], []) for name in programs}

    def turn(name):
        def run():
            k = len(found[name][0]) * turn_images
            some = [images[i % len(images)] for i in range(k, k + turn_images)]
            answer = programs[name].ask("time", images=some, threshold=SHOWN)
            for values, key in zip(found[name], ("seconds", "said"), strict=True):
                values.append(numbers.fmean(v for v in answer[key]) if answer[key][0] else None)

        return run

    try:
        turns = {name: turn(name) for name in programs}
        seconds = harness.measure(turns, repeats=repeats, warm_up=2, budget_seconds=budget)
    finally:
        for program in programs.values():
            program.close()
    rounds = {name: len(values) for name, values in seconds.items()}
    return {n: tuple(values[-rounds[n] :] for values in both) for n, both in found.items()}


# -------------------------------------------------------------------------------------- rows


def row(name, case, files, detector, timed, fixed) -> dict:
    """A line of the CSV.

    Args:
        name: of the data set.
        timed: what `time_in_turns` says of the detector; None where it was not asked.
        fixed: last columns.
    """
    seconds, said = timed or ((), ())
    q20, median, q80 = (1000 * np.quantile(seconds, (0.2, 0.5, 0.8))) if seconds else [""] * 3
    figures = detector.figures
    return {
        "benchmark": "detectors",
        "data": name,
        "detector": detector.name,
        "program": figures["program"],
        "seed": _text(detector.seed),
        "epochs": _text(detector.epochs),
        "image_size": case.image_size,
        "input": "x".join(map(str, figures["input"])),
        "trained_images": files.trained,
        "images": len(files.test),
        **{name: _text(figures[name], 6) for name in FIGURES},
        "ap_by_class": json.dumps({k: _text(v, 6) for k, v in figures["by_class"].items()}),
        **{name: _text(figures.get(name)) for name in COUNTS},
        "cpu_seconds": _text(detector.cpu_seconds, 1),
        "ms": _text(median, 3),
        "ms_q20": _text(q20, 3),
        "ms_q80": _text(q80, 3),
        "said_ms": _text(1000 * numbers.median(said), 3) if said and said[0] else "",
        "turns": len(seconds) or "",
        **fixed,
    }


def _text(value, digits=None):
    if value is None or value == "":
        return ""
    return value if digits is None else round(float(value), digits)


# ------------------------------------------------------------------------------------- table


def table(rows) -> str:
    """Markdown: of each data set and detector the mean over its seeds, with the least and the
    largest, and of three and more the bootstrap's 95 % interval of the mean."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        first = mine[0]
        lines += [
            f"### {data}: {first['trained_images']} images to learn, {first['images']} measured, "
            f"{first['image_size']} px",
            "",
            *_lines(mine, _columns(mine)),
            "",
            *_lines(mine, _classes(mine)),
            "",
        ]
    return "\n".join(lines)


def _columns(rows):
    yield "seeds", lambda some: ", ".join(str(r["seed"]) for r in some)
    for head, name in zip(HEADS, FIGURES, strict=True):
        yield head, lambda some, n=name: _spread([r[n] for r in some])
    yield "parameters, M", lambda some: _one(some, "parameters", 1e6)
    yield "multiply-adds, M", lambda some: _one(some, "multiply_adds", 1e6, 0)
    yield "CPU-seconds of training", lambda some: _spread([r["cpu_seconds"] for r in some], 0)
    yield "ms an image", lambda some: _one(some, "ms")


def _classes(rows):
    by_class = {id(row): json.loads(row["ap_by_class"]) for row in rows}
    for name in by_class[id(rows[0])]:
        yield f"AP@0.5: {name}", lambda some, n=name: _spread([by_class[id(r)][n] for r in some])


def _lines(rows, columns):
    columns = list(columns)
    yield f"| detector | {' | '.join(head for head, _ in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in dict.fromkeys(row["detector"] for row in rows):
        some = [row for row in rows if row["detector"] == name]
        yield f"| {name} | {' | '.join(cell(some) for _, cell in columns)} |"


def _spread(values, digits=3) -> str:
    values = [float(v) for v in values if v != ""]
    if not values:
        return "-"
    text = f"{numbers.fmean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    if len(values) > 2:
        found = statistics.interval(values)
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return text


def _one(rows, name, unit=1, digits=2) -> str:
    """What all seeds have, or what was measured of one."""
    values = [float(row[name]) for row in rows if row[name] != ""]
    return f"{values[0] / unit:.{digits}f}" if values else "-"


# ---------------------------------------------------------------------------------- pictures


def write_pictures(folder, detectors, files, count: int):
    """Test images, evenly taken, with what each detector shows (from left to right), a colour a
    class, and the truth, thin and white; ``pictures.txt`` says who is where."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = files.test
    for k in np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)):
        example = dataset[int(k)]
        sides = [
            inference.draw(
                example.image,
                detector.found[k],
                dataset.classes,
                score_threshold=SHOWN,
                min_side=320,
                truth=example,
                orientation=example.orientation,
            )
            for detector in detectors
        ]
        gap = np.full((sides[0].shape[0], 8, 3), 255, np.uint8)
        joined = [part for side in sides for part in (gap, side)][1:]
        name = f"{k:04d}-{safe_name(example.image_id)}.jpg"
        Image.fromarray(np.concatenate(joined, axis=1)).save(folder / name, quality=92)
    with replacing(folder / "pictures.txt") as file:
        file.write(" | ".join(f"{d.name}, seed {d.seed}" for d in detectors) + "\n")
