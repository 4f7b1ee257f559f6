"""What the runs of a study found: of each trial its figures, of each variant what they say."""

import csv
import dataclasses
import math

from yolov1.files import replacing
from yolov1.studies import statistics
from yolov1.training.config_checks import MONITORS

# The figures of a run's summary.json that every table has, as far as the runs do.
# (Losses are not among them: variants may differ in what it is.)
USUAL = ("map_area", "map_voc07", "map_coco", "accuracy", "seconds")
# Of which less is better; of any other figure more is.
LESS = {name for rules in MONITORS.values() for name, sign in rules.items() if sign < 0}
LESS |= {"loss", "seconds", "detection_seconds"}

# What --measure may be besides: figures of a run, and parts of its summary.json before a dot.
OTHERS = (
    *(
        "val_loss",
        "images_per_second",
        "detection_seconds",
        "detection_images_per_second",
        "parameters",
    ),
    *("best_map_voc07", "best_map_area", "best_map_coco", "best_val_loss", "best_accuracy"),
)
PARTS = ("ap_per_class", "accuracy_per_class", "responsible_boxes")

FINISHED, FAILED, BEGUN, PRUNED = "finished", "failed", "begun", "pruned"


@dataclasses.dataclass
class Trial:
    """One run of a study.

    Attributes:
        variant: its name.
        seed: of the run.
        path: of the run, relative to the study's folder.
        flags: the varied flags and their values.
        command: what trains it.
        state: ``finished``, ``failed``, ``begun`` (there is more to do) or ``pruned``.
        figures: the numbers of its summary.json, see `figures_of`.
        error: the last lines of the log of one that failed.
        environment: of its config.json.
    """

    variant: str
    seed: int
    path: str
    flags: dict
    command: str = ""
    state: str = BEGUN
    figures: dict = dataclasses.field(default_factory=dict)
    error: list = dataclasses.field(default_factory=list)
    environment: dict = dataclasses.field(default_factory=dict)


