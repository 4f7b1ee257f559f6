"""The gradient of the YOLO loss against central differences in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import numpy_twin
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
        numpy_twin.yolo_loss(p, copied, grid, semantics).responsible for p in (low, high)
    )
    tie = (responsible_low != responsible_high).any((1, 2))
    kink = (semantics.wh in ("sqrt_in_loss", "heron10")) & (predictions.ravel()[points] == 0)
    skipped = tie | kink
    assert skipped.mean() <= 0.2, f"{tie.sum()} of {tie.size} at ties, {kink.sum()} at kinks"

    low, high = (ops.yolo_loss(p, copied, **options).terms.numpy() for p in (low, high))
    slopes = (high - low) / (2 * STEP)
    if semantics.confidence_target == "iou":  # held constant: a box does not move the object term
        slopes[in_box, 2] = 0
    numeric, checked = UPSTREAM * slopes.sum(1), ~skipped
    np.testing.assert_allclose(numeric[checked], gradient[points][checked], rtol=1e-6, atol=2e-7)
    assert np.count_nonzero(numeric[checked & in_box]) >= 40  # responsible boxes were among them
