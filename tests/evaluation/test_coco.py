import contextlib
import io

import numpy as np
import pytest

from tests.evaluation.test_average_precision import random_images
from tests.evaluation.test_matching import UNIT, detections, truth
from yolov1.evaluation import average_precision, coco_summary
from yolov1.inference import Detections

KEYS = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)


@pytest.fixture(params=["pycocotools", "faster_coco_eval"])
def library(request):
    """COCO and its evaluation, of the original and of the best kept library that follows it."""
    if request.param == "pycocotools":
        from pycocotools import coco, cocoeval

        return coco.COCO, cocoeval.COCOeval
    module = pytest.importorskip(request.param, reason="ours is held against it where it is there")
    return module.COCO, module.COCOeval_faster


def by_library(library, found, truths, classes):
    """Its twelve numbers, and its AP per class; difficult boxes are crowds."""
    COCO, COCOeval = library

    def xywh(box):
        return [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])]

    annotations, results = [], []
    for n, (image, objects) in enumerate(zip(found, truths, strict=True)):
        for box, label, crowd in zip(
            objects.boxes_xyxy, objects.labels, objects.difficult, strict=True
        ):
            bbox = xywh(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n,
                    "category_id": int(label),
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": int(crowd),
                }
            )
        for box, label, score in zip(image.boxes_xyxy, image.labels, image.scores, strict=True):
            results.append(
                {
                    "image_id": n,
                    "category_id": int(label),
                    "bbox": xywh(box),
                    "score": float(score),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": n} for n in range(len(truths))],
            "annotations": annotations,
            "categories": [{"id": k} for k in range(classes)],
        }
        reference.createIndex()
        evaluator = COCOeval(reference, reference.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    per_class = [float(p.mean()) if (p > -1).all() else None for p in precision.transpose(2, 0, 1)]
    summary = [None if value == -1 else float(value) for value in evaluator.stats[:12]]
    return dict(zip(KEYS, summary, strict=True)), per_class


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_libraries(seed, library):
    # Boxes from about 20 to 280 pixels, so that every range of areas has some.
    found, truths = random_images(np.random.default_rng(seed), images=25, unit=300.0)
    want, per_class = by_library(library, found, truths, 4)
    summary = coco_summary(found, truths, classes="abcd")
    assert list(per_class[:3]) != [None] * 3 and per_class[3] is None
    for key in KEYS:
        assert summary[key] == pytest.approx(want[key], abs=1e-12), key
    result = average_precision(found, truths, "coco", classes="abcd")
    assert list(result.per_class.values()) == [
        None if value is None else pytest.approx(value, abs=1e-12) for value in per_class
    ]


def test_more_than_a_hundred_detections_of_a_class_in_an_image(library):
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 900, (70, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 120, (70, 2))], axis=1)
    jittered = np.concatenate([boxes, boxes]) + rng.normal(0, 3, (140, 4))
    found = [detections(jittered, rng.random(140)), Detections.empty()]
    truths = [truth(boxes, difficult=rng.random(70) < 0.1), truth([UNIT], difficult=[False])]
    want, _ = by_library(library, found, truths, 1)
    summary = coco_summary(found, truths)
    assert want["AR1"] < want["AR10"] < want["AR100"]
    for key in KEYS:
        assert summary[key] == pytest.approx(want[key], abs=1e-12), key


def test_a_crowd_takes_any_number_of_detections():
    """It counts the share of the detection that lies inside it."""
    objects = truth([[0, 0, 10, 10], [20, 20, 21, 21]], difficult=[True, False])
    inside = [[1, 1, 2, 2], [4, 4, 5, 5], [8, 8, 9, 9]]
    found = detections([*inside, [20, 20, 21, 21]], [0.9, 0.8, 0.7, 0.6])
    assert coco_summary([found], [objects])["AP"] == pytest.approx(1)


def test_sizes_bring_fractions_to_pixels():
    objects, found = [truth([[0, 0, 0.2, 0.2]])], [detections([[0, 0, 0.2, 0.2]])]
    for side, name in ((100, "small"), (300, "medium"), (900, "large")):
        summary = coco_summary(found, objects, sizes=[(side, side)])
        sizes = {key: summary[f"AP{key}"] for key in ("small", "medium", "large")}
        assert sizes == dict.fromkeys(sizes) | {name: pytest.approx(1)}


def test_nothing():
    assert set(coco_summary([], []).values()) == {None}
    summary = coco_summary([Detections.empty()], [truth([[0, 0, 50, 50]])])
    assert summary["AP"] == summary["AR100"] == summary["APmedium"] == 0
    assert summary["APsmall"] is None
