"""Objects as boxes, for the tests of the loss; needs no TensorFlow."""

import numpy as np

from yolov1.data import encode_targets
from yolov1.kernels import Boxes


def random_boxes(grid, images, most, seed=0, mask=False) -> Boxes:
    """Up to `most` objects an image, a third of them centred on the borders of cells."""
    generator = np.random.default_rng(seed)
    boxes = generator.uniform(0.02, 1, (images, most, 4)).astype(np.float32)
    on_border = generator.integers(0, grid.S + 1, boxes[:, ::3, :2].shape) / np.float32(grid.S)
    boxes[:, ::3, :2] = np.minimum(on_border, 1)
    boxes[:, 1::3, 2:] = 0.25  # of equal areas
    labels = generator.integers(0, grid.C, (images, most)).astype(np.int32)
    if mask:
        return Boxes(boxes, labels, generator.random((images, most)) < 0.6)
    return Boxes(boxes, labels, generator.integers(0, most + 1, images).astype(np.int32))


def encoded(boxes, grid, on_collision="first"):
    """What the encoder makes of them, ``[N, S, S, C + 5]``."""
    images, most = boxes.labels.shape
    valid = boxes.valid
    if valid.ndim == 1:
        valid = np.arange(most) < valid[:, None]
    objects = zip(boxes.boxes_cxcywh, boxes.labels, valid, strict=True)
    return np.stack(
        [encode_targets(b[v], label[v], grid, on_collision)[0] for b, label, v in objects]
    )
