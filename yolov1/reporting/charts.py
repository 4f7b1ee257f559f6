"""Curves as inline SVG that takes its ink from the page, so that it reads in light and in dark."""

import io
import math
import re
import warnings

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from yolov1.evaluation import plots
from yolov1.reporting.html import Html, escape

COLOURS = ("#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#a855f7", "#06b6d4", "#84cc16", "#ec4899")
INK = "#010203"  # stands for the page's text colour


def to_svg(figure: Figure, title: str, legend=True) -> Html:
    """A figure of one axes as an SVG element in the page's look.

    Several lines have a legend, unless `legend` is false.

    Text stays text, and is taken literally: no name is a formula, or hidden from the legend. The
    element holds no declaration and no address of anything outside it.
    """
    (axes,) = figure.axes
    _dress(figure, axes, title, legend)
    buffer = io.StringIO()
    # Identifiers are hashed with a fixed salt: the same run gives the same page, byte for byte.
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "yolov1"}),
        warnings.catch_warnings(),
    ):
        # The reader's fonts show what Matplotlib's own has no glyph for.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    view_box = re.search(r'viewBox="[-0-9. ]+"', opening).group()
    rest = rest.replace(INK, "currentColor").replace(' target="_blank"', "")  # links lead down
    return Html(f'<svg {view_box} role="img" aria-label="{escape(title)}">{rest}')


def curves(series, *, title, log=False, limits=None) -> Html:
    """Lines over the epochs in one chart.

    Args:
        series: name -> (x, y); points that are not finite are left out, so that a value every k
            epochs still makes a line.
        log: logarithmic y where every value is positive.
        limits: (low, high) of y, None for the data's.

    Returns:
        The SVG, or nothing where no series has a finite point.
    """
    points = {
        name: [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
        for name, (x, y) in series.items()
    }
    points = {name: line for name, line in points.items() if line}
    if not points:
        return Html("")
    figure = Figure()
    axes = figure.add_subplot()
    for name, line in points.items():
        axes.plot(
            *zip(*line, strict=True),
            label=name,
            marker="o" if len(line) < 30 else None,
            markersize=3,
        )
    if log and all(b > 0 for line in points.values() for _, b in line):
        logarithmic(axes)
    if limits:
        axes.set_ylim(*limits)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure, title)


def logarithmic(axes):
    """A logarithmic y of an axes that has its data, with numbers as people write them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter("{x:g}" if high < 1000 * low else NullFormatter())


def stacked(epochs, series, *, title) -> Html:
    """Parts of a whole, one on the other, over the epochs.

    Args:
        epochs: numbers, rising.
        series: name -> values of at least 0; one that is not finite counts as 0, and a name with
            nothing but that is left out.

    Returns:
        The SVG, or nothing where all is 0, or the epochs do not rise.
    """
    parts = {name: np.where(np.isfinite(values), values, 0.0) for name, values in series.items()}
    parts = {name: values for name, values in parts.items() if values.any()}
    if not parts or not np.isfinite(epochs).all() or not (np.diff(epochs) > 0).all():
        return Html("")
    figure = Figure()
    axes = figure.add_subplot()
    edges = np.append(epochs, epochs[-1] + 1) - 0.5
    below = np.zeros(len(epochs))
    for (name, values), colour in zip(parts.items(), COLOURS, strict=False):
        # One path for all epochs, which rows of bars would not be.
        axes.stairs(below + values, edges, baseline=below, fill=True, color=colour)
        axes.plot([], [], label=name)  # for the legend, in the colour of the same number
        below = below + values
    axes.set_xlabel("epoch")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.45 * below.max())  # room for the legend
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure, title)


def _dress(figure, axes, title, legend):
    figure.set_layout_engine("none")  # fixed margins do, in half the time
    figure.set_size_inches(5.4, 3.1)
    axes.set_position((0.13, 0.16, 0.84, 0.74))
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.grid(alpha=0.2, color=INK, linewidth=0.6)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(INK)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(INK)
    lines = axes.get_lines()
    for k, line in enumerate(lines):
        line.set_color(COLOURS[k % len(COLOURS)])
        line.set_linewidth(1.6)
    if legend and (len(lines) > 1 or axes.get_legend()):
        plots.legend(axes, fontsize=8, frameon=False, labelcolor=INK, ncols=2)
