"""A search on one page."""

from matplotlib.figure import Figure

from yolov1.reporting import charts
from yolov1.reporting.html import Html, bar, join, number, pair, percent, table, tag
from yolov1.reporting.page import page
from yolov1.studies.parts import colour, curve_charts, environment, section, trials
from yolov1.studies.results import show


def of_search(title: str, found: dict, curves: dict) -> str:
    """The page of a search; arguments as of `page.of_study`."""
    best, states = found["best"], [attempt["state"] for attempt in found["attempts"]]
    said = f"{len(states)} trials: " + ", ".join(
        f"{states.count(state)} {state}" for state in dict.fromkeys(states)
    )
    if best:
        flags = " ".join(f"--{name}={text}" for name, text in best["flags"].items())
        said += f". The best is {best['trial']}, {found['measure']} {show(best['value'])}: {flags}"
    runs = {True: [], False: []}  # those of the best, and the others, which have no mean
    for row in found["trials"]:
        runs[bool(best) and row["variant"] == best["trial"]].append(row["path"])
    note = (
        "Of so many tries the best is better than it would be again, on the images that it was "
        "chosen by: measure it with other seeds, against what was there before."
    )
    parts = [
        tag("h1", title),
        tag("p", f"{said}.", class_="soft"),
        section("Importance", importance(found)),
        section("Values", _scatters(found)),
        section("Learning curves", curve_charts(runs, curves, found["measure"], means=1)),
        section("Trials", join([_attempts(found), tag("p", note, class_="soft")])),
        section("Runs", trials(found)),
        section("Environment and command", environment(found)),
    ]
    return page(title, parts)


def importance(found) -> Html:
    """Bars of what decides the figure."""
    rows = [[name, bar(share, percent(share))] for name, share in found["importance"].items()]
    return table(None, rows) if rows else Html("")


def _scatters(found) -> Html:
    """The figure by the number of the trial, and by each flag's value."""
    done = [a for a in found["attempts"] if a["value"] is not None]
    if not done:
        return Html("")
    y = [a["value"] for a in done]
    drawn = [_scatter([int(a["trial"].rpartition("-")[2]) for a in done], y, "trial", found)]
    for name in found["varied"]:
        x = [a["flags"][name] for a in done]
        try:
            x = list(map(float, x))
        except ValueError:
            pass  # choices
        drawn.append(_scatter(x, y, name, found))
    return pair(*drawn)


def _scatter(x, y, name, found) -> Html:
    figure = Figure()
    axes = figure.add_subplot()
    axes.scatter(x, y, s=18, color=colour(0), alpha=0.75)
    if isinstance(x[0], float) and min(x) > 0 and max(x) > 30 * min(x):
        axes.set_xscale("log")
    return charts.to_svg(figure, f"{found['measure']} by {name}")


def _attempts(found) -> Html:
    header = ["trial", "state", found["measure"], *found["varied"]]
    rows = [
        [a["trial"], f"{a['state']} {a['error']}", number(a["value"]), *a["flags"].values()]
        for a in found["attempts"]
    ]
    return table(header, rows, numeric_from=2)
