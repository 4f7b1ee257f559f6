"""Two detectors box by box."""

import numpy as np
import pytest

from yolov1.evaluation import agreement
from yolov1.inference import Detections


def found(*rows):
    """Of (corners in pixels of 100, score, label)."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(np.array(boxes, np.float32) / 100, np.array(scores, float), np.array(labels))


BOX = (10, 10, 30, 30)


def compared(ours, theirs, **options):
    return agreement([ours], [theirs], side=100, **options)


def test_the_same_boxes_agree():
    same = found((BOX, 0.9, 0), ((50, 50, 50, 60), 0.8, 1), ((0, 0, 5, 5), 0.1, 2))
    assert compared(same, same) == {
        **{"boxes": 2, "deviation_px": 0.0, "deviation_px_99": 0.0, "score_deviation": 0.0},
        **{"appeared": 0, "disappeared": 0},
    }
    nothing = {"boxes": 0, "deviation_px": None, "deviation_px_99": None}
    nothing |= {"score_deviation": None, "appeared": 0, "disappeared": 0}
    assert compared(found(), found()) == agreement([], [], side=100) == nothing


def test_a_box_that_moved():
    moved = found(((10, 10, 30, 33), 0.7, 0))
    result = compared(found((BOX, 0.9, 0)), moved)
    assert result["deviation_px"] == pytest.approx(3, abs=1e-4) and result["boxes"] == 1
    assert result["score_deviation"] == pytest.approx(0.2, abs=1e-6)
    # Of the larger image it is as many more pixels.
    assert agreement([found((BOX, 0.9, 0))], [moved], side=200)["deviation_px"] == pytest.approx(
        6, abs=1e-4
    )


@pytest.mark.parametrize(
    "other", [((BOX), 0.9, 1), ((40, 40, 60, 60), 0.9, 0), ((22, 10, 42, 30), 0.9, 0)]
)
def test_another_class_or_place_is_another_box(other):
    result = compared(found((BOX, 0.9, 0)), found(other))
    assert (result["appeared"], result["disappeared"], result["boxes"]) == (1, 1, 2)
    assert result["deviation_px"] is None


def test_a_thin_box_is_itself_without_overlap():
    result = compared(found(((10, 10, 10, 30), 0.9, 0)), found(((10.5, 10, 10.5, 30), 0.9, 0)))
    assert result["boxes"] == 1 and result["deviation_px"] == pytest.approx(0.5, abs=1e-4)


def test_each_box_is_in_one_pair_the_nearest_first():
    ours = found((BOX, 0.9, 0), ((11, 10, 31, 30), 0.8, 0))
    theirs = found(((11.2, 10, 31.2, 30), 0.9, 0))
    result = compared(ours, theirs)
    assert (result["boxes"], result["appeared"], result["disappeared"]) == (2, 0, 1)
    assert result["deviation_px"] == pytest.approx(0.2, abs=1e-4)


def test_a_score_that_crosses_the_threshold_makes_no_box_appear():
    above, below = found((BOX, 0.2501, 0)), found((BOX, 0.2499, 0))
    for ours, theirs in ((above, below), (below, above)):
        result = compared(ours, theirs)
        assert (result["boxes"], result["appeared"], result["disappeared"]) == (1, 0, 0)
    assert compared(below, found())["disappeared"] == 0
    assert compared(above, found())["disappeared"] == 1
    assert compared(below, found(), score_threshold=0.1)["disappeared"] == 1


def test_images_do_not_mix():
    result = agreement([found((BOX, 0.9, 0)), found()], [found(), found((BOX, 0.9, 0))], side=100)
    assert (result["appeared"], result["disappeared"]) == (1, 1)
    with pytest.raises(ValueError, match="as many Detections on both sides, got 1 and 0"):
        agreement([found()], [], side=100)


def test_what_befalls_one_box_in_two_hundred():
    boxes = [((0, k, 50, k + 1.0), 0.9, k) for k in range(0, 200)]
    moved = [((8, *boxes[7][0][1:]), 0.9, 7), *(b for k, b in enumerate(boxes) if k != 7)]
    result = compared(found(*boxes), found(*moved))
    assert result["deviation_px"] == pytest.approx(8, abs=1e-4) and result["boxes"] == 200
    assert result["deviation_px_99"] == 0
    few = compared(found(*boxes[:50]), found(*moved[:50]))
    assert few["deviation_px_99"] == few["deviation_px"] == pytest.approx(8, abs=1e-4)
