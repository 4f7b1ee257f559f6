"""The gradients of batched IoU against central differences in float64."""

import numpy as np
import pytest

from tests.ops import iou_numpy
from tests.ops.iou_cases import (
    DEGENERATE,
    FORMATS,
    IMPLS,
    KINDS,
    degenerate_pairs,
    random_boxes,
    value_and_gradients,
)
from yolov1 import ops

STEP = 2.0**-20  # a power of two: boxes that are equal stay so when both are moved
# A line on an edge is a tie of ties: the product of two means. An enclosing box that is a line, or
# a point, is where the penalty of giou, or of diou, jumps.
NO_SLOPE = ("a line on an edge", "two lines in one", "one point twice")


def moved(boxes_a, boxes_b):
    """Copies of both ``[8, 2, P, 4]``, in which one of the pair's coordinates is a step lower and
    a step higher."""
    steps = STEP * np.eye(8)[:, None] * np.array([-1, 1])[:, None]
    return [
        boxes + step[:, :, None]
        for boxes, step in ((boxes_a, steps[..., :4]), (boxes_b, steps[..., 4:]))
    ]


def numeric(boxes_a, boxes_b, kind, **options):
    """Both gradients, ``[P, 8]``; for ciou alpha is that of the pair where it was not moved."""
    a, b = moved(boxes_a, boxes_b)
    value = ops.aligned_iou(a, b, kind="diou" if kind == "ciou" else kind, **options).numpy()
    if kind == "ciou":  # the op does not tell v: the NumPy reference does
        box_format = options["box_format"]
        alpha = iou_numpy.pairs(boxes_a, boxes_b, kind, box_format).alpha
        held = iou_numpy.pairs(a, b, kind, box_format, alpha).iou
        value = value + held - iou_numpy.pairs(a, b, "diou", box_format).iou
    return ((value[:, 1] - value[:, 0]) / (2 * STEP)).T


def analytic(boxes_a, boxes_b, **options):
    return np.concatenate(value_and_gradients("aligned_iou", boxes_a, boxes_b, **options)[1:], -1)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_gradient_is_the_numeric_one(impl, kind, box_format):
    options = dict(kind=kind, box_format=box_format, impl=impl)
    boxes = [random_boxes(200, seed=seed, box_format=box_format) for seed in (1, 2)]
    got = analytic(*boxes, **options)
    np.testing.assert_allclose(got, numeric(*boxes, **options), rtol=1e-5, atol=1e-8)
    assert np.count_nonzero(got) >= (400 if kind == "iou" else 1200)


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_at_ties_it_is_the_mean_of_either_side(impl, kind, box_format):
    """Shared edges, boxes that touch, lines, inverted boxes: what a central difference sees."""
    options = dict(kind=kind, box_format=box_format, impl=impl)
    names = [name for name in DEGENERATE if name not in NO_SLOPE]
    boxes = degenerate_pairs(box_format, names=tuple(names))
    assert len(names) == len(DEGENERATE) - len(NO_SLOPE)
    # The step leaves half a curvature of either side.
    np.testing.assert_allclose(
        analytic(*boxes, **options), numeric(*boxes, **options), rtol=0, atol=1e-4
    )
