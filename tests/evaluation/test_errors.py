import numpy as np
import pytest

from tests.evaluation.test_matching import UNIT, detections, truth
from yolov1.evaluation import VOC_SIMILAR, error_analysis
from yolov1.evaluation.errors import KINDS
from yolov1.inference import Detections

CLASSES = ("cat", "dog", "car", "bottle")
HALF_OFF = [0.5, 0, 1.5, 1]  # overlaps UNIT by a third
ASIDE = [0.9, 0, 1.9, 1]  # by 0.053


def kind_of(box, label, object_label=0):
    """The kind of one detection against one object of UNIT."""
    objects = truth([UNIT, [8, 8, 9, 9]], [object_label, label])
    shares, per_class = error_analysis(
        [detections([box], labels=[label])], [objects], classes=CLASSES
    )
    assert sum(per_class[CLASSES[label]].values()) == pytest.approx(1)
    (kind,) = (kind for kind, share in shares.items() if share)
    return kind


@pytest.mark.parametrize(
    "box, label, object_label, want",
    [
        (UNIT, 0, 0, "correct"),
        (HALF_OFF, 0, 0, "localisation"),
        (ASIDE, 0, 0, "background"),
        (UNIT, 0, 1, "similar"),  # a cat that is a dog
        (HALF_OFF, 0, 1, "similar"),
        (ASIDE, 0, 1, "background"),
        (UNIT, 0, 2, "other"),  # a cat that is a car
        (UNIT, 3, 2, "other"),
        ([4, 4, 5, 5], 0, 0, "background"),
        ([0, 0, 1, 0.5], 0, 0, "localisation"),  # 0.5 is not greater than 0.5
    ],
)
def test_kinds(box, label, object_label, want):
    assert kind_of(box, label, object_label) == want


def test_the_second_detection_of_an_object_is_one_of_localisation():
    objects = truth([UNIT, [8, 8, 9, 9]])
    shares, _ = error_analysis([detections([UNIT, UNIT])], [objects], classes=CLASSES)
    assert shares["correct"] == shares["localisation"] == 0.5


def test_as_many_detections_as_objects_are_looked_at():
    objects = truth([UNIT, [3, 3, 4, 4]])
    found = detections([UNIT, [3, 3, 4, 4], [8, 8, 9, 9]], [0.9, 0.8, 0.7])
    shares, _ = error_analysis([found], [objects], classes=CLASSES)
    assert shares["correct"] == 1
    worse = detections([UNIT, [3, 3, 4, 4], [8, 8, 9, 9]], [0.9, 0.7, 0.8])
    shares, _ = error_analysis([worse], [objects], classes=CLASSES)
    assert shares["correct"] == shares["background"] == 0.5


def test_difficult_objects_are_left_out():
    objects = truth([UNIT, [3, 3, 4, 4]], difficult=[True, False])
    found = detections([UNIT, [3, 3, 4, 4]], [0.9, 0.8])
    shares, _ = error_analysis([found], [objects], classes=CLASSES)
    assert shares["correct"] == 1


def test_the_mean_is_over_classes():
    objects = truth([UNIT] * 3 + [[3, 3, 4, 4]], [0, 0, 0, 2])
    found = detections([[3, 3, 4, 4]] + [[8, 8, 9, 9]] * 3, labels=[2, 0, 0, 0])
    shares, per_class = error_analysis([found], [objects], classes=CLASSES)
    assert per_class["cat"]["background"] == per_class["car"]["correct"] == 1
    assert shares["correct"] == shares["background"] == 0.5
    assert per_class["dog"] is None and per_class["bottle"] is None


def test_own_groups():
    objects, found = truth([UNIT, [8, 8, 9, 9]], [3, 2]), detections([UNIT], labels=[2])
    shares, _ = error_analysis([found], [objects], classes=CLASSES, similar=[("car", "bottle")])
    assert shares["similar"] == 1
    shares, _ = error_analysis([found], [objects], classes=CLASSES, similar=())
    assert shares["other"] == 1


def test_nothing_found():
    shares, per_class = error_analysis([Detections.empty()], [truth([UNIT])], classes=CLASSES)
    assert shares is None and set(per_class.values()) == {None}


def test_the_groups_of_voc():
    from yolov1.data.formats.voc import VOC_CLASSES

    assert {name for group in VOC_SIMILAR for name in group} <= set(VOC_CLASSES)
    assert KINDS[0] == "correct" and len(np.unique(KINDS)) == 5
