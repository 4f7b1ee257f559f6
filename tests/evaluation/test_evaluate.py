import json

import numpy as np
import pytest

from tests.evaluation.test_average_precision import random_images
from tests.evaluation.test_matching import UNIT, detections, truth
from yolov1 import boxes, data
from yolov1.evaluation import average_precision, evaluate
from yolov1.inference import Detections


@pytest.fixture(scope="module")
def images():
    return random_images(np.random.default_rng(0), images=30)


def test_the_figures_are_those_of_average_precision(images):
    found, truths = images
    result = evaluate(found, truths, classes="abcd")
    for metric in ("voc07", "area", "coco"):
        want = average_precision(found, truths, metric, classes="abcd")
        assert result[f"map_{metric}"] == want.mean
        for name, value in want.per_class.items():
            assert result["classes"][name][f"ap_{metric}"] == value
        if metric == "voc07":
            assert result["ap_per_class"] == want.per_class
    assert result["images"] == 30
    assert sum(result["errors"].values()) == pytest.approx(1)
    counted = sum(int((~t.difficult).sum()) for t in truths)
    assert sum(v["truth"] for v in result["classes"].values()) == counted
    assert sum(v["detections"] for v in result["classes"].values()) == sum(map(len, found))
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_curve_ends_where_the_detections_do(images):
    found, truths = images
    for name, values in evaluate(found, truths, classes="abcd")["classes"].items():
        precision, recall, score = values["precision"], values["recall"], values["score"]
        assert len(precision) == len(recall) == len(score)
        if name == "d":
            assert precision == [] and values["ap_voc07"] is None
            continue
        assert recall == sorted(recall) and score == sorted(score, reverse=True)
        assert precision[-1] == pytest.approx(
            recall[-1] * values["truth"] / (values["detections"] - ignored(found, truths, name)),
        )


def ignored(found, truths, name):
    """Detections of a class that lie on difficult objects."""
    from yolov1.evaluation.matching import best_overlap, tabulate

    rows, objects, _ = tabulate(found, truths, "abcd")
    best, iou = best_overlap(rows, objects)
    return int(((iou > 0.5) & objects.difficult[best] & (rows.labels == "abcd".index(name))).sum())


def test_curves_are_short_enough_for_a_page():
    count = 3000
    score = np.linspace(1, 0, count)
    truths = [truth([UNIT]) for _ in range(count)]
    found = [detections([UNIT], [s]) for s in score]
    values = evaluate(found, truths, classes=("a",))["classes"]["a"]
    assert 100 < len(values["recall"]) <= 200
    assert values["recall"][0] == 1 / count and values["recall"][-1] == 1
    assert values["ap_area"] == pytest.approx(1)


def test_examples_of_a_data_set():
    dataset = data.open("shapes:count=12", split="val", image_size=64)
    perfect = [
        Detections(boxes.cxcywh_to_xyxy(e.boxes_cxcywh), np.ones(len(e.labels)), e.labels)
        for e in dataset
    ]
    result = evaluate(perfect, dataset)
    assert result["map_voc07"] == result["map_area"] == pytest.approx(1)
    assert result["map_coco"] == pytest.approx(1)
    assert result["errors"]["correct"] == 1
    assert tuple(result["classes"]) == dataset.classes


def test_nothing_found_and_nothing_there():
    nothing = evaluate([Detections.empty()] * 2, [truth([UNIT])] * 2, classes=("a", "b"))
    assert nothing["map_voc07"] == nothing["map_area"] == nothing["map_coco"] == 0
    assert nothing["errors"] is None
    assert nothing["classes"]["a"] == {
        "ap_voc07": 0.0,
        "ap_area": 0.0,
        "ap_coco": 0.0,
        "truth": 2,
        "detections": 0,
        "precision": [],
        "recall": [],
        "score": [],
        "errors": None,
    }
    empty = evaluate([], [], classes=("a",))
    assert empty["map_voc07"] is None and empty["ap_per_class"] == {"a": None}
    json.dumps([nothing, empty], allow_nan=False)
