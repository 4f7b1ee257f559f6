"""The kinds of errors and what repairing them brings, by hand and against the authors' program."""

import contextlib
import io

import numpy as np
import pytest

from tests.evaluation.test_matching import UNIT, detections, truth
from yolov1.evaluation import tide
from yolov1.inference import Detections

HALF_OFF = [0.5, 0, 1.5, 1]  # overlaps UNIT by a third
NEARLY = [0.1, 0, 1.1, 1]  # by 0.818
ASIDE = [0.9, 0, 1.9, 1]  # by 0.053
FAR = [8, 8, 9, 9]


def kinds_of(found, objects, **options):
    diagnosis = tide.diagnose([found], [objects], **options)
    names = (*tide.KINDS, "ignored")
    return [names[kind] for kind in diagnosis.kind], diagnosis


@pytest.mark.parametrize(
    "box, label, want",
    [
        (UNIT, 0, "correct"),
        ([0, 0, 1, 0.5], 0, "correct"),  # an overlap of 0.5 is enough
        (HALF_OFF, 0, "localisation"),
        (HALF_OFF, 1, "both"),
        (UNIT, 1, "classification"),
        ([0, 0, 1, 0.5], 1, "classification"),
        (ASIDE, 0, "background"),
        (ASIDE, 1, "background"),
        ([0, 0, 1, 0.1], 1, "background"),  # 0.1 is still background for another class,
        ([0, 0, 1, 0.1], 0, "localisation"),  # and badly placed for its own
        (FAR, 0, "background"),
    ],
)
def test_kinds(box, label, want):
    (kind,), diagnosis = kinds_of(detections([box], labels=[label]), truth([UNIT]))
    assert kind == want
    (about,) = diagnosis.object
    assert about == (-1 if want == "background" else 0)
    assert diagnosis.taken_by.tolist() == [0 if want == "correct" else -1]
    # What is badly placed or taken for another has been seen, but for that.
    assert diagnosis.missed.tolist() == [want in ("both", "background")]


def test_the_second_one_on_an_object_is_a_duplicate_of_the_better_scored():
    found = detections([NEARLY, UNIT], [0.7, 0.9])
    kinds, diagnosis = kinds_of(found, truth([FAR, UNIT]))
    assert kinds == ["correct", "duplicate"]
    assert diagnosis.object.tolist() == [1, 1] and diagnosis.taken_by.tolist() == [-1, 0]
    assert diagnosis.iou == pytest.approx([1, 0.9 / 1.1])
    assert diagnosis.missed.tolist() == [True, False]
    assert diagnosis.of_kind("duplicate").tolist() == [1]


def test_a_detection_takes_the_best_object_that_is_free():
    objects = truth([UNIT, NEARLY])
    kinds, diagnosis = kinds_of(detections([UNIT, UNIT], [0.9, 0.8]), objects)
    assert kinds == ["correct", "correct"] and diagnosis.object.tolist() == [0, 1]


def test_what_lies_on_a_difficult_object_is_ignored():
    objects = truth([UNIT, FAR], difficult=[True, False])
    found = detections([UNIT, NEARLY, HALF_OFF, UNIT], [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1])
    kinds, diagnosis = kinds_of(found, objects)
    assert kinds == ["ignored", "ignored", "localisation", "classification"]
    assert diagnosis.object.tolist() == [0, 0, 0, 0]
    assert diagnosis.missed.tolist() == [False, True]
    # Of the two that count, neither can be repaired into something that is right.
    gains = tide.gains(diagnosis)
    assert gains["ap"] == gains["localisation"] == gains["classification"] == 0


def test_rows_lead_back_to_the_detections_and_objects_of_an_image():
    found = [detections([FAR, UNIT], [0.2, 0.8]), Detections.empty(), detections([UNIT], [0.5])]
    objects = [truth([UNIT, FAR]), truth([UNIT]), truth([])]
    diagnosis = tide.diagnose(found, objects)
    assert diagnosis.found.image.tolist() == [0, 2, 0]
    assert diagnosis.detection_index.tolist() == [0, 0, 1]
    assert diagnosis.object_index.tolist() == [0, 1, 0]
    for row, image in enumerate(diagnosis.found.image):
        mine = found[image].boxes_xyxy[diagnosis.detection_index[row]]
        assert (diagnosis.found.boxes_xyxy[row] == mine).all()


