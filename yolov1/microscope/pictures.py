"""What `explain` found, drawn. Numbers in pictures are those of the tables beside them."""

import io
import types

import numpy as np
from matplotlib import cm
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from yolov1 import inference
from yolov1.inference import class_colour
from yolov1.microscope.explain import Explanation
from yolov1.semantics import TERMS

MIN_SIDE, MAX_SIDE = 480, 1600  # of the pictures, in pixels; the latter before the former
TITLES = (*TERMS, "all")


def draw_all(explanation: Explanation, image) -> dict[str, bytes]:
    """PNG files by name: ``prediction``, ``suppression``; where the objects are known also
    ``target``, ``boxes``, ``loss`` and ``gradient``.

    Args:
        image: uint8 ``[H, W, 3]``, as the network sees it but for its size.
    """
    drawn = (prediction, suppression)
    if explanation.cells is not None:
        drawn = (prediction, target, boxes, suppression, loss, gradient)
    return {draw.__name__: draw(explanation, image) for draw in drawn}


def prediction(explanation, image) -> bytes:
    """What was found, with class and score; the objects thin and white."""
    grid = inference.draw_grid(image, explanation.grid.S, min_side=_min_side(image))
    return png(
        inference.draw(
            *(grid, explanation.detections, explanation.classes), truth=explanation.truth
        )
    )


def target(explanation, image) -> bytes:
    """The objects, and their cells: white where a cell has one, red where one is lost to it (the
    lost one is thin and white)."""
    S, objects, truth = explanation.grid.S, explanation.objects, explanation.truth
    picture = inference.draw_grid(image, S, min_side=_min_side(image)).astype(np.float32)
    for one in sorted(objects, key=lambda one: "lost_to" in one):
        colour = (255, 40, 40) if "lost_to" in one else (255, 255, 255)
        rows, columns = (
            slice(round(k * side / S) + 1, round((k + 1) * side / S))
            for k, side in zip(one["cell"], picture.shape, strict=False)
        )
        picture[rows, columns] = 0.65 * picture[rows, columns] + 0.35 * np.float32(colour)
    lost = np.array(["lost_to" in one for one in objects], bool)
    kept, gone = (
        types.SimpleNamespace(boxes_xyxy=truth.boxes_xyxy[which], labels=truth.labels[which])
        for which in (~lost, lost)
    )
    picture = picture.round().astype(np.uint8)
    return png(inference.draw(picture, kept, explanation.classes, truth=gone))


def boxes(explanation, image) -> bytes:
    """Of each object cell the responsible box (drawn out) and the next best (dashed), with the
    number of the object, which is white."""
    figure, axes = _figure(image)
    for k, one in enumerate(explanation.objects):
        _box(axes, one["box_xyxy"], "white", linewidth=1)
        colour = _colour(explanation, one["class"])
        for box, line in zip(one.get("boxes", ())[:2], ("-", "--"), strict=False):
            _box(axes, box["box_xyxy"], colour, linestyle=line, linewidth=1.8)
        centre = np.reshape(one["box_xyxy"], (2, 2)).mean(axis=0)
        _tag(axes, centre, k + 1, "black" if "lost_to" not in one else "#ff2828")
    _grid(axes, explanation.grid.S)
    return png(figure)


def suppression(explanation, image) -> bytes:
    """What was found (thick, with its number) and what went in its favour (thin, dashed), each with
    a line from the middle of the cell that it came of."""
    found, grid = explanation.candidates, explanation.grid
    numbers = explanation.detection_numbers
    figure, axes = _figure(image)
    for k in range(len(found.kept)):
        kept, colour = bool(found.kept[k]), np.divide(class_colour(found.labels[k]), 255)
        corners = np.clip(found.boxes_xyxy[k], 0, 1)
        _box(axes, corners, colour, linewidth=2.2 if kept else 1.2, linestyle="-" if kept else "--")
        cell = (np.array(divmod(int(found.cells[k]), grid.S))[::-1] + 0.5) / grid.S
        centre = corners.reshape(2, 2).mean(axis=0)
        axes.plot(*np.stack([cell, centre], axis=1), color=colour, linewidth=0.9)
        axes.plot(*cell, marker="o", markersize=4 if kept else 2.5, color=colour)
        if kept:
            _tag(axes, corners[:2], numbers[k] + 1, colour)
    _grid(axes, grid.S)
    return png(figure)


