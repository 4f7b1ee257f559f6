"""What the pages of studies are made of."""

import math
from urllib.parse import quote

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolov1.reporting import charts
from yolov1.reporting.html import Html, duration, escape, join, number, pair, table, tag
from yolov1.studies.results import show

WIDTH, HEIGHT = 420, 34  # of a strip, in its own units


def section(heading, content) -> Html:
    """Nothing without content."""
    return tag("section", tag("h2", heading), content) if content else Html("")


# ------------------------------------------------------------------ strips


def strip(values, interval, limits, colour, zero=False) -> Html:
    """A row of dots on a scale, with a mean and the line of its interval.

    Args:
        values: the dots.
        interval: ``mean``, ``low`` and ``high``; the latter may be None.
        limits: (low, high) of the scale, which rows above each other share.
        colour: of CSS.
        zero: whether 0 is marked.
    """

    def x(value):
        low, high = limits
        return 8 + (WIDTH - 16) * (value - low) / (high - low)

    marks = []
    if zero:
        marks.append(
            f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{HEIGHT}" '
            'stroke="currentColor" stroke-opacity="0.4" stroke-dasharray="3 3"/>'
        )
    if interval.get("low") is not None:
        marks.append(
            f'<line x1="{x(interval["low"]):.1f}" x2="{x(interval["high"]):.1f}" y1="26" y2="26" '
            f'stroke="{colour}" stroke-width="4" stroke-opacity="0.55"/>'
        )
    if interval.get("mean") is not None:
        marks.append(
            f'<line x1="{x(interval["mean"]):.1f}" x2="{x(interval["mean"]):.1f}" y1="19" y2="33" '
            f'stroke="{colour}" stroke-width="2.5"/>'
        )
    marks += [
        f'<circle cx="{x(value):.1f}" cy="10" r="4.5" fill="{colour}" fill-opacity="0.75"/>'
        for value in values
    ]
    return Html(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(", ".join(map(show, values)))}">{"".join(marks)}</svg>'
    )


def scale(limits) -> Html:
    """The numbers below strips."""
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
    low, high = limits
    return Html(
        f'<svg class="strip" viewBox="0 0 {WIDTH} 18" aria-hidden="true">'
        + "".join(
            f'<text x="{8 + (WIDTH - 16) * (tick - low) / (high - low):.1f}" y="13" '
            f'text-anchor="middle" font-size="12">{tick:.6g}</text>'
            for tick in ticks
            if low <= tick <= high
        )
        + "</svg>"
    )


def limits_of(rows, zero=False):
    """A scale that holds all values and ends of intervals, with some room."""
    ends = [v for _, interval in rows for v in (interval.get("low"), interval.get("high"))]
    values = [*ends, *(v for dots, _ in rows for v in dots)]
    values = [v for v in values if v is not None and math.isfinite(v)] + [0.0] * zero
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def words(name: str) -> str:
    """A variant's name, which may be broken between its flags."""
    return name.replace(";", "; ")


def colour(index: int) -> str:
    return charts.COLOURS[index % len(charts.COLOURS)]


# ------------------------------------------------------------------ curves


def curve_charts(runs, curves, first: str, means=None) -> Html:
    """A chart for each column that has curves, not single points, with a colour for each group of
    runs.

    Args:
        runs: name of a group -> paths.
        curves: path -> column -> [(epoch, value)].
        first: the column that comes first.
        means: of how many groups the mean is drawn, of all by default.
    """
    names = dict.fromkeys(name for own in curves.values() for name in own)
    ordered = dict.fromkeys([*(name for name in (first, "loss") if name in names), *names])
    groups = [[curves.get(path, {}) for path in paths] for paths in runs.values()]
    drawn = []
    for name in ordered:
        lines = [[own[name] for own in group if name in own] for group in groups]
        if any(len(line) > 1 for group in lines for line in group):
            drawn.append(curve_chart(lines, name, means))
    return pair(*drawn)


def curve_chart(groups, column, means=None) -> Html:
    """A column: of each group every line, thin, and of the first ones their mean."""
    figure = Figure()
    axes = figure.add_subplot()
    for k, lines in enumerate(groups):
        thin = LineCollection(lines, colors=colour(k), linewidths=0.8, alpha=0.4)
        axes.add_collection(thin, autolim=True)
        mean = mean_curve(lines) if means is None or k < means else []
        x, y = zip(*mean, strict=True) if mean else ((), ())
        axes.plot(x, y, marker="o" if len(mean) < 30 else None, markersize=3)
    axes.autoscale_view()
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if column in ("loss", "val_loss"):
        charts.logarithmic(axes)
    return charts.to_svg(figure, column, legend=False)


def mean_curve(lines) -> list[tuple[int, float]]:
    """The mean at the epochs that every line has: of a varying number of seeds it would jump."""
    values = [dict(line) for line in lines]
    shared = [x for x in values[0] if all(x in own for own in values)] if values else []
    return [(x, sum(own[x] for own in values) / len(values)) for x in shared]


# ------------------------------------------------------------------ runs


def trials(found) -> Html:
    """Every trial, with a link to the report of its run."""
    measure = found["measure"]
    shown = list(dict.fromkeys([measure, "map_voc07", "map_coco", "seconds"]))
    shown = [name for name in shown if any(name in row["figures"] for row in found["trials"])]
    rows = []
    for row in found["trials"]:
        link = tag("a", f"{words(row['variant'])}, seed {row['seed']}", href=report_of(row["path"]))
        state = row["state"] if not row["error"] else f"{row['state']}: {row['error'][-2:][0]}"
        rows.append([link, state, *(_figure(name, row["figures"].get(name)) for name in shown)])
    return table(["run", "state", *shown], rows, numeric_from=2)


def report_of(path: str) -> str:
    return quote(f"{path}/report.html")


def _figure(name, value) -> str:
    return duration(value) if name == "seconds" else number(value)


def environment(found) -> Html:
    rows = [[key, ", ".join(map(_plain, values))] for key, values in found["environment"].items()]
    several = len(found["environment"].get("git_revision", ())) > 1
    return join(
        [
            tag("p", "The trials are of several revisions.") if several else "",
            table(None, rows, numeric_from=2),
            tag("p", found["command"], class_="soft"),
            *(
                tag("p", f"recipe {name}: {flags}", class_="soft")
                for name, flags in found.get("recipes", {}).items()
            ),
        ]
    )


def _plain(value) -> str:
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)
