"""Captured workloads (`experiments.train --capture`) as inputs of the benchmarks.

Object density, ties and sizes are then those of a real run, which random numbers do not have: at
the beginning of a training most boxes of a cell are nearly equal, at its end most scores are 0.
"""

import functools
from pathlib import Path

import numpy as np
from absl import flags

from yolov1.training import Workload, WorkloadError, read_workload

flags.disclaim_key_flags()


def define_flag():
    flags.DEFINE_string(
        "workload",
        "",
        "File of experiments.train --capture, to be measured besides; with an empty --parts= (of "
        "bench_nms, --inputs=) it alone.",
    )


@functools.cache
def load(path: str) -> Workload:
    """The file, read once.

    Raises:
        WorkloadError: there is none, or it is something else.
    """
    return read_workload(path)


def or_sentence(run, config):
    """``run(config)``, where a `WorkloadError` ends the program with its sentence: at once where
    ``config.workload`` is no such file, and not when its turn comes."""
    try:
        if getattr(config, "workload", ""):  # not every benchmark has the flag
            load(config.workload)
        return run(config)
    except WorkloadError as error:
        raise SystemExit(f"error: {error}") from error


def part(path: str, step=None) -> str:
    """What rows of a workload, or of one of its steps, have in the column ``part``."""
    name = f"captured:{Path(path).stem}"
    return name if step is None else f"{name}:{step}"


def object_share(path: str, step: int) -> float:
    """Share of the cells that hold an object."""
    workload = load(path)
    flag = workload.steps[step][1][..., workload.grid.target_object_channel]
    return round(float((flag != 0).mean()), 4)


def _corners(centres, sizes):
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], -1)


def _cells(grid):
    """(col, row) of each cell, ``[S, S, 2]``."""
    row, col = np.indices((grid.S, grid.S))
    return np.stack([col, row], -1)


def predicted(path: str, step: int):
    """What suppression gets of a step, by the run's own meaning of sizes; see `inference.decode`.

    Returns:
        boxes_xyxy ``[N, S*S*B, 4]`` and scores ``[N, S*S*B, C]``, float32.
    """
    workload = load(path)
    grid = workload.grid
    outputs = workload.steps[step][0].astype(np.float32)
    boxes = outputs[..., grid.box_channels].reshape(*outputs.shape[:3], grid.B, 4)
    centres = (boxes[..., :2] + _cells(grid)[:, :, None]) / grid.S
    root = workload.semantics.wh == "predict_sqrt"
    sizes = boxes[..., 2:] ** 2 if root else np.maximum(boxes[..., 2:], 0)
    classes = outputs[..., None, grid.class_channels]
    scores = outputs[..., grid.confidence_channels, None] * classes
    images = len(outputs)
    return (
        _corners(centres, sizes).reshape(images, grid.predicted_boxes, 4).astype(np.float32),
        scores.reshape(images, grid.predicted_boxes, grid.C).astype(np.float32),
    )


def true_boxes(path: str, step: int):
    """The objects of a step, ``[N, K, 4]`` corners in float32; images with fewer than the most, K,
    are filled up with boxes of zeros."""
    workload = load(path)
    grid = workload.grid
    targets = workload.steps[step][1].astype(np.float32)
    found = targets[..., grid.target_object_channel] != 0
    boxes = targets[..., grid.target_box_channels]
    corners = _corners((boxes[..., :2] + _cells(grid)) / grid.S, boxes[..., 2:])
    out = np.zeros((len(targets), max(1, int(found.sum((1, 2)).max())), 4), np.float32)
    for image, (mine, here) in enumerate(zip(corners, found, strict=True)):
        out[image, : here.sum()] = mine[here]
    return out


def suppression_batches(path: str, images: int, count: int):
    """So many batches of `predicted`, of images one after another through all steps."""
    steps = [predicted(path, step) for step in load(path).steps]
    boxes, scores = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    for batch in range(count):
        which = np.arange(batch * images, (batch + 1) * images) % len(boxes)
        yield boxes[which], scores[which]
