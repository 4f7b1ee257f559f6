"""Where detections come of, who suppressed whom, and the boxes of each object: by hand, and held
against the ops."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.microscope.test_record import CROWDED, EMPTY, example
from yolov1 import data, ops
from yolov1.grid import GridSpec
from yolov1.inference import decode
from yolov1.kernels import SUPPRESSIONS
from yolov1.microscope import pictures
from yolov1.microscope.explain import explain
from yolov1.microscope.suppression import trace_suppression
from yolov1.reporting import explained
from yolov1.semantics import PRESETS, TERMS, LossSemantics

GRID = GridSpec(S=2, B=2, C=3, image_size=16)
THRESHOLDS = {"score_threshold": 0.1, "iou_threshold": 0.5}


def planted():
    """In cell (0, 1) two boxes of class 1, one inside the other by 0.81 of its area; in cell (1, 1)
    one of class 2 that is almost the same place as class 1's of cell (1, 0)."""
    values = np.zeros(GRID.prediction_shape, np.float32)
    classes, confidences = values[..., :3], values[..., 3:5]
    boxes = values[..., 5:].reshape(2, 2, 2, 4)
    boxes[...] = 0.5, 0.5, 0.1, 0.1
    classes[0, 1] = 0, 1, 0
    confidences[0, 1] = 0.6, 0.8
    boxes[0, 1, :, 2:] = [[0.45**0.5] * 2, [0.5**0.5] * 2]
    classes[1, 0], classes[1, 1] = (0, 1, 0), (0, 0, 1)
    confidences[1, 0, 0] = confidences[1, 1, 1] = 0.5
    boxes[1, 0, 0] = 1, 0.5, 0.5, 0.5
    boxes[1, 1, 1] = 0, 0.5, 0.5, 0.5
    values[..., 5:] = boxes.reshape(2, 2, 8)
    return values


def test_who_suppressed_whom_by_hand():
    found = trace_suppression(planted(), GRID, "predict_sqrt", **THRESHOLDS)
    np.testing.assert_allclose(found.scores, [0.8, 0.6, 0.5, 0.5])
    assert found.cells.tolist() == [1, 1, 2, 3] and found.boxes.tolist() == [1, 0, 0, 1]
    assert found.labels.tolist() == [1, 1, 1, 2]
    assert found.kept.tolist() == [True, False, True, True]
    assert found.by.tolist() == [-1, 0, -1, -1]
    np.testing.assert_allclose(found.overlap, [0, 0.81, 0, 0], rtol=1e-5)
    fewer = trace_suppression(planted(), GRID, "predict_sqrt", **THRESHOLDS, max_detections=2)
    assert fewer.kept.tolist() == [True, False, True, False]
    assert fewer.by.tolist() == [-1, 0, -1, -1]  # the last went because there are too many
    thresholds = THRESHOLDS | {"iou_threshold": 0.0}  # any overlap, and none is none
    fewer = trace_suppression(planted(), GRID, "predict_sqrt", **thresholds, max_detections=2)
    assert fewer.by.tolist() == [-1, 0, -1, -1]
    none = trace_suppression(planted() * 0, GRID, "predict_sqrt", **THRESHOLDS)
    assert len(none.kept) == 0


@pytest.mark.parametrize("suppression", SUPPRESSIONS)
@pytest.mark.parametrize("impl", ["fused", "reference"])
def test_what_is_kept_is_what_the_op_keeps(impl, suppression):
    grid = GridSpec(S=5, B=3, C=4, image_size=16)
    predictions = np.random.default_rng(0).random(grid.prediction_shape).astype(np.float32)
    options = {"score_threshold": 0.3, "iou_threshold": 0.3, "max_detections": 25, "impl": impl}
    options |= {"suppression": suppression, "sigma": 0.2}
    found = trace_suppression(predictions, grid, "plain", **options)
    boxes_xyxy, scores = decode(predictions[None], grid, "plain")
    *kept, count = ops.non_max_suppression(boxes_xyxy, scores, clip=False, **options)
    count = int(count[0])
    assert count == found.kept.sum() == 25
    mine = found.boxes_xyxy, found.scores, found.labels
    for ours, theirs in zip(mine, kept, strict=True):
        np.testing.assert_array_equal(ours[found.kept], np.asarray(theirs)[0, :count])
    cells = found.cells * grid.B + found.boxes
    np.testing.assert_array_equal(boxes_xyxy.numpy()[0, cells], found.boxes_xyxy)
    gone = np.flatnonzero(found.by >= 0)
    assert len(gone) > (20 if suppression == "hard" else 1) and found.kept[found.by[gone]].all()
    assert (found.overlap[gone] > (0.3 if suppression != "gaussian" else 0.05)).all()
    assert (found.labels[gone] == found.labels[found.by[gone]]).all()
    if suppression == "hard":
        assert (found.scores[gone] <= found.scores[found.by[gone]]).all()
    assert (np.diff(found.scores) <= 0).all()


