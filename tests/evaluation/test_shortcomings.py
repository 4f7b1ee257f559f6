"""Calibration, confusions, sizes, cells and the worst errors, by hand and by loops."""

import json

import numpy as np
import pytest

from tests.evaluation.test_matching import UNIT, detections, truth
from tests.evaluation.test_tide import FAR, HALF_OFF, NEARLY, scene
from yolov1 import boxes as box_formats
from yolov1.data import Dataset, Example
from yolov1.evaluation import coco_summary, shortcomings, tide
from yolov1.evaluation.matching import area
from yolov1.evaluation.shortcomings import by_cell, by_size, calibration, confusion
from yolov1.evaluation.worst import FIRST, MOST, SHOWN_KINDS
from yolov1.grid import GridSpec
from yolov1.inference import Detections


def diagnosis_of(found, objects, classes=("cat", "dog")):
    return tide.diagnose([found], [objects], classes=classes)


# ------------------------------------------------------------------ calibration


def test_calibration_by_hand():
    # Right at .9, badly placed (a third) at .7, of nothing at .75, and one that is ignored.
    objects = truth([UNIT, FAR, [4, 4, 5, 5]], difficult=[False, False, True])
    place = [8.5, 8, 9.5, 9]
    found = detections([UNIT, place, [20, 20, 21, 21], [4, 4, 5, 5]], [0.9, 0.7, 0.75, 0.72])
    result = calibration(diagnosis_of(found, objects))
    bins = {row["low"]: row for row in result["bins"]}
    assert list(bins) == pytest.approx([k / 10 for k in range(10)])
    assert bins[0.9]["detections"] == bins[0.9]["precision"] == bins[0.9]["iou"] == 1
    assert bins[0.7]["detections"] == 2 and bins[0.7]["precision"] == 0
    assert bins[0.7]["score"] == pytest.approx(0.725)
    assert bins[0.7]["iou"] == pytest.approx(1 / 6)
    assert bins[0.1] == {"low": 0.1, "high": 0.2, "detections": 0} | dict.fromkeys(
        ("score", "precision", "iou")
    )
    # Off by 0.1 once and by 0.725 twice.
    assert result["error"] == pytest.approx((0.1 + 2 * 0.725) / 3)


def test_the_overlap_with_an_object_of_another_class_is_none():
    result = calibration(diagnosis_of(detections([UNIT], [0.5], [1]), truth([UNIT])))
    assert result["bins"][5]["iou"] == 0


def test_scores_beyond_one_and_below_zero_are_in_the_outermost_tenths():
    bins = calibration(diagnosis_of(detections([UNIT, FAR], [1.5, -0.5]), truth([UNIT])))["bins"]
    assert [row["detections"] for row in bins] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_what_is_not_shown_is_no_part_of_the_calibration_error():
    assert calibration(diagnosis_of(detections([UNIT], [0.2]), truth([UNIT])))["error"] is None


# ------------------------------------------------------------------ classes


def confusion_by_loops(found, objects, classes, threshold):
    """The same rule, image by image: first who takes what, then what is taken for another class."""
    matrix = np.zeros((classes + 1, classes + 1), int)
    for hits, things in zip(found, objects, strict=True):
        difficult = np.zeros(len(things.labels), bool)
        if things.difficult is not None:
            difficult = np.asarray(things.difficult, bool)
        column = {m: classes for m in range(len(things.labels)) if not difficult[m]}
        left = []
        for box, score, label in zip(hits.boxes_xyxy, hits.scores, hits.labels, strict=True):
            if score < threshold:
                continue
            iou = [overlap(box, other) for other in things.boxes_xyxy]
            own = [m for m in range(len(iou)) if things.labels[m] == label and iou[m] >= 0.5]
            best = max(own, key=lambda m: iou[m], default=None)
            if best is not None and difficult[best]:
                continue
            free = [m for m in own if m in column and column[m] == classes]
            if free:
                column[max(free, key=lambda m: iou[m])] = int(label)
            else:
                left.append((label, iou))
        for label, iou in left:
            nearly = [v for m, v in enumerate(iou) if things.labels[m] == label]
            others = [m for m in range(len(iou)) if things.labels[m] != label and iou[m] >= 0.5]
            best = max(others, key=lambda m: iou[m], default=None)
            badly_placed = nearly and 0.1 <= max(nearly) <= 0.5
            if best is None or badly_placed or column.get(best, -1) != classes:
                matrix[classes, label] += 1
            else:
                column[best] = int(label)
        for m, seen in column.items():
            matrix[things.labels[m], seen] += 1
    return matrix


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def matrix_of(found, objects, classes=2, threshold=0.25):
    diagnosis = tide.diagnose(found, objects, classes=range(classes))
    return confusion(diagnosis, diagnosis.found.scores >= threshold)[0]


