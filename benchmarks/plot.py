"""Draws the plots that the README shows from the benchmarks' CSV rows.

    python -m benchmarks.plot

Takes the newest run of each benchmark: the rows with device, revision and date of the last one. Of
`benchmarks.compare` it draws all rows, one comparison after another.
"""

import csv
from pathlib import Path

import matplotlib
from absl import app, flags

from benchmarks import harness

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

FILES = [str(harness.RESULTS / f"{name}.csv") for name in ("yolo_loss", "box_iou", "compare")]
flags.DEFINE_list("rows", FILES, "CSV files to draw; one that nothing has written yet is left out.")
flags.DEFINE_string("folder", str(harness.ROOT / "docs" / "images"), "Folder of the pictures.")

# Colour: whose code; dashes: the strongest form of it; grey: floors (ops that do nothing) and
# transfers (copies and stores of as many bytes).
STYLES = {
    "eager_tf": ("tab:red", "-"),
    "eager_tf_strong": ("tab:red", "--"),
    "posts_keras_voc": ("tab:purple", "-"),
    "posts_tf2_person": ("tab:pink", "-"),
    "tf_function": ("tab:blue", "-"),
    "tf_function_strong": ("tab:blue", "--"),
    "xla": ("tab:orange", "-"),
    "xla_strong": ("tab:orange", "--"),
    "fused_eager": ("tab:olive", "-"),
    "fused": ("tab:green", "-"),
    "fused_xla": ("limegreen", "-"),
    "fused_op": ("black", "-"),
    "noop_function": ("grey", "--"),
    "noop_op": ("grey", ":"),
    "fill_op": ("tab:brown", ":"),
    "copy": ("grey", "--"),
    "copy_non_temporal": ("grey", "-"),
    "store_non_temporal": ("grey", "-."),
}
COPIES = ("copy", "copy_non_temporal")
LOSS = "S=7, B=2, C=20, float32, 6 % object cells. "
# The columns that say what was measured, of any benchmark.
WHAT = ("part", "mode", "provider", "images", "objects", "dtype", "targets_dtype")
WHAT += ("N", "M", "K", "op", "kind")


def all_rows(path: Path) -> list[dict]:
    """Rows of a CSV file, as they were written."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def newest_run(path: Path) -> list[dict]:
    """Rows of the last run in a CSV file; where a case was measured twice, the later row."""
    rows = all_rows(path)
    run = ("device", "revision", "date")
    rows = [row for row in rows if all(row[name] == rows[-1][name] for name in run)]
    return list({tuple(row.get(name) for name in WHAT): row for row in rows}.values())


def curves(rows: list[dict], mode: str, column: str) -> dict[str, list[tuple[int, float]]]:
    """``{provider: [(images, value)]}`` of the usual case: float32, 6 % object cells."""
    found = {}
    for row in rows:
        usual = row["objects"] == "0.06" and row["dtype"] == row["targets_dtype"] == "float32"
        if row["part"] == "time" and row["mode"] == mode and usual:
            points = found.setdefault(row["provider"], [])
            points.append((int(row["images"]), float(row[column])))
    return {name: sorted(found[name]) for name in STYLES if name in found}


def _draw(axes, lines, label, ticks=None):
    """`ticks`: {x: text}, by default every x by its number."""
    for name, points in lines.items():
        colour, dashes = STYLES[name]
        axes.plot(*zip(*points, strict=True), dashes, color=colour, marker=".", label=name)
    axes.set_xscale("log", base=2)
    ticks = ticks or {x: str(x) for points in lines.values() for x, _ in points}
    axes.set_xticks(*zip(*sorted(ticks.items()), strict=True))
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _legend(axes, lines):
    """In the order in which the lines end at the right."""
    handles = dict(zip(lines, axes.get_lines(), strict=True))
    order = sorted(lines, key=lambda name: -lines[name][-1][1])
    axes.legend(
        [handles[name] for name in order], order, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def time_plot(rows: list[dict]):
    """Microseconds of one call against N, forward and full; a figure."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    for axes, mode, title in zip(
        panels, ("forward", "full"), ("loss alone", "loss and gradient"), strict=True
    ):
        lines = {n: p for n, p in curves(rows, mode, "median_us").items() if n not in COPIES}
        _draw(axes, lines, "images in the batch")
        axes.set_yscale("log")
        axes.set_title(title)
    panels[0].set_ylabel("microseconds a call, median")
    _legend(panels[1], lines)
    figure.suptitle(LOSS + _where(rows), fontsize=9)
    return figure


