"""The parts of the page: functions of a run to HTML, empty where the run has nothing to show."""

from yolov1.evaluation import plots
from yolov1.reporting import charts, network
from yolov1.reporting.exports import exports
from yolov1.reporting.html import (
    Html,
    bar,
    duration,
    image,
    join,
    number,
    pair,
    percent,
    table,
    tag,
    tiles,
)
from yolov1.reporting.run_files import PICTURE_SUFFIXES
from yolov1.reporting.shortcomings import Links, what_is_wrong, worst_errors
from yolov1.reporting.watched import watched_images
from yolov1.semantics import TERMS

MAX_PICTURES = 24
CLASSES_PER_CHART = 7
# Kind of the analysis of the best detections -> kinds of `evaluation.tide` whose pictures show it.
HOIEM = {
    "localisation": ("localisation", "duplicate"),
    "similar": ("classification",),
    "other": ("classification", "both"),
    "background": ("background",),
}


def subtitle(run) -> Html:
    config, grid = run.config.get("config", {}), run.config.get("grid", {})
    words = [config.get("model"), config.get("dataset")]
    if grid:
        words.append(
            f"S={grid.get('S')}, B={grid.get('B')}, C={grid.get('C')}, {grid.get('image_size')} px"
        )
    environment = run.config.get("environment", {})
    words += [environment.get("git_revision"), environment.get("started")]
    # Of an evaluation by itself, what was measured.
    words += [run.summary.get(name) for name in ("checkpoint", "detections", "dataset", "split")]
    return tag("p", " · ".join(str(word) for word in words if word), class_="soft")


def headline(run) -> Html:
    """The figures that one looks for first."""
    summary = run.evaluation | run.summary
    figures = [
        ("accuracy", "accuracy", percent),
        ("mAP@0.5, VOC 2007", "map_voc07", percent),
        ("mAP@0.5, area", "map_area", percent),
        ("COCO AP .50:.95", "map_coco", percent),
        ("training" if run.metrics else "evaluation", "seconds", duration),
        ("import", "import_seconds", lambda v: f"{number(v, 3)} s"),
        ("images/s", "images_per_second", lambda v: number(v, 3)),
        ("parameters", "parameters", number),
        ("images seen", "seen", number),
        ("memory, MB", "peak_memory_bytes", lambda v: number(round(v / 1e6))),
    ]
    shown = [
        (text, show(summary[key])) for text, key, show in figures if _is_number(summary.get(key))
    ]
    for text, key in (("epochs", "epoch"), ("last loss", "loss")):
        values = _finite(run.metrics.get(key, ()))
        if values:
            shown.append((text, number(values[-1])))
    return tiles(shown)


def learning_curves(run) -> Html:
    def chart(names, title, **options):
        return charts.curves(_by_epoch(run, names), title=title, **options)

    maps = [name for name in run.metrics if name.startswith("map_")]
    return pair(
        chart(["loss", "val_loss"], "Loss of an image", log=True),
        chart(TERMS, "Its terms", log=True),
        chart(["accuracy"], "Accuracy on the evaluation split", limits=(0, 1)),
        chart(maps, "mAP on the evaluation split", limits=(0, 1)),
        chart(["responsible_iou"], "IoU of the boxes held responsible there", limits=(0, 1)),
        chart(["learning_rate"], "Learning rate"),
    )


def detection_quality(run) -> Html:
    classes = run.evaluation.get("classes") or {
        name: {"ap_voc07": ap} for name, ap in run.summary.get("ap_per_class", {}).items()
    }
    errors, links = run.evaluation.get("errors"), Links(run)
    if errors:
        rows = [
            [links(kind, *HOIEM.get(kind, ())), bar(share, percent(share))]
            for kind, share in errors.items()
        ]
        heading = tag("h3", "The best detections, as many as there are objects (Hoiem et al.)")
        more = "shortcomings" in run.evaluation
        note = "Shares of them; what an error costs is said below." if more else ""
        errors = join([heading, tag("p", note, class_="soft"), table(None, rows)])
    boxes = run.evaluation.get("responsible_boxes")
    if boxes:
        heading = tag("h3", "The boxes that the loss holds responsible")
        rows = [[name.replace("_", " "), number(value, 3)] for name, value in boxes.items()]
        boxes = join([heading, table(None, rows)])
    return join(
        [
            _average_precision(classes, links),
            pair(*_precision_recall(run.evaluation), errors, boxes),
        ]
    )


def _average_precision(classes, links) -> Html:
    columns = [
        ("ap_voc07", "AP@0.5, VOC 2007", lambda v: bar(v, percent(v))),
        ("ap_area", "AP@0.5, area", percent),
        ("ap_coco", "COCO AP", percent),
        ("truth", "objects", number),
        ("detections", "detections", number),
    ]
    columns = [c for c in columns if any(c[0] in values for values in classes.values())]
    labels = {name: label for label, name in enumerate(classes)}
    rows = [
        [links(name, f"class-{labels[name]}"), *(show(values.get(key)) for key, _, show in columns)]
        for name, values in _by_quality(classes).items()
    ]
    return table(["class", *(text for _, text, _ in columns)], rows) if rows else Html("")


def _precision_recall(evaluation) -> list[Html]:
    """Charts of so many classes that their lines can be told apart, the best classes first."""
    classes = _by_quality(evaluation.get("classes", {}))
    names = [name for name, values in classes.items() if values.get("precision")]
    shown = {name: name for name in names}  # text of the page, in the reader's own fonts
    return [
        charts.to_svg(
            plots.precision_recall(evaluation, names[k : k + CLASSES_PER_CHART], shown),
            "Precision over recall at IoU 0.5, and area",
        )
        for k in range(0, len(names), CLASSES_PER_CHART)
    ]


