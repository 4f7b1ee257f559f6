"""The gradient of the YOLO loss against central differences in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import iou_numpy, loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    VARIANTS,
    random_case,
    tie_boxes,
    value_and_gradient,
)
from yolov1 import ops

STEP, UPSTREAM = 1e-6, 1.75


def numeric_case(grid, wh):
    """One image with tied boxes in half of its cells, and with sizes at the kink of q where there
    is one: (predictions, targets), both ``[1, ...]``."""
    predictions, targets = random_case(grid, 1, 0.6, seed=3, dtype=np.float64)
    tie_boxes(predictions, grid)
    if wh in ("sqrt_in_loss", "heron10"):
        predictions[:, 1, :, grid.box_channels.start + 2] = 0
    return predictions, targets


def moved_copies(predictions, points, step):
    """``[P, ...]``: copy k of the one image, with its value at flat index `points[k]` moved."""
    copies = np.repeat(predictions, len(points), axis=0)
    copies.reshape(len(points), -1)[np.arange(len(points)), points] += step
    return copies


def aspects(predictions, targets, grid, semantics):
    """CIoU's v and alpha of the responsible boxes, zeros elsewhere: two ``[N, L, B]``."""
    cells = loss_numpy.object_cells(predictions, targets, grid, semantics)
    pairs = iou_numpy.pairs(cells.frame, cells.target_frame, "ciou", "cxcywh")
    _, chosen = loss_numpy.choose(cells, semantics)
    out = np.zeros((2, len(predictions), grid.cells, grid.B))
    out[0][cells.at] = np.where(chosen, pairs.v, 0)
    out[1][cells.at] = np.where(chosen, pairs.alpha, 0)
    return out


@pytest.mark.each_value
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("impl", IMPLS)
def test_gradient_is_the_numeric_one(impl, variant):
    grid, semantics = GRIDS["many boxes"], VARIANTS[variant]
    predictions, targets = numeric_case(grid, semantics.wh)
    options = dict(grid=grid, semantics=semantics, impl=impl)
    gradient = value_and_gradient(
        predictions, targets, upstream=tf.constant([UPSTREAM], tf.float64), **options
    )[2].ravel()

    points = np.arange(predictions.size)
    in_box = points % grid.channels >= grid.box_channels.start
    low, high = (moved_copies(predictions, points, step) for step in (-STEP, STEP))
    copied = np.repeat(targets, points.size, axis=0)
    responsible_low, responsible_high = (
        loss_numpy.yolo_loss(p, copied, grid, semantics).responsible for p in (low, high)
    )
    tie = (responsible_low != responsible_high).any((1, 2))
    kink = (semantics.wh in ("sqrt_in_loss", "heron10")) & (predictions.ravel()[points] == 0)
    skipped = tie | kink
    assert skipped.mean() <= 0.2, f"{tie.sum()} of {tie.size} at ties, {kink.sum()} at kinks"

    terms = (ops.yolo_loss(p, copied, **options).terms.numpy() for p in (high, low))
    slopes = np.subtract(*terms) / (2 * STEP)
    if semantics.box == "ciou":  # alpha is held constant, so v times its slope does not count
        v, _ = aspects(predictions, targets, grid, semantics)
        alphas = (aspects(p, copied, grid, semantics)[1] for p in (high, low))
        slopes[:, 0] -= semantics.weight_xy * (v * np.subtract(*alphas)).sum((1, 2)) / (2 * STEP)
    if semantics.confidence_target == "iou":  # held constant: a box does not move the object term
        slopes[in_box, 2] = 0
    numeric, checked = UPSTREAM * slopes.sum(1), ~skipped
    np.testing.assert_allclose(numeric[checked], gradient[points][checked], rtol=1e-6, atol=2e-7)
    moved = np.count_nonzero(numeric[checked & in_box])  # outputs of responsible boxes
    flat = semantics.box in ("iou", "giou")  # in the place of a box inside its object
    assert moved >= (30 if flat else 40)
