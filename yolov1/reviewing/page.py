"""``review.html``: the suspects in pictures, the best first, all together or those of one kind."""

from yolov1.reporting.html import Html, escape, image, join, number, percent, table, tag
from yolov1.reporting.page import page
from yolov1.reviewing import pictures
from yolov1.reviewing.suspects import ACTION_OF, KINDS

MEANING = {
    "missing": "the network sees an object, and there is no label",
    "unseen": "there is a label, and the network sees nothing of its class",
    "misplaced": "the network sees the label's object elsewhere",
    "disputed": "the network sees another class there",
    "duplicate": "two labels of one class are on nearly one place",
}
LEGEND = (
    "All labels are thin and white. The one in question and what the network sees are in colours."
)
SCORE = (
    "The score is how often network and labels agree in such cases (the 50 detections of the class "
    "that score nearest, or the 50 labels of it that are nearest in size, or as crowded), times "
    "how much is in dispute. It ranks all kinds together; it is no probability of a fault."
)
MOST_NOTES = 100


def render(found, dataset, *, title, facts, warnings=(), planted=None, most=200) -> str:
    """The page as text.

    Args:
        found: suspects, by falling score.
        dataset: what was reviewed.
        facts: {name: value} for the head of the page.
        warnings: sentences that a reader must not miss.
        planted: what `planting.measure` gives, where faults were planted.
        most: how many suspects are shown; what the page weighs is about 20 kB times so many.
    """
    shown = found[:most]
    parts = [
        tag("h1", title),
        tag("p", " · ".join(f"{name} {value}" for name, value in facts.items()), class_="soft"),
        *(tag("section", tag("p", tag("b", "Mind: "), text)) for text in warnings),
        tag("section", tag("h2", "What is suspected"), _counts(found), tag("p", SCORE)),
    ]
    if planted:
        parts.append(tag("section", tag("h2", "Planted faults"), _planted(planted)))
    if shown:
        heading = f"The first {len(shown)} of {len(found)}" if len(shown) < len(found) else "All"
        figures = (_figure(rank, one, dataset) for rank, one in enumerate(shown, start=1))
        content = _choice(shown), tag("p", LEGEND), tag("div", *figures, class_="pictures")
        parts.append(tag("section", tag("h2", heading), *content))
    notes = [*dataset.skipped, *dataset.notes]
    if notes:
        more = f" (the first {MOST_NOTES})" if len(notes) > MOST_NOTES else ""
        head = tag("h2", f"What the reader noted: {len(notes)}{more}")
        rows = table(None, notes[:MOST_NOTES], numeric_from=2)
        parts.append(tag("section", head, rows))
    return page(title, parts)


def _counts(found) -> Html:
    rows = []
    for kind in KINDS:
        mine = [suspect for suspect in found if suspect.kind == kind]
        best = number(mine[0].score, 3) if mine else "–"
        words = join([tag("b", kind), f": {MEANING[kind]}; {ACTION_OF[kind]} it"])
        rows.append([words, number(len(mine)), best])
    return table(["", "suspects", "best score"], rows)


def _planted(planted) -> Html:
    at = [
        [number(row[key]) for key in ("looked_at", "faults")]
        + [percent(row["precision"]), percent(row["recall"])]
        for row in planted["at"]
    ]
    kinds = [
        [kind, number(row["planted"]), percent(row["recall"]), percent(row["named"])]
        + [percent(row["anywhere"])]
        for kind, row in planted["kinds"].items()
    ]
    of_all = ["looked at", "planted faults", "precision", "recall"]
    of_kind = ["", "planted", "recall", "named right", "anywhere"]
    words = (
        f"{planted['planted']} labels were spoilt on purpose. What else is wrong with the labels "
        "counts as a false alarm here, so that precision is a lower bound."
    )
    return join([tag("p", words), table(of_all, at, numeric_from=0), table(of_kind, kinds)])


def _choice(shown) -> Html:
    """Buttons that leave the suspects of one kind, by the style sheet alone."""
    counts = {"all": len(shown)}
    counts |= {kind: sum(one.kind == kind for one in shown) for kind in KINDS}
    buttons = []
    for kind, count in counts.items():
        checked = " checked" if kind == "all" else ""
        button = Html(f'<input type="radio" name="kind" id="only-{escape(kind)}"{checked}>')
        buttons.append(tag("label", button, f"{kind} {count}"))
    return tag("p", *buttons, class_="choice")


def _figure(rank, suspect, dataset) -> Html:
    example = dataset[suspect.image]
    what = f"{rank} {suspect.kind}"
    picture = pictures.jpeg(pictures.draw(suspect, example, dataset.classes))
    words = [tag("b", what), f" {suspect.score:.3f}: {proposal(suspect, example, dataset.classes)}"]
    words += [Html("<br>"), f"image {example.image_id}"]
    if suspect.iou is not None:
        words.append(f", IoU {suspect.iou:.2f}")
    caption = tag("figcaption", *words)
    content = image(picture, "jpeg", f"{what} in image {example.image_id}")
    return tag("figure", content, caption, id=f"s{rank}", class_=f"suspect {suspect.kind}")


def proposal(suspect, example, classes) -> str:
    """What to do, as in "rename RBC to WBC"."""
    seen = None if suspect.seen_class is None else classes[suspect.seen_class]
    if suspect.action == "add":
        return f"add {seen}"
    label = classes[example.labels[suspect.label]]
    return f"{suspect.action} {label}" + (f" to {seen}" if suspect.action == "rename" else "")