def bandwidth_plot(rows: list[dict]):
    """Bytes that the loss and its gradient must move, over the time, against copies; a figure."""
    figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
    shown = ("fused_op", "fused", "fused_xla", "xla_strong", "xla", "tf_function_strong", *COPIES)
    lines = {n: p for n, p in curves(rows, "full", "gb_per_s").items() if n in shown}
    # Copies that stay in a core's cache are faster than anything that is called once.
    lines = {n: [(k, v) for k, v in p if k >= 64 or n not in COPIES] for n, p in lines.items()}
    lines = {n: p for n, p in lines.items() if p}
    _draw(axes, lines, "images in the batch")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("GB/s, read and written")
    axes.set_title("loss and gradient, against copies of as many bytes")
    _legend(axes, lines)
    figure.suptitle(LOSS + _where(rows), fontsize=9)
    return figure


def iou_time_plot(rows: list[dict]):
    """Microseconds of one call against the pairs, forward and full; a figure."""
    usual = {"part": "time", "op": "pairwise_iou", "kind": "iou", "dtype": "float32"}
    rows = [row for row in rows if all(row[name] == value for name, value in usual.items())]
    figure, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    for axes, mode, title in zip(
        panels, ("forward", "full"), ("IoU alone", "IoU and both gradients"), strict=True
    ):
        lines, ticks = {name: [] for name in STYLES}, {}
        for row in rows:
            if row["mode"] == mode:
                pairs = int(row["N"]) * int(row["M"]) * int(row["K"])
                lines[row["provider"]].append((pairs, float(row["median_us"])))
                ticks[pairs] = "{N}x{M}x{K}".format(**row)
        lines = {name: sorted(points) for name, points in lines.items() if points}
        _draw(axes, lines, "N x M x K, by the number of pairs", ticks)
        plt.setp(axes.get_xticklabels(), rotation=30, ha="right")
        axes.set_yscale("log")
        axes.set_title(title)
    panels[0].set_ylabel("microseconds a call, median")
    _legend(panels[1], lines)
    figure.suptitle("float32. " + _where(rows), fontsize=9)
    return figure


def comparisons(rows: list[dict]) -> list[tuple[str, dict[str, tuple[float, ...]]]]:
    """(revisions, {benchmark: (ratio, low, high)}) of each comparison that nothing was planted in.

    The rows of one comparison follow each other, each benchmark once.
    """
    found = []
    for row in (row for row in rows if float(row["planted"]) == 0):
        name = "{revision_a}\n{revision_b}\n{date}".format(**row)
        if not found or found[-1][0] != name or row["name"] in found[-1][1]:
            found.append((name, {}))
        found[-1][1][row["name"]] = tuple(float(row[key]) for key in ("ratio", "low", "high"))
    return found


def history_plot(rows: list[dict], newest=24):
    """Ratios with their intervals of the newest comparisons, one after another; a figure."""
    found = comparisons(rows)[-newest:]
    names = list(dict.fromkeys(name for _, ratios in found for name in ratios))
    figure, axes = plt.subplots(figsize=(12, 5), layout="constrained")
    for k, name in enumerate(names):
        points = [(x, *ratios[name]) for x, (_, ratios) in enumerate(found) if name in ratios]
        x, ratio, low, high = (list(values) for values in zip(*points, strict=True))
        x = [value + 0.6 * (k / len(names) - 0.5) for value in x]  # side by side
        bars = [[r - a for r, a in zip(ratio, low, strict=True)]]
        bars.append([b - r for r, b in zip(ratio, high, strict=True)])
        axes.errorbar(x, ratio, bars, fmt="o", markersize=3, linewidth=1, label=name)
    axes.axhspan(1 / 1.03, 1.03, color="grey", alpha=0.2)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, 0.8), min(top, 1.25))  # an interval beyond that says nothing
    names = [name.replace("\n", " ") for name, _ in found]
    axes.set_xticks(range(len(found)), names, fontsize=6, rotation=90)
    axes.set_ylabel("time of the second revision, of the first's")
    axes.set_title("benchmarks.compare: comparisons, one after another (grey: 3 %)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    figure.suptitle("{device}, {cpus} CPUs".format(**rows[-1]), fontsize=9)
    return figure


def _where(rows):
    text = "{device}, {cpus} CPUs, TensorFlow {tensorflow}, revision {revision}, {date}"
    return text.format(**rows[-1])


# Of each benchmark: which rows of its file, and {picture: the figure of these rows}.
PICTURES = {
    "yolo_loss": (newest_run, {"yolo-loss-time": time_plot, "yolo-loss-bandwidth": bandwidth_plot}),
    "box_iou": (newest_run, {"box-iou-time": iou_time_plot}),
    "compare": (all_rows, {"compare-history": history_plot}),
}


def main(argv):
    del argv
    folder = Path(flags.FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in map(Path, flags.FLAGS.rows):
        if not file.exists() and not flags.FLAGS["rows"].present:
            print(f"left out: {file}, which nothing has written yet")
            continue
        read, pictures = PICTURES[all_rows(file)[-1]["benchmark"]]
        rows = read(file)
        for name, draw in pictures.items():
            figure = draw(rows)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=110)
            plt.close(figure)
            print(path)


if __name__ == "__main__":
    app.run(main)
