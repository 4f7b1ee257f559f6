import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared
from yolov1 import models
from yolov1.grid import GridSpec
from yolov1.inference import decode
from yolov1.semantics import CHOICES

GRIDS = [
    GridSpec(),
    GridSpec(S=3, B=1, C=1, image_size=32),
    GridSpec(S=5, B=4, C=7, image_size=64),
    GridSpec(S=1, B=1, C=1, image_size=8),
]


def naive(predictions, grid, wh):
    """One loop per letter, straight from the definition."""
    boxes, scores = [], []
    for row in range(grid.S):
        for col in range(grid.S):
            cell = predictions[row, col]
            for j in range(grid.B):
                x, y, w, h = cell[grid.C + grid.B + 4 * j :][:4]
                cx, cy = (x + col) / grid.S, (y + row) / grid.S
                w, h = (w**2, h**2) if wh == "predict_sqrt" else (max(w, 0), max(h, 0))
                boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                scores.append([cell[grid.C + j] * cell[c] for c in range(grid.C)])
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("wh", CHOICES["wh"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_equals_the_definition(grid, wh):
    predictions = np.random.default_rng(1).normal(0.3, 0.6, (2, *grid.prediction_shape))
    boxes, scores = decode(predictions, grid, wh)
    assert boxes.shape == (2, grid.predicted_boxes, 4)
    assert scores.shape == (2, grid.predicted_boxes, grid.C)
    for n in range(2):
        want_boxes, want_scores = naive(predictions[n], grid, wh)
        np.testing.assert_allclose(boxes[n], want_boxes, atol=1e-12)
        np.testing.assert_allclose(scores[n], want_scores, atol=1e-12)


def test_a_negative_size_is_an_empty_box_and_a_negative_root_a_size():
    grid = GridSpec(S=1, B=1, C=1, image_size=8)
    predictions = np.float32([1, 1, 0.5, 0.5, -0.5, 0.5]).reshape(1, 1, 1, 6)
    plain, _ = decode(predictions, grid, "plain")
    np.testing.assert_allclose(plain[0, 0], [0.5, 0.25, 0.5, 0.75])
    root, _ = decode(predictions, grid, "predict_sqrt")
    np.testing.assert_allclose(root[0, 0], [0.375, 0.375, 0.625, 0.625])


def test_the_decoding_of_darknet():
    golden = np.load(shared("golden", "darknet", "decode_v1.npz"))
    grid = GridSpec()
    cells = models.planes_to_cells(tf.constant(golden["pred"]), grid)
    boxes, scores = decode(cells, grid)
    raw, width, height = golden["raw"], int(golden["w"]), int(golden["h"])
    x0, y0, x1, y1 = boxes[0].numpy().astype(float).T
    cxcywh = np.stack([(x0 + x1) / 2 * width, (y0 + y1) / 2 * height], axis=1)
    sides = np.stack([(x1 - x0) * width, (y1 - y0) * height], axis=1)
    np.testing.assert_allclose(np.hstack([cxcywh, sides]), raw[:, :4], atol=2e-6 * 500, rtol=2e-6)
    kept = np.where(scores[0].numpy() > golden["thresh"], scores[0].numpy(), 0)
    np.testing.assert_allclose(kept, raw[:, 5:], atol=1e-7)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(batch):
    boxes, scores = decode(tf.zeros((batch, 7, 7, 30)), GridSpec())
    assert boxes.shape == (batch, 98, 4) and scores.shape == (batch, 98, 20)


def test_in_a_graph_with_an_unknown_batch():
    grid = GridSpec(S=3, B=2, C=4, image_size=32)
    predictions = tf.random.stateless_normal((5, *grid.prediction_shape), seed=(1, 2))

    @tf.function(input_signature=[tf.TensorSpec([None, *grid.prediction_shape])])
    def graph(predictions):
        return decode(predictions, grid)

    for got, want in zip(graph(predictions), decode(predictions, grid), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must be \[N, 7, 7, 30\] .*got \(8, 7, 7, 25\)"):
        decode(np.zeros((8, 7, 7, 25), np.float32), GridSpec())
    with pytest.raises(ValueError, match="wh must be one of predict_sqrt, .*got 'sqrt'"):
        decode(np.zeros((1, 7, 7, 30), np.float32), GridSpec(), wh="sqrt")