def test_gains_by_hand():
    """Four objects; by falling score: a right one, one of background, one badly placed, one of
    another class."""
    boxes = np.array([UNIT] * 4) + np.array([0, 3, 6, 9])[:, None]
    found = detections(
        [boxes[0], [50, 50, 51, 51], boxes[1] + [0.5, 0, 0.5, 0], boxes[2]],
        [0.9, 0.8, 0.7, 0.6],
        [0, 0, 0, 1],
    )
    objects = truth([*boxes, FAR], [0, 0, 0, 0, 1])
    gains = tide.gains(tide.diagnose([found], [objects]))
    # Class 0: precision 1 up to recall 1/4, which are the points 0 .. 0.25; class 1: nothing.
    before = 26 / 101 / 2
    assert gains["ap"] == pytest.approx(before)
    assert gains["background"] == 0  # the only right one is before it
    # Right, wrong, right: 26 points at 1 and 25 at 2/3.
    assert gains["localisation"] == pytest.approx((26 + 25 * 2 / 3) / 101 / 2 - before)
    # Right, wrong, wrong, right, now of class 0: 25 points at 1/2.
    assert gains["classification"] == pytest.approx((26 + 25 / 2) / 101 / 2 - before)
    # The fourth object and that of class 1 go: recall 1/3; nothing is left of class 1 to be found.
    assert gains["missed"] == pytest.approx(34 / 101 / 2 - before)
    assert gains["false_positives"] == gains["both"] == gains["duplicate"] == 0
    assert gains["false_negatives"] == pytest.approx(1 / 2 - before)  # 0 of 0 in class 1


def test_one_is_repaired_for_each_object_and_the_others_go():
    objects = truth([UNIT])
    found = detections([HALF_OFF, HALF_OFF], [0.9, 0.8])
    gains = tide.gains(tide.diagnose([found], [objects]))
    assert gains["ap"] == 0 and gains["localisation"] == 1


@pytest.mark.parametrize("found, objects", [([], []), ([UNIT], []), ([], [UNIT])])
def test_nothing_on_a_side(found, objects):
    diagnosis = tide.diagnose([detections(found)], [truth(objects)])
    gains = tide.gains(diagnosis)
    assert set(gains) == {"ap", *tide.REPAIRS}
    if objects:
        assert gains["ap"] == 0 and gains["missed"] == 0 and diagnosis.missed.all()
    else:
        assert set(gains.values()) == {None}


# ------------------------------------------------------------------ against the authors' program


def scene(seed, images=60, classes=4, difficult=0.0):
    """Random objects, and detections near them, beside them, twice, and of other classes."""
    random = np.random.default_rng(seed)
    found, objects = [], []
    for _ in range(images):
        count = random.integers(0, 7)
        corner, side = random.random((count, 2)) * 80, 5 + random.random((count, 2)) * 40
        boxes = np.concatenate([corner, corner + side], axis=1)
        labels = random.integers(0, classes, count)
        objects.append(truth(boxes, labels, random.random(count) < difficult))
        copies = np.repeat(np.arange(count), random.integers(0, 4, count))
        spread = random.choice([0.02, 0.1, 0.3], (len(copies), 1)) * np.tile(side[copies], 2)
        near = boxes[copies] + random.normal(size=(len(copies), 4)) * spread
        wrong = random.random(len(copies)) < 0.2
        near_labels = np.where(wrong, random.integers(0, classes, len(copies)), labels[copies])
        stray = random.random((random.integers(0, 4), 4)) * 60
        stray[:, 2:] += stray[:, :2]
        rows = np.concatenate([near, stray])
        rows[:, 2:] = np.maximum(rows[:, 2:], rows[:, :2] + 1)
        names = np.concatenate([near_labels, random.integers(0, classes, len(stray))])
        found.append(detections(rows, random.random(len(rows)), names))
    return found, objects