@pytest.mark.parametrize("difficult", [0.0, 0.25])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_confusions_are_those_of_loops(difficult, threshold):
    found, objects = scene(3, difficult=difficult)
    matrix = matrix_of(found, objects, 4, threshold)
    assert (matrix == confusion_by_loops(found, objects, 4, threshold)).all()
    # Every object is in one place, and every box that is not ignored.
    counted = [np.asarray(o.labels)[~np.asarray(o.difficult)] for o in objects]
    assert (matrix[:4].sum(axis=1) == np.bincount(np.concatenate(counted), minlength=4)).all()
    diagnosis = tide.diagnose(found, objects, classes=range(4))
    shown = (diagnosis.found.scores >= threshold) & (diagnosis.kind != tide.IGNORED)
    columns = np.bincount(diagnosis.found.labels[shown], minlength=4)
    assert (matrix[:, :4].sum(axis=0) == columns).all() and matrix[0, 1] > 0


def test_confusions_by_hand():
    objects = truth([UNIT, FAR, [4, 4, 5, 5]], [0, 0, 1])
    # A cat, the same once more, a cat that is called a dog; the dog below what is shown.
    boxes = [UNIT, NEARLY, FAR, [4, 4, 5, 5]]
    found = detections(boxes, [0.9, 0.8, 0.7, 0.1], [0, 0, 1, 1])
    assert matrix_of([found], [objects]).tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]


# ------------------------------------------------------------------ objects


def test_sizes_are_those_of_coco():
    """Of the same boxes, none of which is as large as a limit."""
    found, objects = scene(5, classes=3)
    side = 300
    sizes = [(side, side)] * len(found)
    scaled = [Detections(d.boxes_xyxy / side * 3, d.scores, d.labels) for d in found]
    things = [truth(o.boxes_xyxy / side * 3, o.labels) for o in objects]
    want = coco_summary(scaled, things, classes="abc", sizes=sizes)
    rows, members = by_size(tide.diagnose(scaled, things, classes="abc"), sizes)
    rows = {row["name"]: row for row in rows}
    assert {"small", "medium", "large"} < set(rows)
    for name in ("small", "medium", "large"):
        assert rows[name]["ap"] == pytest.approx(want[f"AP{name}"], abs=1e-12)
        assert rows[name]["objects"] == members[name].sum() > 0
    assert rows["medium"]["low"] == 32 and rows["medium"]["high"] == 96
    assert rows["small"]["low"] is rows["large"]["high"] is None


def test_quarters_part_objects_that_are_all_small_to_coco():
    side = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08])
    corner = np.linspace(0, 0.9, 8)
    boxes = np.stack([corner, corner, corner + side, corner + side], axis=1)
    found = detections(boxes[4:], [0.9, 0.8, 0.2, 0.7])
    rows, members = by_size(diagnosis_of(found, truth(boxes)), [(100, 100)])
    names = [row["name"] for row in rows]
    assert names == ["small", "smallest", "small half", "large half", "largest"]
    rows = {row["name"]: row for row in rows}
    assert [rows[name]["objects"] for name in names] == [8, 2, 2, 2, 2]
    assert [rows[name]["found"] for name in names] == [3 / 8, 0, 0, 1, 0.5]
    assert [rows[name]["found_at_all"] for name in names] == [0.5, 0, 0, 1, 1]
    assert [rows[name]["ap50"] for name in names[1:]] == pytest.approx([0, 0, 1, 1])
    assert (members["largest"] == (side >= 0.07)).all()
    assert rows["small half"]["high"] == pytest.approx(rows["large half"]["low"])


def example(boxes_cxcywh, labels, difficult=None, name="a"):
    count = len(labels)
    return Example(
        image_id=name,
        boxes_cxcywh=np.array(boxes_cxcywh, np.float32).reshape(-1, 4),
        labels=np.array(labels),
        difficult=np.zeros(count, bool) if difficult is None else np.array(difficult),
        size=(100, 200),
        draw=lambda: np.zeros((100, 200, 3), np.uint8),
    )


@pytest.mark.parametrize("rule, kept", [("first", 0), ("last", 1), ("largest", 1)])
def test_recall_of_objects_that_share_a_cell(rule, kept):
    # Two in one cell, one alone, and one in its cell that is difficult, so that it is alone.
    boxes = [[0.1, 0.1, 0.1, 0.1], [0.15, 0.15, 0.2, 0.2], [0.6, 0.6, 0.1, 0.1]]
    one = example([*boxes, [0.61, 0.61, 0.1, 0.1]], [0, 1, 0, 0], [False, False, False, True])
    corners = box_formats.cxcywh_to_xyxy(np.array(boxes))
    found = detections(corners[[0, 2]], [0.9, 0.1], [0, 0])
    dataset = Dataset([one], ("cat", "dog"))
    diagnosis = tide.diagnose([found], dataset, classes=dataset.classes)
    cells, members = by_cell(diagnosis, dataset, GridSpec(S=4, C=2), rule)
    assert cells["S"] == 4
    assert cells["alone"] == {"objects": 1, "found": 0, "found_at_all": 1}  # it scores 0.1
    assert members["kept"].tolist() == [kept == 0, kept == 1, False, False]
    shares = {"kept": 1 - kept, "dropped": kept}  # the first is found, the second is not
    for name, share in shares.items():
        assert cells[name] == {"objects": 1, "found": share, "found_at_all": share}


