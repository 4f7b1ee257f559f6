"""Curves as inline SVG that takes its ink from the page, so that it reads in light and in dark."""

import io
import math
import re
import warnings

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from yolov1.reporting.html import Html, escape

COLOURS = ("#3b82f6", "#ef4444", "#10b981", "#f59e0b", "#a855f7", "#06b6d4", "#84cc16", "#ec4899")
INK = "#010203"  # stands for the page's text colour


def to_svg(figure: Figure, label: str) -> Html:
    """A figure as an SVG element: text as text, no declarations, no address of anything."""
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
    rest = rest.replace(INK, "currentColor")
    return Html(f'<svg {view_box} role="img" aria-label="{escape(label)}">{rest}')


def curves(series, *, title, x_label="epoch", y_label="", log=False, limits=None) -> Html:
    """Lines in one chart.

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
    figure = Figure(figsize=(5.4, 3.1))
    axes = figure.add_axes((0.13, 0.16, 0.86, 0.74))  # a layout engine would double the time
    for k, (name, line) in enumerate(points.items()):
        axes.plot(
            *zip(*line, strict=True),
            color=COLOURS[k % len(COLOURS)],
            label=_label(name),
            linewidth=1.6,
            marker="o" if len(line) < 30 else None,
            markersize=3,
        )
    if log and all(b > 0 for line in points.values() for _, b in line):
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}" if high < 1000 * low else NullFormatter())
    if limits:
        axes.set_ylim(*limits)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    if len(points) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=2)
    _dress(axes)
    return to_svg(figure, title)


def _dress(axes):
    """The page's look: its ink, a faint grid, no box; names are text and never formulas."""
    axes.grid(alpha=0.2, color=INK, linewidth=0.6)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(INK)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(INK)
    for text in axes.get_legend().get_texts() if axes.get_legend() else ():
        text.set_parse_math(False)


def _label(name: str) -> str:
    """A legend leaves out names with a leading underscore; an invisible space keeps them in."""
    return "\u200b" + name if name.startswith("_") else name
