"""Boxes and scores like those that a network of YOLOv1's size hands to non-maximum suppression."""

import numpy as np

from yolov1.grid import GridSpec

GRID = GridSpec()


def uniform(images: int, seed: int):
    """Boxes of every size, scores spread evenly over [0, 1): nearly all pass any threshold.

    Returns:
        boxes_xyxy ``[N, S*S*B, 4]`` and scores ``[N, S*S*B, C]``, float32.
    """
    rng = np.random.default_rng(seed)
    shape = (images, GRID.S, GRID.S, GRID.B)
    boxes = _corners(rng.random((*shape, 2)), rng.random((*shape, 2)) ** 2)
    return boxes, rng.random((images, GRID.predicted_boxes, GRID.C), np.float32)


def realistic(images: int, seed: int):
    """As of a trained network: one to four objects, each seen by its cell and the eight around it.

    Elsewhere confidences are near zero. The returns are those of `uniform`.
    """
    rng = np.random.default_rng(seed)
    S, B, C = GRID.S, GRID.B, GRID.C
    offsets, sizes = rng.random((images, S, S, B, 2)), rng.uniform(0.1, 0.8, (images, S, S, B, 2))
    sizes = sizes**2
    confidences = rng.exponential(0.01, (images, S, S, B))
    logits = rng.normal(0, 2, (images, S, S, C))
    for image in range(images):
        for _ in range(rng.integers(1, 5)):
            row, col = rng.integers(0, S, 2)
            centre, size = np.array([col, row]) + rng.random(2), rng.uniform(0.15, 0.8, 2)
            label = rng.integers(C)
            for r in range(max(row - 1, 0), min(row + 2, S)):
                for c in range(max(col - 1, 0), min(col + 2, S)):
                    cell = image, r, c
                    weight = np.exp(-((r - row) ** 2) - (c - col) ** 2)
                    seen = weight * rng.uniform(0.2, 1, B)
                    confidences[cell] = np.maximum(confidences[cell], seen)
                    logits[(*cell, label)] += 5
                    offsets[cell] = centre - [c, r] + rng.normal(0, 0.1, (B, 2))
                    sizes[cell] = size * rng.uniform(0.8, 1.2, (B, 2))
    classes = np.exp(logits - logits.max(-1, keepdims=True))
    classes /= classes.sum(-1, keepdims=True)
    scores = confidences[..., None] * classes[:, :, :, None, :]
    scores = scores.reshape(images, GRID.predicted_boxes, C).astype(np.float32)
    return _corners(offsets, sizes), scores


def _corners(offsets, sizes):
    """Boxes of centres, counted from their cells, and of sizes, ``[N, S, S, B, 2]`` each."""
    row, col = np.indices((GRID.S, GRID.S))
    centres = (offsets + np.stack([col, row], axis=-1)[:, :, None]) / GRID.S
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
    return boxes.reshape(len(boxes), GRID.predicted_boxes, 4).astype(np.float32)


INPUTS = {"uniform": uniform, "realistic": realistic}
