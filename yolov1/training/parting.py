"""Where two trainings part: by the rows of their digests, and by the tensors of one step."""

import itertools

import numpy as np

# In the order in which data flows through a step: what differs first is the cause of what follows.
TENSORS = (
    *("indices", "images", "targets", "weights_before", "predictions", "cell_terms", "terms"),
    *("by_predictions", "gradients", "learning_rate", "weights_after"),
)
NAMED = {
    "indices": "the order of the images",
    "images": "the pixels that the network sees",
    "targets": "the targets",
    "weights_before": "the weights before the step",
    "predictions": "the predictions",
    "cell_terms": "the loss of a cell",
    "terms": "the sums of the cells' loss",
    "by_predictions": "the gradient by the predictions",
    "gradients": "the gradient by the weights",
    "learning_rate": "the learning rate",
    "weights_after": "the weights after the step",
}
BOX = ("x", "y", "w", "h")


def interval(rows_a, rows_b) -> tuple[int | None, int | None]:
    """Between which steps two trainings part, by the rows that they have of the same steps.

    Args:
        rows_a, rows_b: as of digests.csv; where one has columns that the other lacks, they do not
            count.

    Returns:
        The last step whose rows, and those of all steps before, are equal, and the first whose rows
        are not; None where there is none.
    """
    others, last = {int(row["step"]): row for row in rows_b}, None
    for row in sorted(rows_a, key=lambda row: int(row["step"])):
        other = others.get(int(row["step"]))
        if other is None:
            continue
        if differing(row, other):
            return last, int(row["step"])
        last = int(row["step"])
    return last, None


def differing(row, other) -> list[str]:
    """The columns in which two rows of a step differ; a row's end, without a loss, has weights."""
    return [n for n in row if n != "step" and row[n] and other.get(n) and row[n] != other[n]]


def step_of_parting(rows_a, rows_b) -> int | None:
    """The step in which two trainings part, of rows of every step; None where they do not. -1 where
    they have parted before the first that both have."""
    last, first = interval(rows_a, rows_b)
    if first is None:
        return None
    one, other = (
        next(row for row in rows if int(row["step"]) == first) for rows in (rows_a, rows_b)
    )
    if "weights" not in differing(one, other):
        return first  # the same weights found another loss
    if last is None:
        return 0 if first == 0 else -1
    return first - 1


def first_difference(a, b) -> dict | None:
    """The first tensor, in the order in which data flows, in which two takes of a step differ.

    Args:
        a, b: `Step`s of the same number.

    Returns:
        None where all that both have is the same to the bit. Else ``tensor``, ``equal`` (those
        before it), ``differ`` and ``of`` (how many of its numbers, of how many), ``a`` and ``b``
        (the first of them), and its place: of what is by images ``image`` (its id) and ``place``
        in the batch, ``images`` (how many), ``cell`` [row, col] and ``cells`` (how many of the
        image's), ``term`` or ``channel``; of weights ``variable`` and ``index``.
    """
    equal = []
    for name in TENSORS:
        ones, others = a.named(name), b.named(name)
        if not ones or not others:
            continue
        found = _difference(name, ones, others, a)
        if found and name == "terms":  # not to be seen in a cell alone: the gradient knows where
            one, other = (step.arrays["by_predictions"][found["place"]] for step in (a, b))
            found |= _cells(_bits(one) != _bits(other))
        if found:
            return {"tensor": name, "named": NAMED[name], "equal": equal} | found
        equal.append(name)
    return None


def _cells(mask) -> dict:
    """The first cell where ``[S, S, D]`` has a difference, and how many there are."""
    cells = np.argwhere(mask.any(axis=-1)).tolist() if mask.ndim == 3 else []
    return {"cell": cells[0], "cells": len(cells)} if cells else {}


