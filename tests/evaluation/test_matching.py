from types import SimpleNamespace

import numpy as np
import pytest

from yolov1.evaluation import GroundTruth
from yolov1.evaluation.matching import best_overlap, overlaps, tabulate
from yolov1.inference import Detections

UNIT = [0, 0, 1, 1]


def detections(boxes, scores=None, labels=None):
    count = len(boxes)
    return Detections(
        np.reshape(np.array(boxes, float), (-1, 4)),
        np.full(count, 0.5) if scores is None else scores,
        np.zeros(count, int) if labels is None else labels,
    )


def truth(boxes, labels=None, difficult=None):
    labels = [0] * len(boxes) if labels is None else labels
    return GroundTruth(
        np.reshape(np.array(boxes, float), (-1, 4)), np.array(labels, int), difficult
    )


@pytest.mark.parametrize(
    "a, b, offset, want",
    [
        (UNIT, UNIT, 0, 1),
        (UNIT, [0.5, 0, 1.5, 1], 0, 1 / 3),
        (UNIT, [1, 0, 2, 1], 0, 0),  # they touch
        (UNIT, [3, 3, 4, 4], 0, 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0, 0),  # 0 / 0
        ([1, 1, 0, 0], UNIT, 0, 0),  # inverted: empty
        ([0, 0, 9, 9], [5, 0, 14, 9], 1, 50 / 150),  # ten pixels each, five in common
        ([0, 0, 9, 9], [10, 0, 19, 9], 1, 0),
    ],
)
def test_iou(a, b, offset, want):
    for one, other in ((a, b), (b, a)):
        found, objects, _ = tabulate([detections([one])], [truth([other])])
        _, _, iou = overlaps(found, objects, pixel_offset=offset)
        assert iou.dtype == np.float64 and iou[0] == pytest.approx(want, rel=1e-12)


def test_only_boxes_of_one_image_and_class_meet():
    found, objects, count = tabulate(
        [detections([UNIT, UNIT], labels=[0, 1]), detections([UNIT])],
        [truth([UNIT, UNIT], labels=[1, 1]), truth([UNIT])],
    )
    assert count == 2
    detection, target, iou = overlaps(found, objects)
    assert list(zip(found.image[detection], objects.image[target], strict=True)) == [
        (0, 0),
        (0, 0),
        (1, 1),
    ]
    assert (found.labels[detection] == objects.labels[target]).all() and (iou == 1).all()
    assert len(overlaps(found, objects, same_class=False)[0]) == 5


def test_the_best_object_and_the_first_among_equals():
    found, objects, _ = tabulate(
        [detections([[0, 0, 1, 0.9], [5, 5, 6, 6]], [0.9, 0.8]), detections([UNIT], [0.7])],
        [truth([[0, 0, 1, 0.5], UNIT, UNIT]), truth([])],
    )
    best, iou = best_overlap(found, objects)
    assert best.tolist() == [1, 0, -1]
    np.testing.assert_allclose(iou, [0.9, 0, 0])


def test_scores_fall_and_equal_scores_keep_their_order():
    found, _, _ = tabulate(
        [detections([UNIT] * 2, [0.5, 0.2]), detections([UNIT] * 2, [0.9, 0.5])], [truth([])] * 2
    )
    assert found.scores.tolist() == [0.9, 0.5, 0.5, 0.2]
    assert found.image.tolist() == [1, 0, 1, 0]


def test_examples_have_centres_and_sizes():
    example = SimpleNamespace(
        boxes_cxcywh=np.float32([[0.5, 0.25, 0.5, 0.5]]), labels=[1], difficult=[True]
    )
    _, objects, count = tabulate([Detections.empty()], [example], sizes=[(100, 200)])
    np.testing.assert_allclose(objects.boxes_xyxy, [[50, 0, 150, 50]])
    assert objects.difficult.tolist() == [True] and count == 2


def test_nothing_at_all():
    for images in (0, 2):
        found, objects, count = tabulate([Detections.empty()] * images, [truth([])] * images)
        assert (len(found), len(objects), count) == (0, 0, 0)
        assert len(overlaps(found, objects)[0]) == 0
        assert len(best_overlap(found, objects)[0]) == 0


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="one Detections per image .*got 1 for 2 images"):
        tabulate([detections([UNIT])], [truth([UNIT])] * 2)
    with pytest.raises(ValueError, match=r"sizes must be \[1, 2\] .*got 2"):
        tabulate([detections([UNIT])], [truth([UNIT])], sizes=[(1, 1)] * 2)
    with pytest.raises(ValueError, match="labels must be below 2, .*got 3"):
        tabulate([detections([UNIT], labels=[3])], [truth([UNIT])], classes=("a", "b"))
    with pytest.raises(ValueError, match="a box of the ground truth of image 1 is not finite"):
        tabulate([detections([UNIT])] * 2, [truth([UNIT]), truth([[0, 0, np.nan, 1]])])
    # `Detections` refuses these itself; other objects with its fields get this far.
    bad = SimpleNamespace(boxes_xyxy=[UNIT] * 2, scores=[0.1, np.nan], labels=[0, 0])
    with pytest.raises(ValueError, match="1 of 3 scores are NaN, the first in image 1"):
        tabulate([detections([UNIT]), bad], [truth([UNIT])] * 2)
    bad = SimpleNamespace(boxes_xyxy=[UNIT], scores=[0.1], labels=[-1])
    with pytest.raises(ValueError, match="labels of the detections must be at least 0"):
        tabulate([bad], [truth([UNIT])])
