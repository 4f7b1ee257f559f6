import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared
from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.inference import decode, non_max_suppression


def iou(a, b):
    shared_sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = np.maximum(shared_sides, 0).prod()
    return common / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - common)


def greedy(boxes, scores, score_threshold, iou_threshold):
    """[(score, label, box)] by the plain rule, class by class."""
    kept = []
    for label in range(scores.shape[1]):
        mine = []
        for k in np.argsort(-scores[:, label], kind="stable"):
            overlapped = any(iou(boxes[k], boxes[m]) > iou_threshold for m in mine)
            if scores[k, label] > score_threshold and not overlapped:
                mine.append(k)
        kept += [(scores[k, label], label, tuple(boxes[k])) for k in mine]
    return sorted(kept, key=lambda row: -row[0])


def random_boxes(rng, count):
    corner, size = rng.uniform(-0.1, 0.7, (count, 2)), rng.uniform(0.05, 0.5, (count, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed, iou_threshold", [(0, 0.5), (1, 0.3), (2, 0.7)])
def test_equals_the_plain_rule(seed, iou_threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 60), rng.random((60, 3), np.float32)
    want = greedy(boxes, scores, 0.2, iou_threshold)
    found = non_max_suppression(
        boxes[None],
        scores[None],
        score_threshold=0.2,
        iou_threshold=iou_threshold,
        max_detections=200,
        clip=False,
    )
    found_boxes, found_scores, labels, count = (value.numpy()[0] for value in found)
    assert 10 < count == len(want)
    np.testing.assert_allclose(found_scores[:count], [row[0] for row in want], rtol=1e-6)
    np.testing.assert_array_equal(labels[:count], [row[1] for row in want])
    np.testing.assert_allclose(found_boxes[:count], [row[2] for row in want], atol=1e-6)
    assert not found_scores[count:].any()


def test_the_suppression_of_darknet():
    """do_nms_sort at 0.5, on boxes of the published decoding."""
    golden = np.load(shared("golden", "darknet", "decode_v1.npz"))
    cells = models.planes_to_cells(tf.constant(golden["pred"]), GridSpec())
    boxes, scores = decode(cells, GridSpec())
    # IoU in pixels of a 500 x 375 image equals that in fractions.
    found_boxes, found_scores, labels, count = non_max_suppression(
        boxes,
        scores,
        score_threshold=float(golden["thresh"]),
        iou_threshold=float(golden["nms"]),
        max_detections=98 * 20,
        clip=False,
    )
    after = golden["after_nms_sort"]
    assert int(count[0]) == (after[:, 5:] > 0).sum() < (golden["raw"][:, 5:] > 0).sum()
    centres = (found_boxes[0, :, :2] + found_boxes[0, :, 2:]) / 2 * [500.0, 375.0]
    for label in range(20):
        want = after[after[:, 5 + label] > 0]
        want = want[np.argsort(-want[:, 5 + label])]
        mine = (labels[0].numpy() == label) & (found_scores[0].numpy() > 0)
        np.testing.assert_allclose(found_scores[0].numpy()[mine], want[:, 5 + label], rtol=1e-6)
        np.testing.assert_allclose(centres.numpy()[mine], want[:, :2], atol=1e-3)


def test_an_overlap_that_equals_the_threshold_stays():
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.5]]])
    scores = np.float32([[[0.9], [0.8]]])
    for threshold, kept in ((0.5, 2), (0.499, 1)):
        assert int(non_max_suppression(boxes, scores, iou_threshold=threshold)[3][0]) == kept


def test_classes_do_not_suppress_each_other_and_the_best_are_kept():
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.9]]])
    scores = np.float32([[[0.9, 0.1], [0.2, 0.8]]])
    _, found, labels, count = non_max_suppression(boxes, scores, max_detections=1)
    assert (int(count[0]), float(found[0, 0]), int(labels[0, 0])) == (1, np.float32(0.9), 0)
    _, found, labels, count = non_max_suppression(boxes, scores, max_detections=5)
    assert found[0].numpy().tolist()[:2] == [np.float32(0.9), np.float32(0.8)]
    assert labels[0].numpy().tolist()[:2] == [0, 1] and int(count[0]) == 2


def test_boxes_are_clipped_after_they_are_compared():
    # Clipped they are the same box; as they are, they overlap by a third.
    boxes = np.float32([[[-1, 0, 1, 1], [0, 0, 2, 1]]])
    scores = np.float32([[[0.9], [0.8]]])
    found, _, _, count = non_max_suppression(boxes, scores)
    assert int(count[0]) == 2
    np.testing.assert_array_equal(found[0, :2], [[0, 0, 1, 1]] * 2)


def test_nothing_above_the_threshold():
    boxes, scores = np.zeros((2, 4, 4), np.float32), np.full((2, 4, 3), 0.1, np.float32)
    found = non_max_suppression(boxes, scores, score_threshold=0.1)
    assert found[3].numpy().tolist() == [0, 0]