def _difference(name, ones, others, step):
    shapes = [[value.shape for value in values] for values in (ones, others)]
    if shapes[0] != shapes[1]:
        pairs = itertools.zip_longest(*shapes)  # one network may have more variables
        pair = next(pair for pair in pairs if pair[0] != pair[1])
        return {"shape": [list(shape) if shape is not None else None for shape in pair]}
    masks = [_bits(one) != _bits(other) for one, other in zip(ones, others, strict=True)]
    counts = [int(mask.sum()) for mask in masks]
    if not sum(counts):
        return None
    k = next(k for k, count in enumerate(counts) if count)
    place = tuple(map(int, np.argwhere(masks[k])[0]))
    found = {"differ": sum(counts), "of": sum(mask.size for mask in masks)}
    found |= {"a": _plain(ones[k][place]), "b": _plain(others[k][place])}
    if name in ("weights_before", "weights_after", "gradients"):
        names = step.about["trainable" if name == "gradients" else "variables"]
        several = sum(map(bool, counts))
        return found | {"variable": names[k], "index": list(place), "variables": several}
    return found | _place(name, place, masks[k], step) if place else found


def _place(name, place, mask, step) -> dict:
    """Which image, cell and channel a number of a batch's tensor is of."""
    images = mask.reshape(len(mask), -1).any(axis=1)
    found = {"image": step.about["image_ids"][place[0]], "place": place[0]}
    found["images"] = int(images.sum())
    grid, mask = step.grid, mask[place[0]]
    if name == "images":
        rows, cols = (
            axis * grid.S // side for axis, side in zip(place[1:3], mask.shape, strict=False)
        )
        return found | {"cell": [rows, cols], "pixel": list(place[1:])}
    if name == "cell_terms":
        cell, term = place[1:]
        cells = int(mask.any(axis=-1).sum())
        terms = [step.about["terms"][t] for t in np.flatnonzero(mask[cell])]
        return (
            found
            | {"cell": list(divmod(cell, grid.S)), "cells": cells, "terms": terms}
            | {"term": step.about["terms"][term]}
        )
    if name == "terms":
        return found | {"term": step.about["terms"][place[1]]}
    if len(place) == 4:
        names = channels(step.about["classes"], grid, name == "targets")
        return found | _cells(mask) | {"channel": names[place[3]]}
    return found


def channels(classes, grid, of_targets=False) -> list[str]:
    """What the channels of a cell mean."""
    if of_targets:
        return [*(f"class {name}" for name in classes), "object", *BOX]
    boxes = [f"{side} of box {j}" for j in range(grid.B) for side in BOX]
    confidences = [f"confidence of box {j}" for j in range(grid.B)]
    return [*(f"class {name}" for name in classes), *confidences, *boxes]


def sentences(found, number: int) -> list[str]:
    """What `first_difference` found, in words."""
    if found is None:
        return [f"Step {number} is the same in both, to the bit, in all that both have of it."]
    lines = [f"They part at step {number}, in {found['named']} ({found['tensor']})."]
    if "shape" in found:
        one, other = (shape if shape is not None else "none" for shape in found["shape"])
        return [*lines, f"Its shapes differ: {one} in A, {other} in B."]
    where = []
    if "image" in found:
        where.append(f"image {found['image']!r}")
    if "cell" in found:
        where.append(f"cell (row {found['cell'][0]}, column {found['cell'][1]})")
    where += [f"{n} {found[n]!r}" for n in ("term", "channel", "variable") if n in found]
    first = f"First: {', '.join(where)}: " if where else ""
    lines.append(f"{first}{found['a']!r} in A, {found['b']!r} in B.")
    count = [f"{found['differ']} of {found['of']} numbers differ"]
    if "images" in found:
        count.append(f"in {found['images']} image{'s' * (found['images'] != 1)}")
    if "cells" in found:
        count.append(f"of the first in {found['cells']} cell{'s' * (found['cells'] != 1)}")
    if "variables" in found:
        count.append(f"in {found['variables']} variable{'s' * (found['variables'] != 1)}")
    if found["of"] > 1:
        lines.append(f"{', '.join(count)}.")
    if found["equal"]:
        names = dict.fromkeys(NAMED[name] for name in found["equal"])
        lines.append(f"The same to the bit before that: {', '.join(names)}.")
    return lines


def _bits(values):
    """Numbers as integers, so that a NaN is itself and -0 is not 0."""
    return values.view(f"u{values.itemsize}") if values.dtype.kind == "f" else values


def _plain(value):
    value = value.item()
    return value if not isinstance(value, float) or np.isfinite(value) else str(value)