def of(image, values=None, semantics="paper"):
    values = planted() if values is None else values
    return explain("it", values, GRID, semantics, "abc", example=image, **THRESHOLDS)


def test_the_boxes_of_each_object_by_hand():
    first, lost, last = of(CROWDED).to_json()["objects"]
    assert (lost["class"], lost["cell"], lost["lost_to"]) == ("b", [0, 0], 0)
    assert first["cell"] == [0, 0] and last["cell"] == [1, 1] and last["class"] == "c"
    # Object (0.75, 0.75, 0.5, 0.5); box 1: (0.5, 0.75, 0.25, 0.25) has 1/8 of its area in it, so
    # 1/32 + ... = 0.03125 / (0.25 + 0.0625 - 0.03125); box 0 (0.01 x 0.01) lies inside.
    best, second = last["boxes"]
    assert (best["box"], best["responsible"], second["box"]) == (1, True, 0)
    assert best["iou"] == pytest.approx(0.03125 / 0.28125, rel=1e-5)
    assert second["iou"] == pytest.approx(0.0001 / 0.25, rel=1e-3)
    assert (best["confidence"], best["score"], last["class_probability"]) == (0.5, 0.5, 1)
    np.testing.assert_allclose(best["box_xyxy"], [0.375, 0.625, 0.625, 0.875], rtol=1e-6)
    assert best["terms"]["xy"] == pytest.approx(5 * 0.5**2)
    assert best["terms"]["object"] == pytest.approx((0.5 - best["iou"]) ** 2, rel=1e-5)
    assert list(best["terms"]) == list(TERMS[:4]) and second["terms"]["no_object"] == 0
    assert last["gradient"]["xy"] == pytest.approx(5 * 2 * 0.5)


@pytest.mark.parametrize("semantics", [*PRESETS, LossSemantics(box="ciou")])
def test_its_terms_are_the_ops(semantics):
    """Also of the boxes: what they and the class have is what the cell has."""
    explanation = of(CROWDED, semantics=semantics)
    content = explanation.to_json()
    targets = data.encode_example(CROWDED, GRID)
    options = {"grid": GRID, "semantics": explanation.semantics}
    terms = ops.yolo_loss(planted()[None], targets[None], **options).terms.numpy()[0]
    np.testing.assert_allclose([content["terms"][name] for name in TERMS], terms, atol=1e-6)
    for thing in content["objects"]:
        for name in TERMS[:4] if "boxes" in thing else ():
            total = sum(box["terms"][name] for box in thing["boxes"])
            assert total == pytest.approx(thing["terms"][name], abs=1e-6)


@pytest.mark.first_case
@pytest.mark.parametrize("image", [CROWDED, EMPTY, None, "wide", "tall"])
def test_it_is_drawn(image):
    """Also an image without objects, one whose objects nobody knows, and extreme shapes."""
    pixels = np.full({"wide": (20, 400, 3), "tall": (400, 20, 3)}.get(image, (8, 12, 3)), 90, "u1")
    if isinstance(image, str):
        image = example(image, [[0.5, 0.5, 0.3, 0.3]], [1])
    explanation = of(image)
    drawn = pictures.draw_all(explanation, pixels)
    assert len(drawn) == (2 if image is None else 6)
    for png in drawn.values():
        with Image.open(io.BytesIO(png)) as picture:
            assert 79 < min(picture.size) and max(picture.size) <= 1620
    page = explained.render("<title>", [(explanation.to_json(), drawn)])
    assert page.count("data:image/jpeg") == len(drawn) and "<title><title>" not in page
    assert ("lost to 1" in page) == (image is CROWDED)


def test_the_same_image_gives_the_same_bytes():  # of a figure of Matplotlib
    pixels = np.full((8, 12, 3), 90, np.uint8)
    assert pictures.boxes(of(CROWDED), pixels) == pictures.boxes(of(CROWDED), pixels)
