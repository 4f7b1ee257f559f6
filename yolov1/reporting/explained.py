"""The page of `experiments.explain`: images, one below the other, each taken apart."""

from yolov1.reporting.html import Html, figure_of, join, number, pair, table, tag, tiles
from yolov1.reporting.page import page
from yolov1.semantics import TERMS

CAPTIONS = {
    "prediction": "What is found: class and score. Objects are thin and white.",
    "target": "The objects. Red: the cell of one that is lost to another, which is thin and white.",
    "boxes": "Of each object its responsible box (drawn out) and the next best (dashed).",
    "suppression": "What is found (thick), what went in its favour (dashed), and their cells.",
    "loss": "What each cell adds to the loss, by term.",
    "gradient": "How strongly the loss would move each cell's outputs, by term.",
}
WIDE = ("loss", "gradient")
MAX_ROWS = 100


def render(title, explained) -> str:
    """The page as text.

    Args:
        title: of the page.
        explained: (what `Explanation.to_json` gives, its pictures as PNG files by name) of each
            image.
    """
    parts = [tag("h1", title)]
    for one, pictures in explained:
        parts.append(tag("section", tag("h2", one["image"]), _of_one(one, pictures)))
    return page(title, parts)


def _of_one(one, pictures) -> Html:
    shown = {name: figure_of(png, name, CAPTIONS[name]) for name, png in pictures.items()}
    small = [figure for name, figure in shown.items() if name not in WIDE]
    parts = [_headline(one), pair(*small)]
    parts += [shown[name] for name in WIDE if name in shown]
    parts.append(_objects(one))
    return join([*parts, pair(_detections(one), _suppressed(one))])


def _headline(one) -> Html:
    shown = []
    if "terms" in one:
        terms, objects = one["terms"], one["objects"]
        shown += [("loss", number(sum(terms.values()), 3))]
        shown += [(name.replace("_", " "), number(value, 3)) for name, value in terms.items()]
        shown += [("objects", len(objects)), ("lost", sum("lost_to" in o for o in objects))]
    shown += [("found", len(one["detections"])), ("suppressed", len(one["suppressed"]))]
    return tiles(shown)


def _objects(one) -> Html:
    """A row for each box of an object's cell."""
    rows = []
    for k, thing in enumerate(one.get("objects", ()), start=1):
        head = [f"{k} {thing['class']}", _cell(thing["cell"])]
        if "lost_to" in thing:
            rows.append([*head, f"lost to {thing['lost_to'] + 1}", *[""] * (4 + len(TERMS))])
            continue
        for box in thing["boxes"]:
            values = (box["iou"], box["confidence"], thing["class_probability"], box["score"])
            terms = box["terms"] | {"class": thing["terms"]["class"] if box["responsible"] else 0.0}
            role = "responsible" if box["responsible"] else "other"
            rows.append(
                [*head, f"{role} (box {box['box']})", *(number(v, 3) for v in values)]
                + [number(terms[name], 3) for name in TERMS]
            )
            head = ["", ""]
    if not rows:
        return Html("")
    columns = ["object", "cell", "its box", "IoU", "confidence", "p(class)", "score"]
    columns += [name.replace("_", " ") for name in TERMS]
    return join([tag("h3", "Objects and the boxes of their cells"), table(columns, rows)])


def _detections(one) -> Html:
    rows = [
        [f"{k} {found['class']}", number(found["score"], 3), _cell(found["cell"]), found["box"]]
        for k, found in enumerate(one["detections"], start=1)
    ]
    heading = tag("h3", "What is found, and which cell and box it comes of")
    return join([heading, table(["", "score", "cell", "box"], rows)]) if rows else Html("")


def _suppressed(one) -> Html:
    rows = [
        [
            found["class"],
            number(found["score"], 3),
            _cell(found["cell"]),
            found["box"],
            "too many" if found["in_favour_of"] is None else found["in_favour_of"] + 1,
            number(found["iou"], 3),
        ]
        for found in one["suppressed"]
    ]
    if not rows:
        return Html("")
    more = f", the best {MAX_ROWS} of {len(rows)}" if len(rows) > MAX_ROWS else ""
    columns = ["", "score", "cell", "box", "in favour of", "IoU with it"]
    return join([tag("h3", f"Suppressed{more}"), table(columns, rows[:MAX_ROWS])])


def _cell(place) -> str:
    return f"{place[0]}, {place[1]}"
