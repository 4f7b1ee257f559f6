"""A study on one page."""

import math
from urllib.parse import quote

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolov1.reporting import charts
from yolov1.reporting.html import Html, duration, escape, join, number, table, tag
from yolov1.reporting.page import page
from yolov1.studies.results import FINISHED, LESS, USUAL, show, span

WIDTH, HEIGHT = 420, 34  # of a strip, in its own units


def of_study(title: str, found: dict, curves: dict) -> str:
    """The page of a grid.

    Args:
        title: its heading.
        found: what the study's summary.json holds.
        curves: path of a run -> column -> [(epoch, value)].
    """
    measure = found["measure"]
    parts = [
        tag("h1", title),
        tag("p", _subtitle(found), class_="soft"),
        section("What may be said", _sentences(found)),
        section(f"{measure} of each seed, and its mean", _values(found)),
        section(f"Difference from {words(found['baseline'])}, seed by seed", _differences(found)),
        section("Learning curves", learning_curves(found, curves)),
        section("Figures", _figures(found)),
        section("Trials", trials(found)),
        section("Environment and command", environment(found)),
    ]
    return page(title, parts)


def section(heading, content) -> Html:
    return tag("section", tag("h2", heading), content) if content else Html("")


def _subtitle(found) -> str:
    rows = found["trials"]
    seeds = dict.fromkeys(row["seed"] for row in rows)
    done = sum(row["state"] == FINISHED for row in rows)
    start = f"{len(found['variants'])} variants, seeds {', '.join(map(str, seeds))}; "
    return f"{start}{done} of {len(rows)} trials are finished. Decided by {found['measure']}."


def _sentences(found) -> Html:
    said = [v["sentence"] for v in found["variants"].values() if v["sentence"]]
    count = next(
        (v["comparison"]["comparisons"] for v in found["variants"].values() if v["comparison"]), 1
    )
    rule = (
        "Two-sided paired t-test over the seeds at a level of 5 %"
        + (f", Holm's correction for {count} comparisons" if count > 1 else "")
        + "; differences that are seen: with a probability of 80 %."
    )
    return join([*(tag("p", words(text)) for text in said), tag("p", rule, class_="soft")])


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


def _limits(rows, zero=False):
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


def _values(found) -> Html:
    measure = found["measure"]
    rows = {
        name: (
            [
                row["figures"][measure]
                for row in found["trials"]
                if row["variant"] == name and row["state"] == FINISHED and measure in row["figures"]
            ],
            values["figures"].get(measure, {}),
        )
        for name, values in found["variants"].items()
    }
    limits = _limits(rows.values())
    cells = [
        [
            words(name),
            strip(dots, own, limits, colour(k)),
            show(own.get("mean")),
            span(own),
            f"{len(dots)}",
        ]
        for k, (name, (dots, own)) in enumerate(rows.items())
    ]
    header = ["variant", "each seed; mean and bootstrap interval", "mean", "95 %", "seeds"]
    return table(header, [*cells, ["", scale(limits), "", "", ""]], numeric_from=2)


def _differences(found) -> Html:
    rows = {
        name: values["comparison"]
        for name, values in found["variants"].items()
        if values["comparison"] and values["comparison"]["seeds"]
    }
    if not rows:
        return Html("")
    tests = {"p": "p", "p_holm": "p, Holm", "p_signs": "p, signs"}
    tests = {k: text for k, text in tests.items() if any(c[k] is not None for c in rows.values())}
    places = {name: k for k, name in enumerate(found["variants"])}
    limits = _limits([(c["differences"], c) for c in rows.values()], zero=True)
    cells = [
        [
            words(name),
            strip(c["differences"], c, limits, colour(places[name]), zero=True),
            f"{c['mean']:+.4g}",
            span(c),
            *(number(c[key], 2) for key in tests),
            number(c["seeds_needed"]),
            number(c["visible"], 2),
        ]
        for name, c in rows.items()
    ]
    header = ["variant", "each seed; mean and t interval", "mean", "95 %", *tests.values()]
    header += ["seeds needed", "visible"]
    less = " Less is better." if found["measure"] in LESS else ""
    note = (
        "Needed: seeds that see a difference of the size found. Visible: the smallest difference "
        f"that these seeds see.{less}"
    )
    rows = [*cells, ["", scale(limits), *[""] * (len(header) - 2)]]
    return join([table(header, rows, numeric_from=2), tag("p", note, class_="soft")])


# ------------------------------------------------------------------ curves


def learning_curves(found, curves) -> Html:
    """Each column's lines of all trials, thin, and the mean of each variant."""
    names = dict.fromkeys(name for own in curves.values() for name in own)
    first = [name for name in (found["measure"], "loss") if name in names]
    drawn = [_curves(found, curves, name) for name in dict.fromkeys([*first, *names])]
    drawn = [tag("div", svg) for svg in drawn if svg]
    return join([_keys(found), tag("div", *drawn, class_="pair")]) if drawn else Html("")


def _keys(found) -> Html:
    """Which colour is which variant."""
    names = [
        tag("span", Html(f'<i style="background:{colour(k)}"></i>'), words(name))
        for k, name in enumerate(found["variants"])
    ]
    return tag("div", *names, class_="keys")


def _curves(found, curves, column) -> Html:
    figure = Figure()
    axes = figure.add_subplot()
    anything = False
    for k, name in enumerate(found["variants"]):
        lines = [
            curves.get(row["path"], {}).get(column, [])
            for row in found["trials"]
            if row["variant"] == name
        ]
        lines = [line for line in lines if line]
        anything |= bool(lines)
        axes.add_collection(
            LineCollection(lines, colors=colour(k), linewidths=0.8, alpha=0.4), autolim=True
        )
        mean = mean_curve(lines)
        marker = "o" if len(mean) < 30 else None
        x, y = zip(*mean, strict=True) if mean else ((), ())
        axes.plot(x, y, label=name, marker=marker, markersize=3)
    if not anything:
        return Html("")
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


# ------------------------------------------------------------------ tables


def _figures(found) -> Html:
    names = [
        name
        for name in dict.fromkeys([found["measure"], *USUAL])
        if any(name in values["figures"] for values in found["variants"].values())
    ]
    rows = []
    for variant, values in found["variants"].items():
        own = [values["figures"].get(name, {}) for name in names]
        rows.append([words(variant), *(_mean_and_sd(figure) for figure in own)])
    return table(["mean ± standard deviation", *names], rows)


def _mean_and_sd(figure) -> str:
    if figure.get("mean") is None:
        return "–"
    return show(figure["mean"]) + (f" ± {figure['sd']:.2g}" if figure.get("sd") is not None else "")


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
        ]
    )


def _plain(value) -> str:
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)