def _by_quality(classes) -> dict:
    return dict(sorted(classes.items(), key=lambda item: -(item[1].get("ap_voc07") or 0)))


def sample_pictures(run) -> Html:
    figures = [
        tag(
            "figure",
            image(path.read_bytes(), PICTURE_SUFFIXES[path.suffix.lower()], path.stem),
            tag("figcaption", path.stem),
        )
        for path in run.pictures[:MAX_PICTURES]
    ]
    if not figures:
        return Html("")
    more = len(run.pictures) - len(figures)
    note = (
        tag("p", f"{more} more in {run.pictures[0].parent.name}/.", class_="soft") if more else ""
    )
    return join([tag("div", *figures, class_="pictures"), note])


# Where the time of a training goes: columns of metrics.csv. Runs of earlier versions lack the last
# three, and are shown by what they have.
SPENT = {
    "input_seconds": "waiting for input",
    "step_seconds": "training step",
    "evaluation_seconds": "evaluation",
    "checkpoint_seconds": "checkpoints",
    "other_seconds": "the rest",
}


def timing(run) -> Html:
    """Where the time of a training goes, in all and by epoch."""
    spent = {text: run.metrics[name] for name, text in SPENT.items() if name in run.metrics}
    totals = {text: sum(_finite(values)) for text, values in spent.items()}
    total = sum(totals.values())
    if not total:
        return Html("")
    rows = [
        [text, duration(seconds), bar(seconds / total, percent(seconds / total))]
        for text, seconds in totals.items()
    ]
    epochs = run.metrics.get("epoch")
    return pair(
        table(["", "time", "share"], rows),
        charts.stacked(epochs, spent, title="Seconds of an epoch") if epochs else "",
        charts.curves(
            _by_epoch(run, ["images_per_second"]), title="Images per second", limits=(0, None)
        ),
    )


def dataset(run) -> Html:
    return join(
        join([tag("h3", f"{split}: {values.get('name', '')}"), _dataset_split(values)])
        for split, values in run.dataset.items()
        if isinstance(values, dict)
    )


def configuration(run) -> Html:
    recipe = {name: run.config[name] for name in ("recipe",) if name in run.config}
    config = recipe | run.config.get("config", {})
    environment = run.config.get("environment", {})
    return pair(*(_key_values(values) for values in (config, environment) if values))


# Heading and function of each part, in the order of the page. A part without content is left out.
SECTIONS = (
    ("Network", network.layers),
    ("Learning curves", learning_curves),
    ("Detection quality", detection_quality),
    ("What is wrong", what_is_wrong),
    ("Worst errors", worst_errors),
    ("Watched images", watched_images),
    ("Exports", exports),
    ("Sample predictions", sample_pictures),
    ("Time", timing),
    ("Data", dataset),
    ("Configuration and environment", configuration),
)


# ------------------------------------------------------------------ details


def _dataset_split(values) -> Html:
    counts = [
        (text, number(values[key]))
        for key, text in (
            ("images", "images"),
            ("images_without_boxes", "images without boxes"),
            ("boxes", "boxes"),
            ("difficult", "of them difficult"),
        )
        if key in values
    ]
    classes = values.get("classes", {})
    balance = [
        [
            name,
            number(c.get("images")),
            number(c.get("boxes")),
            bar(c.get("share"), percent(c.get("share"))),
        ]
        for name, c in sorted(classes.items(), key=lambda item: -(item[1].get("boxes") or 0))
    ]
    sizes = [
        [text, *(show(values[key].get(point)) for point in ("p10", "median", "p90"))]
        for key, text, show in (
            ("box_width_px", "box width, input px", lambda v: number(v, 3)),
            ("box_height_px", "box height, input px", lambda v: number(v, 3)),
            ("box_area_share", "box area, of the image", percent),
            ("boxes_per_image", "boxes of an image", lambda v: number(v, 3)),
        )
        if values.get(key)
    ]
    collisions = [
        [f"S = {side}", number(c.get("lost")), percent(c.get("share"))]
        for side, c in values.get("collisions", {}).items()
    ]
    parts = [table(None, counts)]
    if sizes:
        parts.append(table(["sizes", "10 %", "median", "90 %"], sizes))
    if collisions:
        parts.append(table(["lost to cell collisions", "objects", "share"], collisions))
    notes = [
        join(
            [tag("h3", f"{heading}: {len(values[key])}"), table(None, values[key], numeric_from=2)]
        )
        for key, heading in (("skipped", "Skipped examples"), ("notes", "Notes on the files"))
        if values.get(key)
    ]
    right = table(["class", "images", "boxes", "share"], balance) if balance else ""
    return join([pair(join(parts), right), *notes])


def _key_values(values) -> Html:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [[f"{key}.{k}", _plain(v)] for k, v in value.items()]
        else:
            rows.append([key, _plain(value)])
    return table(None, rows, numeric_from=2)


def _plain(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value in (None, "") else str(value)


def _by_epoch(run, names) -> dict:
    """The named columns of metrics.csv, as far as there are, as lines over the epochs."""
    epochs = run.metrics.get("epoch")
    return {name: (epochs, run.metrics[name]) for name in names if epochs and name in run.metrics}


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(values) -> list[float]:
    return [value for value in values if value == value and abs(value) != float("inf")]
