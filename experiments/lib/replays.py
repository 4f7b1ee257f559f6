"""Steps of runs, taken once more: where their data lies, what they are replayed from, pictures."""

import dataclasses
import types

import numpy as np
from PIL import Image, ImageDraw

from yolov1 import inference, training
from yolov1.files import make_folder, safe_name
from yolov1.microscope import pictures
from yolov1.ops.reference.yolo_loss import boxes_cxcywh

from . import common, session
from .flags import DATA, MAY_CHANGE, UserError

MIN_SIDE = 360
# Of these no number of a training depends.
NO_MATTER = ("fork", *set(MAY_CHANGE) - {*DATA, "epochs", "strategy"})
ENVIRONMENT = ("git_revision", "tensorflow", "keras", "numpy", "machine", "onednn", "gpus", "build")


def replay(path, number: int, *, dataset="", batch=None, **options) -> training.Step:
    """A step of the run at `path`, see `training.replay`.

    Args:
        dataset: where its data lies now, KIND:PATH; empty: where it was.

    Raises:
        UserError: the data is not what the run was trained on.
        WrongRun, FileNotFoundError: there is no such run or step.
    """
    run = training.RunDirectory(path)
    config = run.config_at(number)
    if dataset:
        config = dataclasses.replace(config, dataset=dataset)
    with common.of_a_run(run.path):
        train_set = common.open_split(config, config.train_split)
    before = run.read_json("content.json").get("train")
    change = before and training.difference(before, session.fingerprint(config, train_set))
    if change:
        raise UserError(
            f"{config.dataset} is not what {run.path} was trained on: {change}. A step of other "
            "data is another step. Say where the data lies with --dataset=KIND:PATH."
        )
    return training.replay(run, config, train_set, number, batch=batch, **options)


def proof(step: training.Step) -> str:
    """A sentence on whether a step is the run's to the bit."""
    equal, differs = (step.about["proof"][name] for name in ("equal", "differs"))
    before = [k for k in equal if k <= step.number]
    behind = [k for k in equal if k > step.number]
    if differs:
        return (
            f"This is NOT the run's step: the weights before step {min(differs)} are others than "
            "the run had. Another machine, library or revision adds in another order (config.json "
            "has the run's environment)."
        )
    if behind:
        return (
            f"This is the run's step, to the bit: the weights before step {min(behind)}, which "
            "come of it, are those that the run had."
        )
    if before:
        return (
            f"The weights before step {max(before)} are the run's; of what follows the run has no "
            "digest or checkpoint near (--digests and --keep_every leave them)."
        )
    return "Whether it is the run's to the bit cannot be told: it has no digest or checkpoint near."


def objects_of(step: training.Step, k: int):
    """The boxes of image k as the targets have them, by cell: ``(targets, responsible)``, each with
    boxes_cxcywh, labels and cells; of the latter also scores, which are the confidences."""
    grid, arrays = step.grid, step.arrays
    targets = arrays["targets"][k].reshape(grid.cells, -1)
    predictions = arrays["predictions"][k].reshape(grid.cells, -1)
    cells = np.flatnonzero(arrays["has_object"][k])
    labels = targets[:, grid.class_channels].argmax(axis=-1)
    wh = step.config.loss_semantics().wh
    truth = _in_image(targets[cells][:, grid.target_box_channels], cells, grid, "plain")
    rows, boxes = np.nonzero(arrays["responsible"][k])
    outputs = predictions[:, grid.box_channels].reshape(grid.cells, grid.B, 4)[rows, boxes]
    found = types.SimpleNamespace(
        boxes_cxcywh=_in_image(outputs, rows, grid, wh),
        labels=labels[rows],
        cells=rows,
        boxes=boxes,
        scores=predictions[:, grid.confidence_channels][rows, boxes],
    )
    known = types.SimpleNamespace(boxes_cxcywh=truth, labels=labels[cells], cells=cells)
    return known, found


def _in_image(boxes, cells, grid, wh):
    """Boxes of cells as fractions of the image."""
    boxes = boxes_cxcywh(boxes, grid, wh).numpy().copy()
    boxes[:, 0] += cells % grid.S / grid.S
    boxes[:, 1] += cells // grid.S / grid.S
    return boxes


def draw(step: training.Step, folder, most: int) -> dict[int, dict[str, bytes]]:
    """Writes the pictures of the images with the highest loss, and gives them: image -> ``boxes``
    and ``loss``, as PNG files."""
    drawn = {}
    make_folder(folder)
    for k in by_loss(step)[:most]:
        name = safe_name(f"{k:03d}-{step.about['image_ids'][k]}")
        with common.drawing(folder / name):
            drawn[k] = draw_one(step, k)
            for kind, png in drawn[k].items():
                (folder / f"{name}-{kind}.png").write_bytes(png)
    return drawn


def by_loss(step: training.Step) -> list[int]:
    """The places of the images in the batch, the highest loss first; one that is no number is."""
    loss = np.nan_to_num(step.arrays["terms"].sum(axis=1), nan=np.inf)
    return np.argsort(-loss, kind="stable").tolist()


def draw_one(step: training.Step, k: int, cell=None) -> dict[str, bytes]:
    """The image as the network saw it, a cell (row, col) in a red frame, and what its cells add to
    the loss."""
    image = np.clip(np.nan_to_num(step.arrays["images"][k]), 0, 1)
    if "cell_terms" not in step.arrays:
        return {"image": pictures.png(inference.draw_grid(image, 1, min_side=MIN_SIDE))}
    truth, found = objects_of(step, k)
    finite = np.isfinite(found.boxes_cxcywh).all(axis=-1) & np.isfinite(found.scores)
    found = types.SimpleNamespace(**{n: v[finite] for n, v in vars(found).items()})
    grid = inference.draw_grid(image, step.grid.S, min_side=MIN_SIDE)
    if cell is not None:
        grid = framed(grid, cell, step.grid.S)
    terms = step.arrays["cell_terms"][k]
    whole = np.concatenate([terms, terms.sum(axis=1, keepdims=True)], axis=1)
    return {
        "boxes": pictures.png(inference.draw(grid, found, step.about["classes"], truth=truth)),
        "loss": pictures.by_cell(whole, (image * 255).round().astype(np.uint8)),
    }


def framed(picture, cell, S):
    """The picture with a red frame around a cell."""
    height, width = picture.shape[:2]
    row, col = cell
    corners = (col * width / S, row * height / S, (col + 1) * width / S, (row + 1) * height / S)
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).rectangle([round(c) for c in corners], outline=(255, 30, 30), width=3)
    return np.asarray(image)


def changes(a, b) -> list[str]:
    """What is not the same in two config.json, each in a line; flags first."""
    # A run of before a flag has what the flag stands at.
    default = training.TrainConfig().to_dict()
    one, other = (default | side["config"] for side in (a, b))
    lines = [
        f"--{name}: {one.get(name)!r} in A, {value!r} in B"
        for name, value in other.items()
        if name not in NO_MATTER and one.get(name) != value
    ]
    ours, others = (side.get("environment") or {} for side in (a, b))
    for name in ENVIRONMENT:
        if ours.get(name) != others.get(name):
            lines.append(f"{name}: {ours.get(name)} in A, {others.get(name)} in B")
    return lines or ["Their flags and their environments are the same."]
