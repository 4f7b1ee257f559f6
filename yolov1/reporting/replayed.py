"""The page of `experiments.replay`: one step of a training, image by image."""

import numpy as np

from yolov1.reporting.html import Html, figure_of, join, number, table, tag, tiles
from yolov1.reporting.page import page

CAPTIONS = {
    "image": "The image as the network saw it.",
    "boxes": "The image as the network saw it: objects thin and white, the responsible boxes with "
    "the object's class and their confidence.",
    "loss": "What each cell adds to the loss, by term.",
}
MOST_WEIGHTS = 40  # rows of the table


def render(title: str, step, proof: str, pictures: dict) -> str:
    """The page as text.

    Args:
        title: of the page.
        step: the `training.Step`.
        proof: a sentence on whether it is the run's.
        pictures: place in the batch -> name -> PNG file.
    """
    about = step.about
    parts = [tag("h1", title), tag("p", proof), _tiles(step)]
    loss = step.arrays["terms"].sum(axis=1)
    order = np.argsort(-np.nan_to_num(loss, nan=np.inf), kind="stable")
    rows = [
        [_link(about["image_ids"][k], k in pictures, k), _figure(loss[k])]
        + [_figure(value) for value in step.arrays["terms"][k]]
        for k in map(int, order)
    ]
    heads = ["image", "loss", *(name.replace("_", " ") for name in about["terms"])]
    parts.append(tag("section", tag("h2", "Images"), table(heads, rows)))
    for k in pictures:
        shown = [figure_of(png, name, CAPTIONS[name]) for name, png in pictures[k].items()]
        heading = tag("h2", about["image_ids"][k], id=f"image-{k}")
        parts.append(tag("section", heading, tag("div", *shown, class_="pair")))
    parts.append(tag("section", tag("h2", "Weights"), _weights(step)))
    return page(title, parts)


def _tiles(step) -> Html:
    about, arrays = step.about, step.arrays
    norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in step.several("gradients")))
    shown = [
        ("loss", number(float(arrays["terms"].sum(axis=1).mean()))),
        ("images", str(len(arrays["terms"]))),
        ("norm of the gradient", number(norm)),
    ]
    if "learning_rate" in arrays:
        shown.append(("learning rate", number(float(arrays["learning_rate"]))))
    if "base" in about:
        shown.append(("begun at step", str(about["base"])))
    return tiles(shown)


def _link(text, there, k) -> Html:
    return tag("a", text, href=f"#image-{k}") if there else tag("span", text)


def _figure(value) -> str:
    return number(float(value)) if np.isfinite(value) else str(float(value))


def _weights(step) -> Html:
    """Norms of gradient and move of the variables that the step moves most, for their size."""
    about, places = step.about, {name: k for k, name in enumerate(step.about["variables"])}
    before, after = step.several("weights_before"), step.several("weights_after")
    rows = []
    for path, gradient in zip(about["trainable"], step.several("gradients"), strict=True):
        k = places[path]
        moved = np.linalg.norm(after[k] - before[k]) if after else np.nan
        rows.append((path, np.linalg.norm(before[k]), np.linalg.norm(gradient), moved))
    rows.sort(key=lambda row: -np.nan_to_num(row[3] / (row[1] + 1e-12), nan=np.inf))
    shown = [[path, *map(_figure, values)] for path, *values in rows[:MOST_WEIGHTS]]
    more = len(rows) - len(shown)
    note = f"The {len(shown)} that move most for their size, of {len(rows)}." if more else ""
    heads = ("variable", "norm before", "norm of its gradient", "norm of its move")
    return join([table(heads, shown), tag("p", note, class_="soft")])
