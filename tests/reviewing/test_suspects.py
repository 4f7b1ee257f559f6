"""Each kind of fault is found as what it is, and the score is what the documentation says."""

import sys

import numpy as np
import pytest

from tests.reviewing.labels import dataset, detections, example
from yolov1.data import Dataset
from yolov1.reviewing import KINDS, page, suspects
from yolov1.reviewing.suspects import ACTION_OF, agreement

A, B, C = (0.1, 0.1, 0.3, 0.5), (0.5, 0.1, 0.7, 0.5), (0.1, 0.6, 0.3, 0.9)
NEAR_A = (0.15, 0.1, 0.35, 0.5)  # IoU .6
OFF_A = (0.2, 0.1, 0.4, 0.5)  # IoU 1/3
ONE_RIGHT = (1 + 1) / (1 + 2)


def only(found):
    (one,) = found
    return one


def test_nothing_where_all_agree():
    labels = [("cat", A), ("dog", B)]
    seen = [("cat", NEAR_A, 0.9), ("dog", B, 0.2)]
    assert suspects(detections(seen), dataset(labels)) == []


def test_missing():
    one = only(suspects(detections([("cat", A, 0.9), ("dog", B, 0.6)]), dataset([("cat", A)])))
    assert (one.kind, one.action, one.image, one.label) == ("missing", "add", 0, None)
    assert (one.seen_class, one.seen_score) == (1, 0.6)
    assert one.seen_box_xyxy == pytest.approx(B)
    assert one.score == pytest.approx(1 / 3)  # of one detection of a dog, none found a label


def test_missing_beside_another_label_counts_less():
    """What is in dispute is only as much as no label, and no surer detection, covers."""
    seen = detections([("cat", A, 0.9), ("cat", OFF_A, 0.6)])
    one = only(suspects(seen, dataset([("cat", A)])))
    assert one.kind == "missing"  # not misplaced: the label has been found
    assert one.score == pytest.approx((1 + 1) / (2 + 2) * (1 - 1 / 3))
    both = suspects(seen, dataset([]))
    assert [s.score for s in both] == pytest.approx([1 / 4, 1 / 4 * (1 - 1 / 3)])


def test_unseen():
    seen = detections([("cat", B, 0.9)])
    one = only(suspects(seen, dataset([("cat", A), ("cat", B)])))
    assert (one.kind, one.action, one.label) == ("unseen", "remove", 0)
    assert one.seen_class is None and one.seen_box_xyxy is None and one.seen_score is None
    assert one.score == pytest.approx((1 + 1) / (2 + 2))


def test_what_scores_less_than_the_floor_is_not_seen():
    seen, labels = detections([("cat", A, 0.04)]), dataset([("cat", A)])
    assert only(suspects(seen, labels)).kind == "unseen"
    assert suspects(seen, labels, floor=0.0) == []


def test_misplaced():
    one = only(suspects(detections([("cat", OFF_A, 0.8)]), dataset([("cat", A)])))
    assert (one.kind, one.action, one.label) == ("misplaced", "move", 0)
    assert one.iou == pytest.approx(1 / 3) and one.seen_box_xyxy == pytest.approx(OFF_A)


def test_disputed():
    one = only(suspects(detections([("dog", NEAR_A, 0.8)]), dataset([("cat", A)])))
    assert (one.kind, one.action, one.label) == ("disputed", "rename", 0)
    assert one.seen_class == 1 and one.iou == pytest.approx(0.6)
    assert one.score == pytest.approx(1 / 3)


def test_disputed_where_the_network_sees_both():
    """By the share of the other class; the label's own, if it is the surer one, ends the dispute.

    What then is left of the other class is a second opinion on a label that was found."""
    labels = dataset([("cat", A)])
    one = only(suspects(detections([("dog", A, 0.6), ("cat", A, 0.2)]), labels))
    assert one.kind == "disputed" and one.score == pytest.approx(1 / 3 * 0.6 / 0.8)
    (one,) = suspects(detections([("dog", A, 0.2), ("cat", A, 0.6)]), labels)
    assert one.kind == "missing" and one.score == pytest.approx(0, abs=1e-6)


def test_duplicate_without_a_network():
    labels = dataset([("cat", A), ("cat", NEAR_A), ("dog", A)])
    of_cats = [s for s in suspects(detections([]), labels) if s.kind == "duplicate"]
    one = only(of_cats)
    assert (one.action, {one.label, one.other}) == ("remove", {0, 1})
    assert one.iou == pytest.approx(0.6) and one.score == pytest.approx(0.6)


@pytest.mark.parametrize(("seen", "worse"), [(A, 1), (NEAR_A, 0)])
def test_of_a_duplicate_the_one_that_fits_worse_goes(seen, worse):
    found = suspects(detections([("cat", seen, 0.9)]), dataset([("cat", A), ("cat", NEAR_A)]))
    assert only(found).label == worse


def test_difficult_labels_are_not_suspected():
    labels = Dataset([example("a", [("cat", A)], difficult=[0])], ("cat", "dog", "fox"))
    assert suspects(detections([]), labels) == []
    assert suspects(detections([("cat", A, 0.9)]), labels) == []
    assert suspects(detections([("cat", OFF_A, 0.9)]), labels)[0].kind == "missing"


def test_ranks():
    """The surer the network usually is right, the higher; places within the image are kept."""
    labels = [[("cat", A)] for _ in range(60)] + [[]]
    seen = [[("cat", A, 0.9 if k % 2 else 0.3)] for k in range(60)]
    # Half of those that score .3 see nothing; those that score .9 are right.
    labels[:30:2] = [[] for _ in labels[:30:2]]
    seen.append([("cat", A, 0.9), ("cat", C, 0.3)])
    found = suspects(detections(*seen), dataset(*labels))
    assert found[0].image == 60 and found[0].seen_score == 0.9
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert {s.kind for s in found} == {"missing"} and len(found) == 17


def test_agreement_by_hand(monkeypatch):
    monkeypatch.setattr(sys.modules[agreement.__module__], "ALIKE", 2)
    values = np.array([5.0, 1.0, 2.0, 3.0, 9.0])
    labels = np.array([0, 0, 0, 0, 1])
    agrees = np.array([True, False, False, True, True])
    counts = np.array([True, True, True, True, False])
    # Windows of two of the class, by value: (1, 2), (1, 2), (2, 3), (3, 5).
    expected = [3 / 4, 1 / 4, 1 / 4, 2 / 4, 1 / 2]
    assert agreement(values, labels, agrees, counts) == pytest.approx(expected)


def test_a_heap_and_a_small_size_excuse_the_network():
    """The same label is less suspect among labels that are as often missed."""

    def score(extra_labels, extra_seen):
        small = (0.80, 0.80, 0.82, 0.84)
        labels = dataset([("cat", small), *extra_labels])
        found = suspects(detections(extra_seen), labels)
        return next(s.score for s in found if s.label == 0)

    large = [("cat", A), ("cat", B), ("cat", C)]
    seen_all = [(name, box, 0.9) for name, box in large]
    assert score(large, seen_all) > score(large, seen_all[:1])


def test_kinds_have_their_words():
    assert set(page.MEANING) == set(ACTION_OF) == set(KINDS)