def loss(explanation, image) -> bytes:
    """What each cell adds to the loss."""
    terms = explanation.cells.terms
    return by_cell(np.concatenate([terms, terms.sum(1, keepdims=True)], axis=1), image)


def gradient(explanation, image) -> bytes:
    """How strongly the loss would move each cell's outputs."""
    terms = explanation.gradient
    whole = np.sqrt((terms.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return by_cell(np.concatenate([terms, whole], axis=1), image, total="norm")


def by_cell(values, image, total="sum") -> bytes:
    """Six panels: the five terms and all of them, in one colour scale.

    Args:
        values: ``[L, 6]``.
        total: what of a panel's cells stands above it: ``"sum"`` or ``"norm"``.
    """
    side = round(len(values) ** 0.5)
    height, width = image.shape[:2]
    panel = 3.0, 3.0 * min(max(height / width, 0.4), 2)
    figure = Figure((3 * panel[0] + 0.9, 2 * panel[1] + 0.8), layout="constrained", dpi=110)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    finite = values[np.isfinite(values)]
    scale = PowerNorm(0.5, vmin=0, vmax=max(finite.max(initial=0), 1e-12))
    panels = figure.subplots(2, 3)
    for axes, column, title in zip(panels.flat, values.T, TITLES, strict=True):
        strength = np.asarray(scale(np.nan_to_num(column, posinf=scale.vmax))).reshape(side, side)
        axes.imshow(grey, cmap="gray", vmin=-160, vmax=255, extent=(0, 1, 1, 0))
        axes.imshow(
            column.reshape(side, side),
            **{"cmap": "inferno", "norm": scale, "extent": (0, 1, 1, 0)},
            alpha=np.where(strength > 0.02, 0.35 + 0.6 * strength, 0),
        )
        axes.set(xticks=[], yticks=[], aspect=height / width)
        whole = column.sum() if total == "sum" else np.sqrt((column.astype(np.float64) ** 2).sum())
        axes.set_title(f"{title.replace('_', ' ')}  {whole:.3g}", fontsize=11)
        for cell in np.argsort(-column)[:3] if title == "all" else ():
            row, col = divmod(int(cell), side)
            if strength[row, col] > 0.3:
                axes.text(
                    *((col + 0.5) / side, (row + 0.5) / side, f"{column[cell]:.2g}"),
                    **{"color": "black" if strength[row, col] > 0.6 else "white", "fontsize": 8},
                    **{"ha": "center", "va": "center"},
                )
    shown = cm.ScalarMappable(scale, "inferno")
    figure.colorbar(shown, ax=panels, shrink=0.8, pad=0.02)
    return png(figure)


def _min_side(image):
    short, long = sorted(image.shape[:2])
    return min(MIN_SIDE, MAX_SIDE * short / long)


def _figure(image):
    height, width = image.shape[:2]
    figure = Figure((5.6, 5.6 * min(max(height / width, 0.2), 2.4)), dpi=120)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, extent=(0, 1, 1, 0), aspect="auto")
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.set_axis_off()
    return figure, axes


def _grid(axes, S):
    for k in range(1, S):
        axes.axhline(k / S, color="white", linewidth=0.4, alpha=0.5)
        axes.axvline(k / S, color="white", linewidth=0.4, alpha=0.5)


def _box(axes, corners, colour, **look):
    x0, y0, x1, y1 = corners
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=colour, **look)


def _tag(axes, place, number, colour):
    x, y = np.clip(place, 0.02, 0.98)
    look = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none", "alpha": 0.85}
    axes.text(x, y, str(number), fontsize=9, color="white", ha="center", va="center", bbox=look)


def _colour(explanation, name):
    return np.divide(class_colour(explanation.classes.index(name)), 255)


def png(picture) -> bytes:
    """A picture, or a figure of Matplotlib, as a PNG file."""
    file = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(file, format="png", metadata={"Software": None})
    else:
        Image.fromarray(picture).save(file, "png")
    return file.getvalue()
