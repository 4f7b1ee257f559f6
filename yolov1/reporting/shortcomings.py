"""What is wrong with a detector: figures of which each bar and cell leads to its pictures."""

import math

from matplotlib.figure import Figure

from yolov1.reporting import charts
from yolov1.reporting.html import Html, bar, image, join, number, pair, percent, table, tag

MOST_CLASSES = 20  # of a confusion matrix
FEW_CLASSES = 8  # of one that leaves room beside it
KINDS = {
    "classification": "right place, another class",
    "localisation": "right class, badly placed (IoU .1 to .5)",
    "both": "another class, badly placed",
    "duplicate": "once more on an object that is found",
    "background": "where nothing is",
    "missed": "no box is near the object",
    "false_positives": "all boxes that are wrong",
    "false_negatives": "all objects that are not found",
}
LEADS_TO = {
    "false_positives": ("background", "localisation", "classification", "both", "duplicate"),
    "false_negatives": ("missed",),
}
CELLS = {
    "alone": "alone in its cell",
    "kept": "shares its cell, learned from",
    "dropped": "shares its cell, left out in training",
}


def what_is_wrong(run) -> Html:
    """The figures of `evaluation.shortcomings`; nothing of a run without them."""
    found = run.evaluation.get("shortcomings")
    if not found:
        return Html("")
    links, classes = Links(run), list(run.evaluation.get("classes", ()))
    by_class = [_confusion(found, classes, links), _cells(found, links)]
    note = (
        f"A box is shown where it scores at least {found['shown']:g}; an object is found where one "
        "that is shown overlaps it by half, and found at all where any does. What is blue leads to "
        "pictures. docs/errors.md says what to try."
    )
    return join(
        [
            tag("p", note, class_="soft"),
            _tide(found, links),
            pair(_calibration_chart(found, links), _calibration(found, links)),
            pair(*by_class) if len(classes) <= FEW_CLASSES else join(by_class),
            _sizes(found, links),
        ]
    )


def worst_errors(run) -> Html:
    """The pictures of the worst errors by kind."""
    links = Links(run)
    parts, by_kind = [], {}
    for k, entry in enumerate(links.entries):
        by_kind.setdefault(entry["kind"], []).append(k)
    for kind, mine in by_kind.items():
        mine = [k for k in mine if k in links.pictures]
        if mine:
            order = "the largest first" if kind == "missed" else "the best scored first"
            words = "not found" if kind == "missed" else KINDS[kind]
            parts.append(tag("h3", f"{kind}: {words}, {order}", id=kind))
            parts.append(tag("div", *(links.figure(k) for k in mine), class_="pictures small"))
    return join(parts)


class Links:
    """Which bars and cells have pictures, and where: an anchor is at the worst of each."""

    def __init__(self, run):
        folder = run.path / "pictures" / "worst"
        self.entries = run.evaluation.get("shortcomings", {}).get("worst", [])
        files = {k: folder / f"{k:03d}.jpg" for k in range(len(self.entries))}
        self.pictures = {k: file for k, file in files.items() if file.is_file()}
        self.place = {}
        for k in self.pictures:
            for group in self.entries[k]["groups"]:
                self.place.setdefault(group, k)

    def __call__(self, text, *targets):
        """The text as a link to the first of the targets that there is."""
        target = next((t for t in targets if t in self.place), None)
        return tag("a", text, href=f"#{target}") if target else text

    def figure(self, k) -> Html:
        entry = self.entries[k]
        mine = [g for g in entry["groups"] if self.place[g] == k and g != entry["kind"]]
        words = caption(entry)
        return tag(
            "figure",
            *(tag("span", id=group) for group in mine),
            image(self.pictures[k].read_bytes(), "jpeg", words),
            tag("figcaption", tag("b", words), " ", entry["image"]),
        )


def caption(entry) -> str:
    """What is to be seen: "dog 0.93, is cat (IoU 0.82)"."""
    detection, thing = entry["detection"], entry["object"]
    box = f"{detection['class']} {detection['score']:.2f}" if detection else ""
    kind = entry["kind"]
    if kind == "missed":
        near = f"{box} ({detection['kind']}, IoU {entry['iou']:.2f})" if box else "nothing near"
        return f"{thing['class']}; {near}"
    if thing is None:
        return f"{box} where nothing is"
    if kind == "duplicate":
        return f"{box} once more (IoU {entry['iou']:.2f})"
    other = "" if kind == "localisation" else f"is {thing['class']}, "
    return f"{box}, {other}IoU {entry['iou']:.2f}"


# ------------------------------------------------------------------ figures


def _tide(found, links) -> Html:
    if found["ap"] is None:
        return Html("")
    most = max(values["gain"] for values in found["tide"].values())
    rows = [
        [
            _named(links(kind.replace("_", " "), *LEADS_TO.get(kind, (kind,))), KINDS[kind]),
            bar(values["gain"] / most if most else 0.0, f"+{100 * values['gain']:.1f}"),
            number(values["shown"]) if "shown" in values else "",
            number(values["count"]),
        ]
        for kind, values in found["tide"].items()
    ]
    heading = "What the errors cost: points of AP that repairing one kind would bring (TIDE)"
    text = (
        f"AP at IoU 0.5 over 101 points, as TIDE takes it: {percent(found['ap'])}. Gains do not "
        "add up: repairing one kind uncovers others."
    )
    header = ["error", "AP points", "shown", "in all"]
    return join([tag("h3", heading), tag("p", text, class_="soft"), table(header, rows)])


