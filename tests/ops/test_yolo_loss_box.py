"""The overlap of the responsible box and its object in place of the xy and wh terms."""

import dataclasses
import math

import numpy as np
import pytest

from tests.losses.cases import GRID as MODEL_GRID
from tests.losses.cases import fit, small_data, small_model
from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    assert_near,
    loss_function,
    random_case,
    value_and_gradient,
)
from yolov1.grid import GridSpec
from yolov1.losses import YoloLoss
from yolov1.semantics import CHOICES, LossSemantics

KINDS = [kind for kind in CHOICES["box"] if kind != "squared"]
ONE = GridSpec(S=1, B=1, C=1, image_size=8)  # a cell is the image: x, y are its fractions


def only_boxes(kind, **fields):
    """Semantics whose loss is the sum of 1 - K."""
    weights = dict(weight_xy=1, weight_object=0, weight_no_object=0, weight_class=0)
    return LossSemantics(box=kind, **weights | fields)


def pair_function(kind, impl, *, wh="plain", graph=False):
    """(predicted box, object) to the loss and its gradient ``[4]``."""
    function = loss_function(grid=ONE, semantics=only_boxes(kind, wh=wh), impl=impl, graph=graph)

    def run(box, truth):
        predictions, targets = np.zeros((1, 1, 1, 6)), np.ones((1, 1, 1, 6))
        predictions[0, 0, 0, 2:], targets[0, 0, 0, 2:] = box, truth
        loss, terms, gradient = function(predictions, targets)
        assert terms[0, 0] == loss[0] and not terms[0, 1:].any()
        return loss[0], gradient[0, 0, 0, 2:]

    return run


def one_pair(box, truth, kind, impl, **options):
    return pair_function(kind, impl, **options)(box, truth)


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_box_costs_nothing_and_stays(kind, impl):
    truth = (0.4, 0.6, 0.25, 0.5625)
    for wh in CHOICES["wh"]:
        box = (0.4, 0.6, 0.5, 0.75) if wh == "predict_sqrt" else truth
        loss, gradient = one_pair(box, truth, kind, impl, wh=wh)
        assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_by_hand(kind, impl):
    """Boxes [0.25, 0.75] x [0.25, 0.75] and [0.5, 1] x [0.375, 0.625]: the intersection is a
    quarter by a quarter, the union 1/4 + 1/8 - 1/16, the enclosing box 3/4 by 1/2."""
    iou = (1 / 16) / (5 / 16)
    distance = (1 / 4) ** 2 / ((3 / 4) ** 2 + (1 / 2) ** 2)
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
    overlap = {
        "iou": iou,
        "giou": iou - (3 / 8 - 5 / 16) / (3 / 8),
        "diou": iou - distance,
        "ciou": iou - distance - v**2 / (1 - iou + v),
    }[kind]
    loss, _ = one_pair((0.5, 0.5, 0.5, 0.5), (0.75, 0.5, 0.5, 0.25), kind, impl)
    assert loss == pytest.approx(1 - overlap, rel=1e-14)
    root = math.sqrt(0.5)
    loss, _ = one_pair(
        (0.5, 0.5, root, -root), (0.75, 0.5, 0.5, 0.25), kind, impl, wh="predict_sqrt"
    )
    assert loss == pytest.approx(1 - overlap, rel=1e-14)


@pytest.mark.parametrize("impl", IMPLS)
def test_only_iou_leaves_a_box_apart_from_its_object(impl):
    box, truth = (0.125, 0.5, 0.125, 0.25), (0.75, 0.5, 0.25, 0.25)
    gradients = {kind: one_pair(box, truth, kind, impl)[1] for kind in KINDS}
    assert not gradients.pop("iou").any()
    for gradient in gradients.values():
        assert gradient[0] < 0  # to the right, where the object is
    assert one_pair(box, truth, "iou", impl)[0] == 1


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_negative_size_is_an_empty_box(kind, impl):
    """Of area 0, so that its IoU is 0 whatever the overlap that chooses the box says of it."""
    loss, gradient = one_pair((0.5, 0.5, -0.5, 0.5), (0.5, 0.5, 0.25, 0.25), kind, impl)
    assert loss >= 1 and np.isfinite(gradient).all()


@pytest.mark.each_value
@pytest.mark.parametrize("ties", CHOICES["ties"])
@pytest.mark.parametrize("wh", CHOICES["wh"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_with_other_choices(impl, kind, wh, ties):
    """Sizes as each `wh` reads them, a term for each tied box, and an overlap that is clamped
    although the responsible box is chosen by absolute values; the weight of wh is not read."""
    grid = GRIDS["many boxes"]
    predictions, targets = random_case(grid, 2, 0.5, seed=6, dtype=np.float64)
    cells = predictions.reshape(-1, grid.channels)
    cells[::2, grid.box_channels] = np.tile(cells[::2, grid.box_channels][:, :4], grid.B)
    semantics = LossSemantics(
        box=kind, wh=wh, ties=ties, iou_overlap="abs", weight_xy=3, factor=0.5
    )
    got = value_and_gradient(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    want = loss_numpy.yolo_loss(predictions, targets, grid, semantics)
    for one, other in zip(got, want, strict=False):
        assert_near(one, other, 1e-12)
    unread = dataclasses.replace(semantics, weight_wh=1e300)
    again = value_and_gradient(predictions, targets, grid=grid, semantics=unread, impl=impl)
    for one, other in zip(got, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_that_is_not_finite_spoils_itself_alone(kind, impl):
    """Also where the overlap would be finite: that of an infinite box is 0."""
    grid = GridSpec(S=2, B=1, C=3, image_size=32)
    predictions, targets = random_case(grid, 2, 1.0, seed=4)
    semantics = LossSemantics(box=kind, wh="plain")
    run = loss_function(grid=grid, semantics=semantics, impl=impl, graph=True)
    clean = run(predictions, targets)
    start = grid.box_channels.start
    for into, channels in ((0, range(start, start + 4)), (1, range(grid.C + 1, grid.C + 5))):
        for channel in channels:
            for value in (np.inf, -np.inf, np.nan):
                arrays = [predictions.copy(), targets.copy()]
                arrays[into][0, 1, 1, channel] = value
                loss, _, gradient = run(*arrays)
                assert not np.isfinite(loss[0]) and loss[1] == clean[0][1]
                assert not np.isfinite(gradient[0, 1, 1, grid.box_channels]).any()
                gradient[0, 1, 1] = clean[2][0, 1, 1]
                np.testing.assert_array_equal(gradient, clean[2])


@pytest.mark.first_case
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("kind", KINDS)
def test_descent_puts_a_box_on_its_object(kind, impl):
    """One box and one object, which overlap a little: the loss falls to nothing."""
    truth, box = np.array([0.6, 0.4, 0.3, 0.2]), np.array([0.4, 0.5, 0.5, 0.4])
    run = pair_function(kind, impl, graph=True)
    first = run(box, truth)[0]
    for step in range(300):
        loss, gradient = run(box, truth)
        box = box - 0.02 * 0.985**step * gradient / max(1, np.abs(gradient).max())
    assert loss < 0.05 < first
    np.testing.assert_allclose(box, truth, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fit_lowers_the_loss(kind):
    data, losses = small_data(), {}
    for impl in IMPLS:
        loss = YoloLoss(grid=MODEL_GRID, semantics=LossSemantics(box=kind), impl=impl)
        losses[impl] = fit(small_model(), data, loss=loss)["loss"]
    assert losses["fused"][-1] < 0.8 * losses["fused"][0]
    np.testing.assert_allclose(losses["fused"], losses["reference"], rtol=1e-3)
