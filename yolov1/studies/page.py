"""A study on one page."""

from yolov1.reporting.html import Html, join, number, table, tag
from yolov1.reporting.page import page
from yolov1.studies.parts import (
    colour,
    curve_charts,
    environment,
    limits_of,
    scale,
    section,
    strip,
    trials,
    words,
)
from yolov1.studies.results import FINISHED, LESS, USUAL, show, span


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
    limits = limits_of(rows.values())
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
    limits = limits_of([(c["differences"], c) for c in rows.values()], zero=True)
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
    runs = {
        name: [row["path"] for row in found["trials"] if row["variant"] == name]
        for name in found["variants"]
    }
    charts_of = curve_charts(runs, curves, found["measure"])
    own = found.get("own_losses")
    note = tag("p", "Each variant's loss is its own.", class_="soft") if own else ""
    return join([_keys(runs), charts_of, note]) if charts_of else Html("")


def _keys(names) -> Html:
    """Which colour is which variant."""
    names = [
        tag("span", Html(f'<i style="background:{colour(k)}"></i>'), words(name))
        for k, name in enumerate(names)
    ]
    return tag("div", *names, class_="keys")


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