def _named(name, what) -> Html:
    """A name, and below it what it means."""
    return join([name, tag("div", what, class_="soft")])


def _calibration_chart(found, links) -> Html:
    bins = [b for b in found["calibration"]["bins"] if b["detections"]]
    if not bins:
        return Html("")
    figure = Figure()
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1.02), xlabel="score")
    for key, text in (("precision", "share that is right"), ("iou", "overlap with an object")):
        points = [b["score"] for b in bins], [b[key] for b in bins]
        axes.plot(*points, label=text, marker="o", markersize=3)
    axes.plot([0, 1], [0, 1], label="as scored")
    axes.lines[-1].set_linestyle(":")
    for row in bins:
        target = f"score-{_tenth(row)}"
        if target in links.place:
            point = axes.scatter([row["score"]] * 2, [row["precision"], row["iou"]], s=40, zorder=3)
            point.set_color(charts.COLOURS[:2])
            point.set_urls([f"#{target}"] * 2)
    error = found["calibration"]["error"]
    chart = charts.to_svg(figure, "What a score is worth")
    text = f"Expected calibration error of the boxes shown: {number(error, 3)}."
    return join([chart, tag("p", text, class_="soft")])


def _calibration(found, links) -> Html:
    rows = [
        [
            links(f"{row['low']:.1f} – {row['high']:.1f}", f"score-{_tenth(row)}"),
            number(row["detections"]),
            percent(row["precision"]),
            number(row["iou"], 2),
        ]
        for row in found["calibration"]["bins"]
        if row["detections"]
    ]
    header = ["score", "boxes", "right", "mean IoU"]
    return table(header, rows) if rows else Html("")


def _tenth(row) -> int:
    return round(10 * row["low"])


def _confusion(found, classes, links) -> Html:
    matrix, nothing = found["confusion"], len(classes)
    if len(matrix) != nothing + 1:
        return Html("")
    wrong = [
        sum(matrix[k]) + sum(row[k] for row in matrix) - 2 * matrix[k][k] for k in range(nothing)
    ]
    shown = sorted(sorted(range(nothing), key=lambda k: -wrong[k])[:MOST_CLASSES]) + [nothing]
    columns, rows = [*classes, "not found"], [*classes, "nothing there"]

    def cell(i, j):
        count = matrix[i][j]
        if not count:
            return tag("td", "")
        total = sum(matrix[i]) if i < nothing else max(sum(row[j] for row in matrix), 1)
        share = "good" if i == j else "bad"
        style = f"--share:{math.ceil(70 * count / total)}%"
        kind = "missed" if j == nothing else "classification" if i < nothing else "background"
        target = () if i == j else (f"confused-{i * (nothing + 1) + j}", kind)
        words = f"{rows[i]} → {columns[j]}"
        return tag("td", links(number(count), *target), class_=share, style=style, title=words)

    head = [tag("th", ""), *(tag("th", tag("span", columns[j])) for j in shown)]
    body = [tag("tr", tag("th", rows[i], class_="t"), *(cell(i, j) for j in shown)) for i in shown]
    text = "Rows: what is there. Columns: what was found, of the boxes shown."
    if len(shown) <= nothing:
        text += f" The {len(shown) - 1} of {nothing} classes with the most errors."
    grid = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_="matrix")
    return join(
        [
            tag("h3", "What objects are taken for"),
            tag("p", text, class_="soft"),
            tag("div", grid, class_="scroll"),
        ]
    )


def _sizes(found, links) -> Html:
    rows = [
        [
            _named(links(row["name"], f"{row['name'].replace(' ', '-')}-0"), _range(row)),
            number(row["objects"]),
            bar(row["found"], percent(row["found"])),
            percent(row["found_at_all"]),
            percent(row["ap50"]),
            percent(row["ap"]),
        ]
        for row in found["sizes"]
    ]
    header = ["side", "objects", "found", "at all", "AP@0.5", "COCO AP"]
    heading = tag("h3", "Small and large objects, by COCO's sizes and by quarters of all")
    return join([heading, table(header, rows)]) if rows else Html("")


def _range(row) -> str:
    """Sides of a square of that area: pixels of COCO's sizes, of quarters shares of the image's."""
    pixels = row["name"] in ("small", "medium", "large")
    ends = (row["low"], row["high"])
    low, high = (v if v is None else f"{v:.0f} px" if pixels else percent(v) for v in ends)
    of = "" if pixels else " of the image's"
    if low and high:
        return f"{low} – {high}" + of
    return (f"below {high}" if high else f"from {low}" if low else "any") + of


def _cells(found, links) -> Html:
    cells = found.get("cells")
    if not cells:
        return Html("")
    rows = [
        [
            links(text, f"{name}-0"),
            number(cells[name]["objects"]),
            bar(cells[name]["found"], percent(cells[name]["found"])),
            percent(cells[name]["found_at_all"]),
        ]
        for name, text in CELLS.items()
    ]
    heading = tag("h3", f"Objects that share a cell of the {cells['S']} × {cells['S']} grid")
    return join([heading, table(["object", "objects", "found", "at all"], rows)])
