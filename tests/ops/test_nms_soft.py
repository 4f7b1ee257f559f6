"""Soft suppression: the fused op and the reference against Soft-NMS in NumPy, to the bit.

But for ``gaussian``: exponentials are of three libraries, and compared within a tolerance.
"""

import numpy as np
import pytest

from tests.ops.nms_cases import IMPLS, SHAPES, assert_equal, call
from tests.ops.nms_numpy import degenerate, random_case, suppress

SOFT = ("linear", "gaussian")


def assert_follows(got, want, suppression):
    """Equal, but for the scores that exponentials made. Those that are as good as equal may come in
    another order then: cases have none."""
    if suppression != "gaussian":
        return assert_equal(got, want)
    np.testing.assert_allclose(got[1], want[1], rtol=3e-6)
    assert_equal((got[0], want[1], *got[2:]), want)


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("suppression", SOFT)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_plain_soft_rule(shape, suppression, impl):
    boxes, scores = random_case(len(shape), *SHAPES[shape])
    for options in (
        {},
        dict(score_threshold=0.4, iou_threshold=0.3, sigma=0.1, max_detections=7),
        dict(score_threshold=0.0, iou_threshold=0.0, sigma=2.0, clip=False, max_detections=60),
        dict(score_threshold=1.0, max_detections=1),
    ):
        options |= dict(suppression=suppression)
        want = suppress(boxes, scores, **options)
        for graph in (False, True):
            assert_follows(call(boxes, scores, impl, graph, **options), want, suppression)


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("suppression", SOFT)
@pytest.mark.parametrize("seed", range(4))
def test_degenerate_boxes_and_scores_softly(seed, suppression, impl):
    boxes, scores = random_case(seed, 2, 60, 3)
    boxes = degenerate(boxes, seed)
    scores[:, ::5, 0] = np.nan
    scores[:, 1::7, 1] = -np.inf
    scores[:, 3, 2] = np.inf
    options = dict(suppression=suppression, iou_threshold=0.3, clip=seed % 2 == 0)
    options |= dict(score_threshold=0.05, max_detections=200)
    want = suppress(boxes, scores, **options)
    hard = suppress(boxes, scores, **options | dict(suppression="hard"))
    assert hard[3].sum() < want[3].sum() and (want[3] < 180).all()
    assert_follows(call(boxes, scores, impl, graph=True, **options), want, suppression)


@pytest.mark.parametrize("impl", IMPLS)
def test_soft_rules_in_numbers(impl):
    """Three boxes, each IoU a binary fraction: 1 / 2 with the first, 1 / 4 with the first and 1 / 2
    with the second; and one of another class, which nothing touches."""
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.25], [0, 0, 1, 1]]])
    scores = np.zeros((1, 4, 2), np.float32)
    scores[0, :, 0] = 1, 0.75, 0.5, 0
    scores[0, 3, 1] = 0.625
    half, quarter = np.exp(-0.25 / 0.5), np.exp(-0.0625 / 0.5)
    for options, left in (
        (dict(suppression="linear", iou_threshold=0.2), (0.375, 0.5 * 0.75 * 0.5)),
        (dict(suppression="linear", iou_threshold=0.25), (0.375 / 2, 0.5)),  # the last comes first
        (dict(suppression="linear", iou_threshold=0.5), (0.75, 0.5)),
        (dict(suppression="gaussian"), (0.75 * half, 0.5 * quarter * half)),
    ):
        found, kept, labels, count = call(boxes, scores, impl, max_detections=5, **options)
        want = sorted([(1, 0, 1), (left[0], 0, 0.5), (left[1], 0, 0.25), (0.625, 1, 1)])[::-1]
        assert count == 4 and kept[0, 4] == 0
        np.testing.assert_allclose(kept[0, :4], [row[0] for row in want], rtol=1e-6)
        assert list(zip(labels[0, :4], found[0, :4, 3], strict=True)) == [row[1:] for row in want]


@pytest.mark.parametrize("impl", IMPLS)
def test_the_next_one_is_the_best_of_what_is_left(impl):
    """What was second falls behind the third, and takes nothing from it before that is kept."""
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.875], [0, 0.5, 1, 1.5]]])
    scores = np.float32([[[1], [0.875], [0.75]]])
    options = dict(suppression="linear", iou_threshold=0.35, clip=False, max_detections=3)
    found, kept, _, _ = call(boxes, scores, impl, **options)  # IoUs 7/8, 1/3, and .25 of the last
    assert found[0, :, 3].tolist() == [1, 1.5, 0.875]
    assert kept[0].tolist() == [1, 0.75, 0.875 / 8]


@pytest.mark.parametrize("impl", IMPLS)
def test_a_score_that_falls_to_the_threshold_is_out(impl):
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.5]]])  # IoU 1 / 2
    scores = np.float32([[[1], [0.5]]])
    options = dict(suppression="linear", iou_threshold=0.25)
    below = np.nextafter(np.float32(0.25), np.float32(0))
    for score_threshold, count in ((0.25, 1), (below, 2)):
        assert call(boxes, scores, impl, score_threshold=score_threshold, **options)[3] == count
    below = np.nextafter(np.float32(0.5), np.float32(0))
    for iou_threshold, left in ((0.5, 0.5), (below, 0.25)):
        options = dict(suppression="linear", iou_threshold=iou_threshold)
        assert call(boxes, scores, impl, **options)[1][0, :2].tolist() == [1, left]


@pytest.mark.parametrize("impl", IMPLS)
def test_soft_rules_at_their_ends(impl):
    """Above an overlap of 1 is nothing, and a large sigma takes nothing either; a tiny one takes
    all from what overlaps at all, as the hard rule does above 0."""
    boxes, scores = random_case(6, 2, 40, 3)
    boxes[:, 7] = boxes[:, 3]
    common = dict(score_threshold=0.01, max_detections=130)
    everything = suppress(boxes, scores, iou_threshold=1, **common)
    for options in (
        dict(suppression="linear", iou_threshold=1),
        dict(suppression="gaussian", sigma=1e30),
    ):
        assert_equal(call(boxes, scores, impl, graph=True, **options, **common), everything)
    apart = suppress(boxes, scores, iou_threshold=0, **common)
    options = dict(suppression="gaussian", sigma=1e-30, iou_threshold=0.9)
    assert_equal(call(boxes, scores, impl, graph=True, **options, **common), apart)
    one_place = np.broadcast_to(boxes[:, :1], boxes.shape)
    linear = call(one_place, scores, impl, graph=True, suppression="linear", **common)
    assert_equal(linear, suppress(one_place, scores, **common))


@pytest.mark.parametrize("impl", IMPLS)
def test_ties_of_what_is_left_go_by_box_then_by_class(impl):
    boxes, scores = random_case(3, 3, 40, 5)
    scores = np.ceil(scores * 4) / 4
    boxes[:, 20:] = boxes[:, :20]  # the same overlaps: equal scores stay so
    options = dict(suppression="linear", iou_threshold=0.2, max_detections=200)
    want = suppress(boxes, scores, **options)
    assert ((want[1][:, 1:] == want[1][:, :-1]) & (want[1][:, 1:] > 0)).sum() > 60
    assert_equal(call(boxes, scores, impl, graph=True, **options), want)
