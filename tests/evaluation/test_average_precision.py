from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluation.test_matching import UNIT, detections, truth
from yolov1.evaluation import average_precision
from yolov1.inference import Detections

FAR = [5, 5, 6, 6]


def naive(found, truths, label, threshold, metric, offset=0.0, inclusive=False):
    """The devkit's rule as loops over detections, and AP from its definition."""

    def iou(a, b):
        w = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
        h = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
        areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
        return w * h / (areas[0] + areas[1] - w * h)

    rows = []
    for n, image in enumerate(found):
        for box, score, k in zip(image.boxes_xyxy, image.scores, image.labels, strict=True):
            if k == label:
                rows.append((score, n, box))
    rows.sort(key=lambda row: -row[0])
    objects = sum(int(((t.labels == label) & ~np.array(t.difficult, bool)).sum()) for t in truths)
    taken, hits, misses, points = set(), 0, 0, []
    for _, n, box in rows:
        best, place = 0.0, None
        for m in np.flatnonzero(truths[n].labels == label):
            value = iou(box, truths[n].boxes_xyxy[m])
            if value > best:
                best, place = value, m
        if place is not None and (best >= threshold if inclusive else best > threshold):
            if truths[n].difficult[place]:
                continue
            if (n, place) in taken:
                misses += 1
            else:
                taken.add((n, place))
                hits += 1
        else:
            misses += 1
        points.append((hits / objects, hits / (hits + misses)))
    if metric == "voc07":
        best_after = [
            max([p for r, p in points if r >= t], default=0) for t in np.arange(0.0, 1.1, 0.1)
        ]
        return sum(best_after) / 11
    total, before = 0.0, 0.0
    for k, (recall, _) in enumerate(points):
        total += (recall - before) * max(p for _, p in points[k:])
        before = recall
    return total


def random_images(rng, images=12, classes=3, unit=1.0):
    found, truths = [], []
    for _ in range(images):
        count = rng.integers(0, 6)
        corner, size = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = rng.integers(0, classes, count)
        truths.append(truth(boxes * unit, labels, rng.random(count) < 0.25))
        guesses = np.concatenate([boxes + rng.normal(0, s, boxes.shape) for s in (0.02, 0.08)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 0.01)  # never inverted
        lie = rng.random(2 * count) < 0.2
        guessed = np.where(lie, rng.integers(0, classes, 2 * count), np.tile(labels, 2))
        # One digit: plenty of equal scores.
        found.append(detections(guesses * unit, rng.random(2 * count).round(1), guessed))
    return found, truths


@pytest.mark.parametrize("metric", ["voc07", "area"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset, inclusive", [(0.0, False), (1.0, True)])
def test_equals_the_plain_rule(metric, seed, offset, inclusive):
    rng = np.random.default_rng(seed)
    found, truths = random_images(rng, unit=50.0 if offset else 1.0)
    for threshold in (0.1, 0.5, 0.75):
        result = average_precision(
            found,
            truths,
            metric,
            iou_threshold=threshold,
            pixel_offset=offset,
            inclusive=inclusive,
        )
        for label, value in result.per_class.items():
            want = naive(found, truths, label, threshold, metric, offset, inclusive)
            assert value == pytest.approx(want, abs=1e-12)
        assert result.mean == pytest.approx(np.mean(list(result.per_class.values())))


METRICS = ["voc07", "area", "coco"]


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_and_empty(metric):
    truths = [truth([UNIT, FAR], [0, 1]), truth([UNIT], [1])]
    perfect = [detections([UNIT, FAR], labels=[0, 1]), detections([UNIT], labels=[1])]
    assert average_precision(perfect, truths, metric).mean == pytest.approx(1)
    nothing = average_precision([Detections.empty()] * 2, truths, metric, classes=("a", "b"))
    assert nothing.per_class == {"a": 0.0, "b": 0.0} and nothing.mean == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_a_class_without_objects_is_left_out_of_the_mean(metric):
    truths = [truth([UNIT, FAR], [0, 2], [False, True])]
    found = [detections([UNIT, UNIT, FAR], labels=[0, 1, 2])]
    result = average_precision(found, truths, metric, classes=("a", "b", "c", "d"))
    assert result.per_class == {"a": pytest.approx(1), "b": None, "c": None, "d": None}
    assert result.mean == pytest.approx(1)
    assert average_precision([], [], metric).mean is None
    assert average_precision([Detections.empty()], [truth([])], metric, classes="a").mean is None


def ap(found, truths, **options):
    return average_precision([found], [truths], "area", **options).per_class[0]


def test_difficult_objects_are_neither_right_nor_wrong():
    objects = truth([UNIT, FAR], difficult=[False, True])
    assert ap(detections([FAR, FAR, UNIT], [0.9, 0.8, 0.7]), objects) == 1
    assert ap(detections([[8, 8, 9, 9], UNIT], [0.9, 0.7]), objects) == 0.5


def test_the_second_detection_of_an_object_is_wrong():
    objects = truth([UNIT, FAR])
    assert ap(detections([UNIT, UNIT, FAR], [0.9, 0.8, 0.7]), objects) == pytest.approx(5 / 6)


def test_the_rule_of_voc_never_falls_back_to_the_second_best_object():
    objects = truth([UNIT, [0, 0, 1, 0.8]])
    found = detections([UNIT, [0, 0, 1, 0.95]], [0.9, 0.8])
    assert ap(found, objects) == 0.5
    assert average_precision([found], [objects], "coco").mean > 0.5


def test_an_overlap_equal_to_the_threshold():
    half = detections([[0, 0, 1, 0.5]])
    assert ap(half, truth([UNIT])) == 0
    assert ap(half, truth([UNIT]), inclusive=True) == 1


def test_the_pixel_offset_works_on_pixels():
    objects, found = truth([[0, 0, 0.9, 0.9]]), detections([[0, 0, 0.9, 0.4]])
    # 10 x 10 pixels and 10 x 5 of them: exactly a half, where the bare corners give 0.44.
    options = {"pixel_offset": 1.0, "sizes": [(10, 10)]}
    assert ap(found, objects, **options, iou_threshold=0.49) == 1
    assert ap(found, objects, iou_threshold=0.49) == 0
    example = SimpleNamespace(
        boxes_cxcywh=np.array([[0.45, 0.45, 0.9, 0.9]]),
        labels=objects.labels,
        difficult=[False],
        size=(10, 10),
    )
    assert ap(found, example, pixel_offset=1.0, iou_threshold=0.49) == 1


def test_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="metric must be one of voc07, area, coco, got 'voc12'"):
        average_precision([], [], "voc12")
    bad = SimpleNamespace(boxes_xyxy=[UNIT], scores=[np.nan], labels=[0])
    for metric in METRICS:
        with pytest.raises(ValueError, match="1 of 1 scores are NaN, the first in image 0"):
            average_precision([bad], [truth([UNIT])], metric)
    # Fractions of the image have no pixels to add.
    with pytest.raises(ValueError, match="pixel_offset=1.0 needs boxes in pixels"):
        average_precision(
            [detections([[0.1, 0.1, 0.4, 0.4]])], [truth([[0, 0, 0.5, 0.5]])], pixel_offset=1.0
        )