def figures_of(summary: dict, before="") -> dict[str, float]:
    """The numbers of a summary.json; those in a part of it have its name before a dot, such as
    ``ap_per_class.circle``."""
    found = {}
    for name, value in summary.items():
        if isinstance(value, dict):
            found |= figures_of(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{before}{name}"] = value
    return found


def require_figure(name: str):
    """Raises ValueError where no run has a figure of that name."""
    if name not in (*USUAL, *OTHERS) and name.partition(".")[0] not in PARTS:
        raise ValueError(
            f"--measure must be a figure of a run's summary.json: {', '.join((*USUAL, *OTHERS))}, "
            f"or {', '.join(f'{part}.NAME' for part in PARTS)}; got {name!r}."
        )


def read_trial(trial: Trial, run):
    """Puts into a trial what its `RunDirectory` holds."""
    trial.figures = figures_of(run.read_json("summary.json"))
    trial.environment = run.read_json("config.json").get("environment", {})


def read_curve(rows, name: str, scale=1.0) -> list[tuple[int, float]]:
    """A column of metrics.csv over the epochs: (epoch, value) where it was measured.

    Args:
        rows: of `RunDirectory.read_metrics`.
        scale: what the values are multiplied by.
    """
    return [(int(row["epoch"]), float(row[name]) * scale) for row in rows if row.get(name)]


def read_curves(run) -> dict[str, list[tuple[int, float]]]:
    """The loss and what was measured, over the epochs, of a `RunDirectory`."""
    rows = run.read_metrics()
    curves = {name: read_curve(rows, name) for name in ("loss", "val_loss", *USUAL)}
    del curves["seconds"]
    return {name: curve for name, curve in curves.items() if curve}


def environments(trials) -> dict[str, list]:
    """What the trials' environments were, key -> the different values."""
    found = {}
    for trial in trials:
        for key, value in trial.environment.items():
            if key not in ("started", "ops", "build") and value not in found.setdefault(key, []):
                found[key].append(value)
    return found


def summarise(trials, variants, baseline: str, measure: str) -> dict:
    """What may be said: the part of a study's summary.json that is about its variants.

    Args:
        trials: `Trial`s, read.
        variants: `plan.Variant`s.
        baseline: the name of one.
        measure: the figure that decides.

    Returns:
        ``measure``, ``baseline``, ``varied`` (flags) and ``variants``: name -> ``flags``,
        ``seeds``, ``failed``, ``figures`` (each figure's `statistics.Interval`), ``comparison``
        (`statistics.Comparison`; None of the baseline) and ``sentence``.
    """
    names = list(dict.fromkeys([measure, *USUAL]))
    by_variant = {v.name: [t for t in trials if t.variant == v.name] for v in variants}
    figures = {
        name: {
            figure: {t.seed: t.figures.get(figure) for t in own if t.state == FINISHED}
            for figure in names
        }
        for name, own in by_variant.items()
    }
    others = {name: own[measure] for name, own in figures.items() if name != baseline}
    compared = statistics.compare(figures[baseline][measure], others)
    found = {}
    for variant in variants:
        own, comparison = by_variant[variant.name], compared.get(variant.name)
        intervals = {
            figure: dataclasses.asdict(statistics.interval(by_seed.values()))
            for figure, by_seed in figures[variant.name].items()
            if any(value is not None for value in by_seed.values())
        }
        found[variant.name] = {
            "flags": dict(variant.flags),
            "seeds": [t.seed for t in own if t.state == FINISHED],
            "failed": [t.seed for t in own if t.state == FAILED],
            "figures": intervals,
            "comparison": comparison and dataclasses.asdict(comparison),
            "sentence": comparison and _sentence(variant.name, measure, comparison),
        }
    varied = dict.fromkeys(name for variant in variants for name, _ in variant.flags)
    return {"measure": measure, "baseline": baseline, "varied": [*varied], "variants": found}


def _sentence(name, measure, comparison) -> str:
    said = statistics.sentence(name, measure, comparison)
    if not comparison.distinguishable:
        return said
    better = (comparison.mean < 0) == (measure in LESS)
    return f"{said} It is {'better' if better else 'worse'}."


def trials_as_dicts(trials) -> list[dict]:
    """For summary.json: figures that are not finite are none."""
    rows = [dataclasses.asdict(trial) for trial in trials]
    for row in rows:
        row["figures"] = {n: v for n, v in row["figures"].items() if math.isfinite(v)}
        row["revision"] = row.pop("environment").get("git_revision")
    return rows


def write_csv(path, trials):
    """A line for each trial: what it is, its flags, and its figures."""
    flags = list(dict.fromkeys(name for trial in trials for name in trial.flags))
    figures = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    # (``epochs`` is a flag and a figure.)
    columns = list(dict.fromkeys(["variant", "seed", "state", *flags, *figures, "path"]))
    with replacing(path) as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for trial in trials:
            own = {name: getattr(trial, name) for name in ("variant", "seed", "state", "path")}
            writer.writerow(trial.flags | trial.figures | own)


# ------------------------------------------------------------------ on the terminal


def table(summary: dict, measure: str) -> str:
    """The variants, a line each."""
    variants = summary["variants"]
    others = [
        name
        for name in USUAL
        if name != measure and any(name in v["figures"] for v in variants.values())
    ]
    several = any((v["comparison"] or {}).get("comparisons", 1) > 1 for v in variants.values())
    p = "p, Holm" if several else "p"
    lines = [["", "seeds", measure, "95 %", "difference", "95 %", p, "seeds needed", *others]]
    lines += [_row(name, values, measure, others) for name, values in variants.items()]
    return _aligned(lines)


def table_of_search(summary: dict) -> str:
    """The trials of a search, the best first."""
    sign = 1 if summary["measure"] in LESS else -1
    order = sorted(
        summary["attempts"], key=lambda a: (a["value"] is None, sign * (a["value"] or 0.0))
    )
    lines = [["", "state", summary["measure"], *summary["varied"]]]
    lines += [
        [a["trial"], a["state"], show(a["value"]), *(a["flags"][n] for n in summary["varied"])]
        for a in order
    ]
    shares = [f"{name} {share:.0%}" for name, share in summary["importance"].items()]
    return "\n".join([_aligned(lines), *(["importance: " + ", ".join(shares)] if shares else [])])


def _aligned(lines) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if k else f"{cell:<{width}}"
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _row(name, values, measure, others):
    figure = values["figures"].get(measure, {})
    compared = values["comparison"]
    failed = f" ({len(values['failed'])} failed)" if values["failed"] else ""
    cells = [name, f"{len(values['seeds'])}{failed}", show(figure.get("mean")), span(figure)]
    if compared is None:
        cells += ["baseline", "", "", ""]
    else:
        mean = compared["mean"]
        cells += [
            "-" if mean is None else f"{mean:+.4f}" if abs(mean) < 10 else f"{mean:+.1f}",
            span(compared),
            "-" if compared["p_holm"] is None else f"{compared['p_holm']:.2g}",
            show(compared["seeds_needed"]),
        ]
    return cells + [show(values["figures"].get(name, {}).get("mean")) for name in others]


def span(values) -> str:
    """The ends of an interval."""
    if values.get("low") is None:
        return "-"
    return f"{show(values['low'])} to {show(values['high'])}"


def show(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
