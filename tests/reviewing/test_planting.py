"""Faults are what they say, and a review by a detector that knows the truth finds them all."""

import numpy as np
import pytest

from tests.reviewing.labels import CLASSES, dataset, perfect
from yolov1 import data
from yolov1.data import Dataset
from yolov1.reviewing import FAULTS, measure, plant, planting, suspects
from yolov1.reviewing.boxes import corners, iou


@pytest.fixture(scope="module")
def shapes():
    return data.open("shapes:count=60", image_size=64)


def same(a, b):
    return all(
        np.array_equal(x.boxes_cxcywh, y.boxes_cxcywh) and np.array_equal(x.labels, y.labels)
        for x, y in zip(a, b, strict=True)
    )


def test_faults_are_what_they_say(shapes):
    planted, faults = plant(shapes, 0.5, kinds=list(FAULTS), seed=3)
    counts = {kind: sum(fault.kind == kind for fault in faults) for kind in FAULTS}
    total = sum(len(e.labels) for e in shapes)
    assert sum(counts.values()) == pytest.approx(total / 2, abs=total / 20)  # but for lack of room
    assert min(counts.values()) > total / 20
    change = counts["doubled"] + counts["invented"] - counts["removed"]
    assert sum(len(e.labels) for e in planted) == total + change
    for fault in faults:
        before, after = shapes[fault.image], planted[fault.image]
        if fault.kind == "removed":
            where = [iou(box, fault.was_xyxy) for box in corners(after)]
            assert fault.label is None and max(where, default=0) < 0.99
            continue
        box, label = corners(after)[fault.label], after.labels[fault.label]
        assert (box >= -1e-6).all() and (box <= 1 + 1e-6).all()
        if fault.kind == "invented":
            assert fault.was_xyxy is None
            assert max(iou(box, other) for other in corners(before)) <= 0.1 + 1e-6
            continue
        place = [iou(one, fault.was_xyxy) for one in corners(before)]
        (true,) = np.flatnonzero(np.array(place) > 0.999)
        limits = {"moved": (0.1, 0.45), "doubled": (0.7, 0.95), "renamed": (0.999, 1)}
        low, high = limits[fault.kind]
        assert low - 1e-6 <= iou(box, fault.was_xyxy) <= high + 1e-6
        assert (label != before.labels[true]) == (fault.kind == "renamed")


def test_the_seed_decides_and_the_data_set_stays(shapes):
    copy = [e.boxes_cxcywh.copy() for e in shapes]
    first, again = plant(shapes, 0.2, seed=1)[0], plant(shapes, 0.2, seed=1)[0]
    assert same(first, again) and not same(first, plant(shapes, 0.2, seed=2)[0])
    assert all(np.array_equal(a, e.boxes_cxcywh) for a, e in zip(copy, shapes, strict=True))


def test_who_knows_the_truth_finds_all_faults(shapes):
    planted, faults = plant(shapes, 0.1, kinds=list(FAULTS))
    found = suspects(perfect_shapes(shapes), planted)
    measured = measure(found, faults, most=len(found))
    assert measured["planted"] == len(faults) and set(measured["kinds"]) == set(FAULTS)
    for row in measured["kinds"].values():
        assert row["recall"] == row["anywhere"] == row["named"] == 1
    assert len(found) == len(faults)
    whole = next(row for row in measured["at"] if row["looked_at"] == len(found))
    assert whole["precision"] == whole["recall"] == 1


def perfect_shapes(shapes):
    from yolov1.inference import Detections

    return [Detections(corners(e), np.full(len(e.labels), 0.9), e.labels) for e in shapes]


def test_precision_and_recall_by_hand():
    """Two faults, of which the second suspect shows one; the first one is a false alarm."""
    a, b, c = (0.1, 0.1, 0.3, 0.5), (0.5, 0.1, 0.7, 0.5), (0.1, 0.6, 0.3, 0.9)
    labels = dataset([("cat", a), ("cat", b)], [("cat", c)])
    seen = perfect(dataset([("cat", a), ("cat", b), ("dog", c)], [("cat", c)]))
    without = Dataset([dataset([("cat", a)])[0], labels[1]], CLASSES)
    faults = [
        planting.Fault("removed", 0, None, np.array(b)),
        planting.Fault("renamed", 1, 0, np.array(c)),
    ]
    found = suspects(seen, without)
    assert [s.kind for s in found] == ["missing", "missing"]
    assert [s.seen_class for s in found] == [0, 1]
    measured = measure(found, faults, most=1)
    assert [row["looked_at"] for row in measured["at"]] == [1, 2, 4]
    assert [row["faults"] for row in measured["at"]] == [1, 1, 1]
    assert [row["precision"] for row in measured["at"]] == [1, 0.5, 0.5]
    assert [row["recall"] for row in measured["at"]] == [0.5, 0.5, 0.5]
    assert measured["kinds"]["removed"] == {"planted": 1, "recall": 1, "named": 1, "anywhere": 1}
    assert measured["kinds"]["renamed"]["recall"] == 0
    assert measured["kinds"]["renamed"]["named"] is None
    # What was suspected before planting is not counted as an alarm.
    before = suspects(seen, labels)
    assert planting.new_ones(found, without, before, labels) == found[:1]


def test_what_shows_a_label_that_was_moved_far():
    """The network sees its object where it was: not named, but shown, and so not a false alarm."""
    a, far = (0.1, 0.1, 0.3, 0.5), (0.6, 0.4, 0.8, 0.8)
    found = suspects(perfect(dataset([("cat", a)])), dataset([("cat", far)]))
    assert {s.kind for s in found} == {"missing", "unseen"}
    measured = measure(found[:1], [planting.Fault("moved", 0, 0, np.array(a))])
    assert measured["kinds"]["moved"]["recall"] == 1 and measured["kinds"]["moved"]["named"] == 0


@pytest.mark.parametrize(
    ("share", "kinds", "said"),
    [
        (0.0, ["moved"], r"share of labels must be in \(0, 1\], got 0"),
        (1.5, ["moved"], "got 1.5"),
        (0.1, ["bent"], "must be of removed, moved, .*got 'bent'"),
        (0.1, [], "got none"),
    ],
)
def test_refused(shapes, share, kinds, said):
    with pytest.raises(ValueError, match=said):
        plant(shapes, share, kinds=kinds)


def test_one_class_cannot_be_renamed():
    one = Dataset(dataset([("cat", (0.1, 0.1, 0.3, 0.5))]), ("cat",), name="cats")
    with pytest.raises(ValueError, match="cats has one class, 'cat'"):
        plant(one, 0.5)
    assert plant(one, 1.0, kinds=["removed"])[1][0].kind == "removed"
