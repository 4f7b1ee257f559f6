"""Figures of what `evaluate` returns; the only module here that needs Matplotlib."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from yolov1 import fonts

PER_FIGURE = 10  # as many lines as the colour cycle tells apart


def precision_recall(result, names=None, shown=None) -> Figure:
    """Precision over recall at IoU 0.5, a line per class with its AP in the legend.

    Args:
        result: the dict of `evaluate`.
        names: classes to show; by default the ten with the most objects.
        shown: class -> what the legend calls it; by default its `yolov1.fonts.readable` name.

    Raises:
        ValueError: a name that is no class of the result.
    """
    classes = result["classes"]
    if names is None:
        names = sorted(classes, key=lambda name: -classes[name]["truth"])[:PER_FIGURE]
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(
            f"plots.precision_recall: no class {', '.join(unknown)}; there are "
            f"{', '.join(classes)}."
        )
    shown = shown or dict(zip(classes, fonts.readable(tuple(classes)), strict=True))
    with names_as_they_are(shown.values()):
        figure = Figure(figsize=(6, 4.5), layout="constrained")
        axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        for name in names:
            values = classes[name]
            if values["ap_area"] is None:
                continue
            label = f"{shown[name]} {values['ap_area']:.3f}"
            # A curve starts at recall 0 with the precision of its first point.
            first = values["precision"][:1]
            x, y = [0.0] * len(first) + values["recall"], first + values["precision"]
            axes.plot(x, y, label=label)
        if axes.lines:
            legend(axes, title="area below", fontsize="small")
        axes.grid(alpha=0.3)
    return figure


def average_precision_bars(result) -> Figure:
    """AP of each class by the three rules, the best class on top, and the means as lines."""
    shown = dict(zip(result["classes"], fonts.readable(tuple(result["classes"])), strict=True))
    classes = {n: v for n, v in result["classes"].items() if v["ap_voc07"] is not None}
    names = sorted(classes, key=lambda name: classes[name]["ap_voc07"])
    with names_as_they_are(shown.values()):
        figure = Figure(figsize=(6, 1.5 + 0.45 * len(names)), layout="constrained")
        axes = figure.add_subplot(xlabel="average precision", xlim=(0, 1))
        rules = (("voc07", "VOC 2007"), ("area", "area"), ("coco", "COCO"))
        for k, (metric, label) in enumerate(rules):
            places = [place + 0.27 * (1 - k) for place in range(len(names))]
            values = [classes[name][f"ap_{metric}"] for name in names]
            bars = axes.barh(places, values, height=0.25, label=label)
            mean = result[f"map_{metric}"]
            if mean is not None:
                colour = bars.patches[0].get_facecolor()
                axes.axvline(mean, color=colour, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(names)), [shown[name] for name in names])
        if names:
            axes.legend(fontsize="small")
    return figure


def error_bars(result) -> Figure:
    """Shares of right and wrong of each class's best detections, see `error_analysis`; on top
    their mean, which is no class, whatever a class is called."""
    shown = fonts.readable(tuple(result["classes"]))
    errors = [values["errors"] for values in result["classes"].values()]
    rows = [row for row in zip(shown, errors, strict=True) if row[1]][::-1]
    rows += [("mean of the classes", result["errors"])] if result["errors"] else []
    with names_as_they_are(shown):
        figure = Figure(figsize=(6, 1.5 + 0.35 * len(rows)), layout="constrained")
        axes = figure.add_subplot(xlabel="share of the best detections", xlim=(0, 1))
        left = [0.0] * len(rows)
        for kind in rows[0][1] if rows else ():
            shares = [row[kind] for _, row in rows]
            axes.barh(range(len(rows)), shares, left=left, label=kind)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        if rows:
            axes.legend(ncols=3, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


FIGURES = {
    "precision_recall": precision_recall,
    "average_precision": average_precision_bars,
    "errors": error_bars,
}


def write(result, directory) -> list[Path]:
    """Every figure as a PNG file; returns their paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in FIGURES.items():
        paths.append(directory / f"{name}.png")
        figure(result).savefig(paths[-1], dpi=120)
    return paths


def names_as_they_are(names):
    """Inside, text that is put in a figure is no mathematics, and its fonts have the glyphs of the
    names."""
    return matplotlib.rc_context({"text.parse_math": False, "font.family": fonts.families(names)})


def legend(axes, **options):
    """The legend of the lines of an axes by their labels as they are: Matplotlib itself leaves out
    those with a leading underscore, and reads what stands between dollars as mathematics."""
    lines = axes.get_lines()
    made = axes.legend(lines, ["line"] * len(lines), **options)
    for text, line in zip(made.get_texts(), lines, strict=True):
        text.set_parse_math(False)
        text.set_text(line.get_label().encode("utf-8", "replace").decode())  # bytes of file names
    return made
