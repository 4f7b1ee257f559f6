"""Which of several runs learns better? Their curves in one picture, their figures in one table.

    python -m experiments.compare_runs --runs=runs/a,runs/b
    python -m experiments.compare_runs --runs=runs/published,runs/corrected --images=4 \\
        --floors=49,104.75

Whether the difference is more than chance, `experiments.study` says, with several seeds.

Writes curves.png (loss and mAP by epoch) and summary.json to `--output_dir`. loss and val_loss of a
run are divided by its `factor` of `--semantics_options`, so that losses summed over a batch and
means compare; `--images` multiplies them, to stand beside a log that sums so many.
"""

import time
from pathlib import Path

from absl import app, flags
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from yolov1.evaluation import plots
from yolov1.studies.results import read_curve
from yolov1.training import RunDirectory, write_json

from .lib import common
from .lib import flags as experiment_flags

RUNS = flags.DEFINE_list("runs", None, "Run directories.", required=True)
LABELS = flags.DEFINE_list("labels", [], "Names for the legend; by default the directories'.")
IMAGES = flags.DEFINE_float("images", 1.0, "Loss of this many images.", lower_bound=1e-9)
FLOORS = flags.DEFINE_list("floors", [], "Values of the loss to mark with a line.")
MEASURE = flags.DEFINE_string("measure", "map_area", "Column of metrics.csv for the second chart.")
OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/compare", "Folder for the results.")
DEBUG = flags.DEFINE_boolean("debug", False, "No difference: it takes seconds.")

LOSSES = ("loss", "val_loss")
FIGURES = ("map_voc07", "map_area", "map_coco", "val_loss", "accuracy", "seconds", "parameters")


def main(argv):
    del argv
    start = time.perf_counter()
    if LABELS.value and len(LABELS.value) != len(RUNS.value):
        raise app.UsageError(
            f"--labels must be {len(RUNS.value)} names, one for each run, got {len(LABELS.value)}."
        )
    try:
        floors = [float(floor) for floor in FLOORS.value]
    except ValueError:
        raise app.UsageError(f"--floors must be numbers, got {','.join(FLOORS.value)!r}.") from None
    names = LABELS.value or [Path(path).name for path in RUNS.value]
    if len(set(names)) != len(names):
        raise app.UsageError(
            f"--labels must tell the runs apart, got {','.join(names)}. (By default they are the "
            "directories' names.)"
        )
    runs = [read(path) for path in RUNS.value]
    if not any(curves[MEASURE.value] for curves, _ in runs):
        rows = [row for path in RUNS.value for row in RunDirectory(path).read_metrics()]
        remark = (
            f"--measure={MEASURE.value}: no run has a figure of that name in its metrics.csv; "
            f"there are {', '.join(dict.fromkeys(name for row in rows for name in row))}."
        )
        if flags.FLAGS["measure"].present:
            raise app.UsageError(remark)
        print(f"remark: {remark}")
    output = common.results_folder(OUTPUT_DIR.value)
    rows = {name: figures for name, (_, figures) in zip(names, runs, strict=True)}
    print_table(rows)
    seconds = time.perf_counter() - start
    write_json(output / "summary.json", {"runs": rows, "seconds": seconds})
    with common.drawing(output / "curves.png"), plots.names_as_they_are(names):
        draw(dict(zip(names, runs, strict=True)), floors).savefig(output / "curves.png", dpi=130)
    print(f"curves and summary: {output}")


def read(path):
    """(curves, figures) of a run: column -> [(epoch, value)], and its summary's numbers.

    Raises:
        FileNotFoundError: no run there, or one without a finished epoch.
        WrongRun: one of its files is damaged.
    """
    run = RunDirectory(path)
    config, _, _ = run.read_config()
    rows = run.read_metrics()
    if not rows:
        raise FileNotFoundError(f"{run.metrics}: no finished epoch yet.")
    scale = dict.fromkeys(LOSSES, IMAGES.value / config.loss_semantics().factor)
    names = ("loss", MEASURE.value)
    curves = {name: read_curve(rows, name, scale.get(name, 1)) for name in names}
    found = run.read_json("summary.json")
    figures = {"epochs": len(rows), "loss": curves["loss"][-1][1]}
    found = {name: found[name] for name in FIGURES if found.get(name) is not None}
    return curves, figures | {name: v * scale.get(name, 1) for name, v in found.items()}


def draw(runs, floors) -> Figure:
    """Loss and `--measure` of each run over its epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, measure = figure.subplots(1, 2)
    of = "loss of an image" if IMAGES.value == 1 else f"loss of {IMAGES.value:g} images"
    for name, (curves, _) in runs.items():
        for axes, column in ((loss, "loss"), (measure, MEASURE.value)):
            if curves[column]:
                marker = "." if len(curves[column]) < 40 else None
                axes.plot(*zip(*curves[column], strict=True), label=name, marker=marker)
    loss.set(xlabel="epoch", ylabel=of, yscale="log")
    for axis_format in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
        axis_format(StrMethodFormatter("{x:g}"))
    measure.set(xlabel="epoch", ylabel=MEASURE.value, ylim=(0, None))
    for axes in (loss, measure):
        axes.grid(alpha=0.3)
        if axes.lines:
            plots.legend(axes, fontsize="small")
    for floor in floors:  # after the legend, which names the lines of the runs
        loss.axhline(floor, color="black", linewidth=0.8, linestyle="--")
        loss.annotate(f"{floor:g}", (1, floor), xycoords=("axes fraction", "data"), fontsize=8)
    return figure


def print_table(rows):
    columns = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    width = max(map(len, rows))
    print(" " * width + "".join(f"{name:>12}" for name in columns))
    for name, figures in rows.items():
        cells = (figures.get(column) for column in columns)
        print(f"{name:{width}}" + "".join(f"{'-' if v is None else f'{v:.4g}':>12}" for v in cells))


if __name__ == "__main__":
    experiment_flags.run(main)
