"""The images that a run watches, over its evaluations: what ``watched.npz`` holds."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from yolov1.microscope.measures import churn, churn_of_all, fits, image_terms, lost_objects
from yolov1.reporting import charts
from yolov1.reporting.html import Html, join, number, pair, percent, photo, tag
from yolov1.semantics import TERMS

PANELS = 10  # of a strip; of more evaluations so many are shown
PANEL_SIDE = 102  # ten of them fill the page
LABEL_HEIGHT, GAP = 16, 3
MAX_BYTES = 2_000_000  # of the page, for all strips together
MAX_POINTS = 150  # of each evaluation in the chart of confidence and IoU


def watched_images(run) -> Html:
    record = run.watched
    if record is None or not len(record):
        return Html("")
    return join([_about(record), _charts(record), *_strips(record)])


def _about(record) -> Html:
    lost = lost_objects(record)
    objects = sum(len(one["labels"]) for one in record.images)
    words = (
        f"{record.about['watch']}: {len(record.images)} images with {objects} objects, of "
        f"which {len(lost)} lost their cell to another; {len(record)} evaluations. Of each image, "
        "above: what was found (green) and the objects (white); below: the loss of each cell, in "
        "one scale over the evaluations, framed in blue where another box became responsible."
    )
    return tag("p", words, class_="soft")


def _charts(record) -> Html:
    epochs = record.epoch.tolist()
    terms = image_terms(record).mean(axis=1)
    fit = [fits(record, e) for e in range(len(record))]
    means = {
        name: (epochs, [float(values[k].mean()) if len(values[k]) else math.nan for values in fit])
        for k, name in enumerate(("IoU", "confidence"))
    }
    return pair(
        charts.curves(
            {"churn": (epochs, churn_of_all(record).tolist())},
            title="Object cells whose responsible box changed",
            limits=(0, None),
        ),
        charts.curves(means, title="Responsible boxes: IoU and confidence", limits=(0, 1)),
        charts.curves(
            {name: (epochs, terms[:, k].tolist()) for k, name in enumerate(TERMS)},
            title="Terms of a watched image",
            log=True,
        ),
        _confidence_over_iou(record, fit),
    )


def _confidence_over_iou(record, fit) -> Html:
    """A point for every responsible box, at the first evaluation, in the middle and at the last."""
    chosen = [e for e in _spread(len(record), 3) if len(fit[e][0])]
    if not chosen:
        return Html("")
    figure = Figure()
    axes = figure.add_subplot(xlabel="IoU", ylabel="confidence", xlim=(0, 1), ylim=(-0.02, 1.02))
    for e in chosen:
        iou, confidence = (values[:: -(-len(values) // MAX_POINTS)] for values in fit[e])
        label = f"epoch {record.epoch[e]}"
        axes.plot(iou, confidence, "o", markersize=2.5, alpha=0.7, label=label)
    return charts.to_svg(figure, "Responsible boxes: confidence over IoU")


def _strips(record):
    """Image by image, as far as there is room."""
    lost, changes, terms = lost_objects(record), churn(record), image_terms(record)
    room = MAX_BYTES
    for k, one in enumerate(record.images):
        picture = _strip(record, k)
        room -= len(picture)
        if room < 0:
            yield tag("p", f"{len(record.images) - k} more in watched.npz.", class_="soft")
            return
        label = _label(record, k, [pair for at, *pair in lost if at == k], changes[:, k])
        chart = charts.curves(
            {
                name: (record.epoch.tolist(), terms[:, k, t].tolist())
                for t, name in enumerate(TERMS)
            },
            title=f"Terms of {one['id']}",
            log=True,
        )
        more = tag("details", tag("summary", "Its terms"), chart) if chart else ""
        first, last = (number(float(terms[e, k].sum()), 3) for e in (0, -1))
        yield join(
            [
                tag("h3", f"{one['id']}: loss {first} → {last}"),
                tag("div", picture, class_="frames"),
                tag("p", label, class_="soft"),
                more,
            ]
        )


def _label(record, k, lost, changes) -> str:
    one, classes = record.images[k], record.about["classes"]
    words = [f"{one['set']} set", f"objects: {len(one['labels'])}"]
    for gone, keeper in lost:
        names = (classes[one["labels"][j]] for j in (gone, keeper))
        cell = divmod(one["cells"][gone], record.grid.S)
        words.append("cell {}, {}: {} lost to {}".format(*cell, *names))
    known = changes[np.isfinite(changes)]
    if len(known):
        words.append(f"churn, mean: {percent(float(known.mean()))}")
    return "; ".join(words)


def _strip(record, k) -> Html:
    """Above what was found (green) and the objects (white), below the loss of each cell, in one
    scale; object cells whose responsible box is another than before are framed."""
    chosen = _spread(len(record), PANELS)
    width, height = len(chosen) * (PANEL_SIDE + GAP) - GAP, LABEL_HEIGHT + 2 * PANEL_SIDE + GAP
    sheet = Image.new("RGB", (width, height), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    small = Image.fromarray(record.pictures[k]).resize((PANEL_SIDE, PANEL_SIDE), Image.BICUBIC)
    losses = record.seen["terms"][:, k].sum(axis=-1)
    highest = max(float(losses[np.isfinite(losses)].max(initial=0)), 1e-12)
    for place, e in enumerate(chosen):
        x = place * (PANEL_SIDE + GAP)
        canvas.text((x, 0), f"epoch {record.epoch[e]}", fill="black", font=font)
        sheet.paste(_found(small, record, k, e), (x, LABEL_HEIGHT))
        heat = _heat(small, losses[e] / highest, _moved(record, k, e), record.grid.S)
        sheet.paste(heat, (x, LABEL_HEIGHT + PANEL_SIDE + GAP))
    return photo(sheet, record.images[k]["id"], quality=80)


def _found(small, record, k, e) -> Image.Image:
    panel = small.copy()
    canvas = ImageDraw.Draw(panel)
    for cx, cy, w, h in record.images[k]["boxes_cxcywh"]:
        _rectangle(canvas, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), "white")
    for row in record.seen["detections"][e, k]:
        if np.isfinite(row).all():
            _rectangle(canvas, row[:4], "#22c55e")
    return panel


def _heat(small, shares, moved, S) -> Image.Image:
    """The picture in grey, each cell in the colour of its share of the highest loss."""
    strength = np.sqrt(np.clip(np.nan_to_num(shares, nan=1), 0, 1)).reshape(S, S)
    colours = np.round(colormaps["inferno"](strength) * 255).astype(np.uint8)
    colours[..., 3] = np.where(strength > 0.02, 90 + 150 * strength, 0)
    cells = Image.fromarray(colours).resize(small.size, Image.NEAREST)
    panel = Image.alpha_composite(small.convert("L").convert("RGBA"), cells).convert("RGB")
    canvas = ImageDraw.Draw(panel)
    for cell in moved:
        row, col = divmod(int(cell), S)
        _rectangle(canvas, np.array([col, row, col + 1, row + 1]) / S, "#38bdf8", width=2)
    return panel


def _moved(record, k, e):
    responsible = record.seen["responsible"][:, k]
    return np.flatnonzero((responsible[e] != responsible[e - 1]).any(axis=-1)) if e else ()


def _rectangle(canvas, corners, colour, width=1):
    x0, y0, x1, y1 = np.clip(np.asarray(corners) * (PANEL_SIDE - 1), 0, PANEL_SIDE - 1).tolist()
    canvas.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=width)


def _spread(count, most) -> list[int]:
    """So many numbers below `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