def authors(found, objects):
    """What `tidecv` gives for the same, in our words."""
    tidecv = pytest.importorskip("tidecv", reason="the program of TIDE's authors is not installed")
    theirs = tidecv.Data("truth", max_dets=10**9), tidecv.Data("found", max_dets=10**9)
    for image, (boxes, hits) in enumerate(zip(objects, found, strict=True)):
        theirs[0].add_image(image, str(image))  # else it passes over one without objects
        for box, label in zip(boxes.boxes_xyxy, boxes.labels, strict=True):
            theirs[0].add_ground_truth(image, int(label), [*box[:2], *(box[2:] - box[:2])])
        for box, label, score in zip(hits.boxes_xyxy, hits.labels, hits.scores, strict=True):
            size = [*box[:2], *(box[2:] - box[:2])]
            theirs[1].add_detection(image, int(label), float(score), size)
    with contextlib.redirect_stdout(io.StringIO()):
        tool = tidecv.TIDE()
        run = tool.evaluate(*theirs, mode=tidecv.TIDE.BOX)
    (errors,), (special,) = tool.get_main_errors().values(), tool.get_special_errors().values()
    names = dict(zip(tide.REPAIRS, ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=False))
    values = {ours: errors[name] / 100 for ours, name in names.items()}
    values |= {"ap": run.ap / 100, "false_positives": special["FalsePos"] / 100}
    counts = {ours: n for ours, n in zip(names, map(len, count_by_name(run, names)), strict=True)}
    return values | {"false_negatives": special["FalseNeg"] / 100}, counts


def test_a_random_scene_gives_what_the_authors_program_gave():
    """Version 1.0.1, for where it is not installed."""
    want = {
        "ap": 0.293891882672105,
        "classification": 0.044421897444227,
        "localisation": 0.125976004944454,
        "both": 0.032157968529884,
        "duplicate": 0.020766404515521,
        "background": 0.048457721406099,
        "missed": 0.110862475117520,
        "false_positives": 0.285316038119974,
        "false_negatives": 0.212083243044110,
    }
    assert tide.gains(tide.diagnose(*scene(0))) == pytest.approx(want, abs=1e-9)


def count_by_name(run, names):
    by_name = {kind.short_name: errors for kind, errors in run.error_dict.items()}
    return [by_name[name] for name in names.values()]


@pytest.mark.parametrize("seed", range(4))
def test_random_scenes_give_what_the_authors_program_gives(seed):
    found, objects = scene(seed)
    want, counts = authors(found, objects)
    diagnosis = tide.diagnose(found, objects)
    got = tide.gains(diagnosis)
    assert got == pytest.approx(want, abs=1e-9)
    ours = {name: len(diagnosis.of_kind(name)) for name in tide.KINDS[1:]}
    assert ours | {"missed": int(diagnosis.missed.sum())} == counts
    assert min(counts.values()) > 0 and all(want[name] > 0 for name in ("ap", *tide.REPAIRS))


def test_difficult_objects_are_to_the_authors_program_as_if_they_were_not_there():
    """By what it has no word for being taken away before: what we ignore, and what is difficult."""
    found, objects = scene(9, difficult=0.25)
    diagnosis = tide.diagnose(found, objects)
    ignored = diagnosis.kind == tide.IGNORED
    assert ignored.sum() > 10
    kept = []
    for image, hits in enumerate(found):
        mine = diagnosis.detection_index[ignored & (diagnosis.found.image == image)]
        rest = np.delete(np.arange(len(hits)), mine)
        kept.append(Detections(hits.boxes_xyxy[rest], hits.scores[rest], hits.labels[rest]))
    counting = [truth(o.boxes_xyxy[~o.difficult], o.labels[~o.difficult]) for o in objects]
    want, _ = authors(kept, counting)
    got = tide.gains(diagnosis)
    # Of which kind a false one is may depend on a difficult object; that it is false does not.
    for name in ("ap", "false_positives", "false_negatives"):
        assert got[name] == pytest.approx(want[name], abs=1e-9), name
