"""Every published or recorded value of ../shared/oracle."""

import json
import time

import numpy as np
import pytest

from tests.evaluation import oracles
from tests.shared import shared
from yolov1 import evaluation
from yolov1.data.formats.voc import VOC_CLASSES, parse_annotation
from yolov1.evaluation import GroundTruth, average_precision, coco_summary
from yolov1.inference import Detections


def expected(folder):
    return json.loads((folder / "expected.json").read_text())


def toy_cats(folder, kind):
    """Detections and truth in pixels, from one of the formats that the same boxes come in."""
    if kind == "coco":
        truth = folder / "gts_coco_format" / "toy_example_coco.JSON"
        return oracles.coco_images(truth, folder / "dets_coco_format" / "coco_dets.json")
    found, truths = [], []
    for xml in sorted((folder / "gts_vocpascal_format").glob("*.xml")):
        annotation, _ = parse_annotation(xml)
        height, width = annotation.extent
        corners = {
            "abs_xywh": oracles.xywh,
            "abs_xyx2y2": lambda *box: box,
            # The toolkit rounds to whole pixels; one IoU is 0.7506 without that and 0.748 with it.
            "rel_xcycwh": lambda x, y, w, h, width=width, height=height: (
                round((x - w / 2) * width),
                round((y - h / 2) * height),
                round((x + w / 2) * width),
                round((y + h / 2) * height),
            ),
        }[kind]
        file = folder / f"dets_classname_{kind}" / f"{xml.stem}.txt"
        found.append(oracles.detections_of(oracles.rows_of_file(file, corners)))
        truths.append(GroundTruth(annotation.boxes_xyxy, [0] * len(annotation.names)))
    return found, truths


@pytest.mark.parametrize("kind", ["abs_xywh", "abs_xyx2y2", "rel_xcycwh", "coco"])
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("inclusive", [False, True])
def test_toy_cats(kind, offset, inclusive):
    folder = shared("oracle", "padilla_toy_cats")
    found, truth = toy_cats(folder, kind)
    want = expected(folder)
    assert sum(map(len, found)) == want["n_det"]
    assert sum(len(t.labels) for t in truth) == want["n_gt"]
    for threshold, values in want["exact_by_their_code"].items():
        for metric, key in (("voc07", "11point"), ("area", "area")):
            result = average_precision(
                found,
                truth,
                metric,
                iou_threshold=float(threshold),
                pixel_offset=offset,
                inclusive=inclusive,
                classes=("cat",),
            )
            assert result.per_class["cat"] == pytest.approx(values[key], abs=1e-12)


def test_toy_cats_by_the_coco_metric():
    folder = shared("oracle", "padilla_toy_cats")
    summary = coco_summary(*toy_cats(folder, "coco"))
    for key, value in expected(folder)["coco_by_their_code"].items():
        assert summary[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("metric, key", [("voc07", "ap_11point"), ("area", "ap_area")])
def test_testcase1(metric, key):
    folder = shared("oracle", "padilla_testcase1")
    want = expected(folder)
    found, truth = [], []
    for file in sorted((folder / "dets").glob("*.txt")):
        found.append(oracles.detections_of(oracles.rows_of_file(file, oracles.xywh)))
        truth.append(
            oracles.truth_of(oracles.rows_of_file(folder / "gts" / file.name, oracles.xywh))
        )
    assert sum(map(len, found)) == want["n_det"]
    for threshold, value in want[key].items():
        result = average_precision(
            found, truth, metric, iou_threshold=float(threshold), pixel_offset=1.0, inclusive=True
        )
        assert result.mean == pytest.approx(value, abs=1e-9), threshold


def test_coco_sample():
    folder = shared("oracle", "padilla_coco_sample")
    want = expected(folder)
    found, truth = oracles.coco_images(
        folder / "sampled_gts_bbox_area.json", folder / "cocoapi_results.json"
    )
    assert (len(found), sum(map(len, found))) == (want["n_images"], want["n_det"])
    summary = coco_summary(found, truth)
    assert len(summary) == 12
    for key, value in summary.items():
        assert value == pytest.approx(want[key], abs=2e-6), key
    assert average_precision(found, truth, "coco").mean == pytest.approx(want["AP"], abs=2e-6)


@pytest.fixture(scope="module")
def voc2007():
    truth = oracles.voc2007_test(shared("oracle", "voc2007", "VOC2007_Annotations_9963.tar.xz"))
    return truth, oracles.comp4(shared("oracle", "tinyyolo_voc2007", "results.tar.xz"), truth)


def test_tiny_yolo_on_the_voc2007_test_set(voc2007):
    truth, found = voc2007
    want = expected(shared("oracle", "tinyyolo_voc2007"))
    truths = [GroundTruth(*fields[:3]) for fields in truth.values()]
    assert len(truths) == 4952
    begin = time.perf_counter()
    voc07, area = (
        average_precision(found, truths, metric, classes=VOC_CLASSES, pixel_offset=1.0)
        for metric in ("voc07", "area")
    )
    assert time.perf_counter() - begin < 30  # about 1 s alone; the machine may be busy
    assert voc07.mean == pytest.approx(want["recorded_mAP11_all20"], abs=1e-5)
    for name, values in want["per_class"].items():
        assert sum((d.labels == VOC_CLASSES.index(name)).sum() for d in found) == values["n_det"]
        assert voc07.per_class[name] == pytest.approx(values["recorded_ap11"], abs=1e-5), name
        assert area.per_class[name] == pytest.approx(values["rerun_ap_area"], abs=1e-5), name


def test_fractions_and_sizes_give_the_same_as_pixels(voc2007):
    """The form that our own detections and examples have: float32 fractions of the image."""
    truth, found = voc2007
    sizes = [fields[3] for fields in truth.values()]
    scale = [np.array([w, h, w, h]) for h, w in sizes]
    fractions = [
        Detections((d.boxes_xyxy / s).astype(np.float32), d.scores, d.labels)
        for d, s in zip(found, scale, strict=True)
    ]
    truths = [
        GroundTruth((boxes / s).astype(np.float32), *rest)
        for (boxes, *rest, _), s in zip(truth.values(), scale, strict=True)
    ]
    result = average_precision(
        fractions, truths, "voc07", classes=VOC_CLASSES, pixel_offset=1.0, sizes=sizes
    )
    want = expected(shared("oracle", "tinyyolo_voc2007"))["per_class"]
    for name, value in result.per_class.items():
        assert value == pytest.approx(want[name]["recorded_ap11"], abs=1e-4), name


def test_the_whole_evaluation_of_a_test_set(voc2007):
    truth, found = voc2007
    truths = [GroundTruth(*fields[:3]) for fields in truth.values()]
    result = evaluation.evaluate(found, truths, classes=VOC_CLASSES)
    # Without the +1 pixel, and by COCO's thresholds: near the record, and well below it.
    assert result["map_voc07"] == pytest.approx(0.5397, abs=0.005)
    assert 0.2 < result["map_coco"] < 0.3
    shares = result["errors"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["correct"] > shares["localisation"] > shares["other"]
    json.dumps(result, allow_nan=False)
