"""What several losses make of one batch: the page, and a picture of each image cell by cell."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from yolov1.reporting.html import Html, bar, image, number, percent, table, tag
from yolov1.reporting.page import page
from yolov1.semantics import TERMS

RESPONSIBLE, DISPUTED, TRUTH = "#22d3ee", "#f0f", "#fff"
NORMS = {"by_predictions": "by the network's outputs", "by_weights": "by its weights"}


# ---------------------------------------------------------------------------------------- pictures


def picture(photo, objects_cxcywh, losses, S) -> Figure:
    """An image, and below every loss where in it the loss and its gradient lie.

    Args:
        photo: ``[H, W, 3]`` in [0, 1], as the network saw it.
        objects_cxcywh: of the targets, ``[M, 4]`` in fractions of the image.
        losses: name -> dict of ``loss`` ``[S, S]`` and ``gradient`` ``[S, S]`` (its length in each
            cell), and ``responsible`` and ``disputed``: boxes ``[K, 4]`` as the objects, of which
            the second are chosen otherwise than by the first loss.
        S: cells along a side.
    """
    figure = Figure(figsize=(2.35 * (1 + len(losses)), 5.2), layout="constrained", dpi=110)
    axes = figure.subplots(2, 1 + len(losses), squeeze=False)
    grey = photo.mean(axis=-1)
    _photo(axes[0, 0], photo, objects_cxcywh, S)
    axes[1, 0].axis("off")
    axes[1, 0].text(0, 1, _LEGEND, fontsize=8, va="top", transform=axes[1, 0].transAxes)
    # Shares, so that losses of different sizes compare; one scale in each row.
    for row, what in enumerate(("loss", "gradient")):
        shares = {name: _shares(shown[what], what) for name, shown in losses.items()}
        most = max(float(share.max()) for share in shares.values()) or 1.0
        for axis, (name, shown) in zip(axes[row, 1:], losses.items(), strict=True):
            axis.imshow(grey, cmap="gray", extent=(0, 1, 1, 0), vmin=0, vmax=1)
            heat = axis.imshow(
                shares[name], extent=(0, 1, 1, 0), cmap="inferno", alpha=0.75, vmin=0, vmax=most
            )
            _boxes(axis, objects_cxcywh, TRUTH, 0.8)
            if what == "loss":
                _boxes(axis, shown["responsible"], RESPONSIBLE, 1.2)
                _boxes(axis, shown["disputed"], DISPUTED, 1.8)
            total = shown[what].sum() if what == "loss" else np.sqrt(np.square(shown[what]).sum())
            name = name.replace(":", ":\n", 1).replace(",", ",\n")
            axis.set_title(f"{name}\n{what} {total:.3g}", fontsize=8, parse_math=False)
            axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
        figure.colorbar(heat, ax=axes[row, 1:].tolist(), shrink=0.8, format="{x:.0%}")
    return figure


_LEGEND = (
    "above: each cell's share of\nthe image's loss\n"
    "below: the gradient's length\nin each cell, of that of all\n\n"
    "white: the objects\ncyan: boxes held responsible\nmagenta: responsible here, and\n"
    "not by the first loss"
)


def _photo(axis, photo, objects_cxcywh, S):
    axis.imshow(photo, extent=(0, 1, 1, 0), vmin=0, vmax=1)
    for k in range(1, S):
        axis.axhline(k / S, color="white", linewidth=0.3)
        axis.axvline(k / S, color="white", linewidth=0.3)
    _boxes(axis, objects_cxcywh, TRUTH, 1.2)
    axis.plot(*np.transpose(objects_cxcywh)[:2], ".", color=TRUTH, markersize=3)
    axis.set_title("image, objects, grid", fontsize=8)
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))


def _shares(values, what):
    whole = values.sum() if what == "loss" else np.sqrt(np.square(values).sum())
    return values / whole if whole > 0 else values


def _boxes(axis, boxes_cxcywh, colour, width):
    for x, y, w, h in boxes_cxcywh:
        corner = x - w / 2, y - h / 2
        axis.add_patch(Rectangle(corner, w, h, fill=False, edgecolor=colour, linewidth=width))


# -------------------------------------------------------------------------------------------- page


def comparison_page(summary: dict, pictures) -> str:
    """The page of a `summary` as `experiments.compare_losses` writes it.

    Args:
        pictures: (caption, PNG) of images.
    """
    losses = summary["losses"]
    parts = [
        tag("h1", "Losses compared"),
        tag("p", summary["what"], class_="soft"),
        tag("p", summary["wh"], class_="soft"),
        _section("What each loss says", _terms(losses), _SHARES),
        _section(
            "How long the gradient is, and of which term",
            *(part for key, by in NORMS.items() for part in (tag("h3", by), _norms(losses, key))),
            _LENGTHS,
        ),
        _section(
            "Where the gradients point",
            *(
                part
                for key, by in NORMS.items()
                for part in (tag("h3", by), _matrix(losses, summary["cosine"][key], "{:.4f}"))
            ),
            _DIRECTIONS,
        ),
        _section(
            "For how many objects the responsible boxes differ",
            tag("p", f"Of {number(summary['objects'])} objects in {summary['images']} images:"),
            _matrix(losses, summary["disputed"], "{:d}"),
        ),
        _section("Cell by cell", *(_figure(*shown) for shown in pictures)) if pictures else "",
    ]
    return page("Losses compared", parts)


_SHARES = (
    "A term's value, weighted, as a mean over the images, and its share of the loss. Losses of "
    "different systems have no common unit: shares and directions compare, values do not."
)
_LENGTHS = (
    "Euclidean lengths of the gradient of the batch's mean loss, without weight decay; in brackets "
    "as a multiple of the first loss's. Optimizers that divide by the size of the gradient (Adam) "
    "take a constant factor out again, plain SGD follows it. Gradients of terms may work against "
    "each other, so that their lengths need not add up."
)
_DIRECTIONS = "Cosines: 1 is the same direction, 0 is at right angles, -1 is against each other."


def _section(title, *parts) -> Html:
    shown = (tag("p", part, class_="soft") if type(part) is str else part for part in parts)
    return tag("section", tag("h2", title), *shown)


def _terms(losses) -> Html:
    def cell(of):
        return bar(of["share"], _with(of["value"], percent, of["share"]))

    rows = [[term, *(cell(of["terms"][term]) for of in losses.values())] for term in TERMS]
    return table(
        ["term", *losses], [*rows, ["loss", *(number(of["loss"]) for of in losses.values())]]
    )


def _norms(losses, key) -> Html:
    first = next(iter(losses.values()))
    rows = [[term, *(number(of["terms"][term][key]) for of in losses.values())] for term in TERMS]

    def multiple(of):
        known = of[key] is not None and first[key]
        return _with(of[key], "{:.3g} x".format, of[key] / first[key] if known else None)

    return table(["term", *losses], [*rows, ["all", *(multiple(of) for of in losses.values())]])


def _with(value, write_other, other) -> str:
    return number(value) if other is None else f"{number(value)} ({write_other(other)})"


def _matrix(losses, values, form) -> Html:
    rows = [
        [name, *("–" if value is None else form.format(value) for value in row)]
        for name, row in zip(losses, values, strict=True)
    ]
    return table(["", *losses], rows)


def _figure(caption, data) -> Html:
    return tag("figure", image(data, "png", caption), tag("figcaption", caption))