def test_no_object_shares_a_cell():
    dataset = Dataset([example([[0.1, 0.1, 0.1, 0.1]], [0])], ("cat",))
    diagnosis = tide.diagnose([Detections.empty()], dataset, classes=("cat",))
    cells, _ = by_cell(diagnosis, dataset, GridSpec(S=4, C=1))
    assert cells["dropped"] == {"objects": 0, "found": None, "found_at_all": None}


# ------------------------------------------------------------------ all of it


def as_dataset(objects, classes):
    """Examples with these boxes, which are in [0, 130]."""
    examples = [
        example(box_formats.xyxy_to_cxcywh(o.boxes_xyxy / 130), o.labels, o.difficult, f"image {k}")
        for k, o in enumerate(objects)
    ]
    return Dataset(examples, tuple(classes))


@pytest.fixture(scope="module")
def measured():
    found, objects = scene(7, images=40, classes=4, difficult=0.1)
    found = [Detections(d.boxes_xyxy / 130, d.scores, d.labels) for d in found]
    dataset = as_dataset(objects, "abcd")
    return found, dataset, shortcomings(found, dataset, grid=GridSpec(S=7, C=4))


def test_the_parts_agree(measured):
    found, dataset, result = measured
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    counts, matrix = result["tide"], np.array(result["confusion"])
    assert set(counts) == set(tide.REPAIRS)
    kinds = tide.KINDS[1:]
    for what in ("count", "shown"):
        assert counts["false_positives"][what] == sum(counts[kind][what] for kind in kinds)
    objects = sum(int((~e.difficult).sum()) for e in dataset)
    assert matrix[:-1].sum() == objects
    cells = result["cells"]
    assert sum(cells[name]["objects"] for name in ("alone", "kept", "dropped")) == objects
    quarters = [row for row in result["sizes"] if row["name"] not in ("small", "medium", "large")]
    assert sum(row["objects"] for row in quarters) == objects
    right = sum(row["found"] * row["objects"] for row in quarters)
    assert right == pytest.approx(np.trace(matrix))
    bins = result["calibration"]["bins"]
    ignored = sum(map(len, found)) - sum(row["detections"] for row in bins)
    assert 0 < ignored < 30


def test_the_worst_come_first_and_every_group_has_its_own(measured):
    _, dataset, result = measured
    by_kind = {}
    for entry in result["worst"]:
        by_kind.setdefault(entry["kind"], []).append(entry)
    assert tuple(by_kind) == SHOWN_KINDS
    for kind, entries in by_kind.items():
        assert FIRST <= len(entries) <= MOST
        if kind == "missed":
            sizes = area(np.array([entry["object"]["box_xyxy"] for entry in entries]))
            assert (np.diff(sizes) <= 0).all()
        else:
            scores = [entry["detection"]["score"] for entry in entries]
            assert scores == sorted(scores, reverse=True)
            assert all(entry["detection"]["kind"] == kind for entry in entries)
    for entry in result["worst"]:
        example = dataset[entry["index"]]
        assert entry["image"] == example.image_id and entry["kind"] == entry["groups"][0]
        assert entry["size"] == list(example.size)
        if entry["object"] and entry["detection"]:
            boxes = (entry[part]["box_xyxy"] for part in ("detection", "object"))
            assert overlap(*boxes) == pytest.approx(entry["iou"], abs=1e-6)
    groups = {group for entry in result["worst"] for group in entry["groups"]}
    assert {f"score-{k}" for k in range(10)} <= groups
    assert {"small-0", "smallest-0", "alone-0"} <= groups
    # What the matrix counts off its diagonal has a picture, in these few classes.
    matrix = np.array(result["confusion"])
    off = {f"confused-{5 * i + j}" for i in range(5) for j in range(5) if i != j and matrix[i, j]}
    assert len(off) > 15 and not off - groups


def test_nothing_found_and_nothing_there():
    dataset = as_dataset([truth([[10, 10, 50, 50]])], "ab")
    result = shortcomings([Detections.empty()], dataset)
    assert result["ap"] == 0 and result["cells"] is None
    (entry,) = result["worst"]
    assert entry["kind"] == "missed" and entry["detection"] is None and entry["iou"] is None
    assert result["confusion"] == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    empty = as_dataset([truth([])], "ab")
    result = shortcomings([detections([HALF_OFF], [0.5])], empty, grid=GridSpec(S=7, C=2))
    assert result["ap"] is None and result["sizes"] == []
    assert [entry["kind"] for entry in result["worst"]] == ["background"]
    result = shortcomings([], as_dataset([], "ab"), grid=GridSpec(S=7, C=2))
    assert result["worst"] == [] and result["tide"]["missed"] == {"count": 0, "gain": None}
