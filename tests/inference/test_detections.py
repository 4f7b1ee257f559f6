import numpy as np
import pytest

from yolov1.inference import Detections

BOXES = np.float32([[0, 0, 0.5, 0.5], [0.1, 0.2, 0.3, 0.6], [0, 0, 1, 1]])


def test_sorted_by_falling_score_and_stable():
    found = Detections(BOXES, [0.2, 0.9, 0.2], [0, 1, 2])
    assert found.labels.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(found.boxes_xyxy, BOXES[[1, 0, 2]])
    assert len(found) == 3 and found.labels.dtype == np.int32


def test_floating_dtypes_are_kept_and_others_converted():
    assert Detections(BOXES, [0.5] * 3, [0] * 3).boxes_xyxy.dtype == np.float32
    assert Detections(BOXES.astype(float), [0.5] * 3, [0] * 3).boxes_xyxy.dtype == np.float64
    assert Detections([[0, 0, 10, 10]], [1], [0]).boxes_xyxy.dtype == np.float32


def test_empty():
    for found in (Detections.empty(), Detections([], [], [])):
        assert len(found) == 0 and found.boxes_xyxy.shape == (0, 4)
        assert found.to_json(("cat",)) == []


def test_above_and_json():
    found = Detections(BOXES, [0.2, 0.9, 0.5], [0, 1, 0]).above(0.2)
    assert found.scores.tolist() == [0.9, 0.5]
    first = found.to_json(("cat", "dog"), size=(10, 100))[0]
    assert first["class"] == "dog" and first["score"] == 0.9
    assert first["box_xyxy"] == pytest.approx([10, 2, 30, 6], abs=1e-5)
    fractions = found.to_json(("cat", "dog"))[0]["box_xyxy"]
    assert fractions == pytest.approx([0.1, 0.2, 0.3, 0.6])


@pytest.mark.parametrize(
    "boxes, scores, labels, message",
    [
        (BOXES[:, :3], [0.1] * 3, [0] * 3, r"got \[3, 3\], \[3\] and \[3\]"),
        (BOXES, [0.1] * 2, [0] * 3, r"got \[3, 4\], \[2\] and \[3\]"),
        (BOXES, [0.1] * 3, [[0]] * 3, r"got \[3, 4\], \[3\] and \[3, 1\]"),
        (BOXES, [0.1, np.nan, np.nan], [0] * 3, "2 of 3 scores are NaN"),
        (BOXES, [0.1] * 3, [0, 1, -1], "labels must be at least 0, got -1"),
    ],
)
def test_what_does_not_belong_together_is_refused(boxes, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        Detections(boxes, scores, labels)
