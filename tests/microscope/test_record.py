"""The file of watched images, and what it says: planted changes and collisions by hand."""

import json

import numpy as np
import pytest

from yolov1 import data
from yolov1.grid import GridSpec
from yolov1.inference import Detections
from yolov1.microscope import measures
from yolov1.microscope.looking import look
from yolov1.microscope.record import SEEN, RecordError, describe, read_record
from yolov1.semantics import LossSemantics

GRID = GridSpec(S=2, B=2, C=3, image_size=16)
PAPER = LossSemantics()


def example(name, boxes, labels, difficult=None):
    difficult = [False] * len(labels) if difficult is None else difficult
    image = np.full((8, 12, 3), 100, np.uint8)
    return data.Example(name, boxes, labels, difficult, (8, 12), draw=lambda: image)


# Two objects in cell (0, 0), of which the first is kept; one in cell (1, 1); one that is difficult.
CROWDED = example(
    "crowded",
    [[0.2, 0.2, 0.2, 0.2], [0.3, 0.3, 0.4, 0.4], [0.75, 0.75, 0.5, 0.5], [0.75, 0.2, 0.1, 0.1]],
    [0, 1, 2, 0],
    [False, False, False, True],
)
EMPTY = example("empty", [], [])


def predictions(best):
    """Of both images: box `best[cell]` of each cell fits the object there, the other not at all."""
    values = np.zeros((2, *GRID.prediction_shape), np.float32)
    targets = np.stack([data.encode_example(e, GRID) for e in (CROWDED, EMPTY)])
    outputs = values[..., GRID.box_channels].reshape(2, 2, 2, GRID.B, 4)
    outputs[...] = 0.01
    for (row, col), box in best.items():
        x, y, w, h = targets[0, row, col, GRID.target_box_channels]
        outputs[0, row, col, box] = x, y, np.sqrt(w), np.sqrt(h)
    values[..., GRID.box_channels] = outputs.reshape(2, 2, 2, -1)
    values[..., GRID.confidence_channels] = 0.25
    return values, targets


def evaluation(best, score=0.5):
    found = Detections([[0.1, 0.1, 0.3, 0.3]], [score], [1])
    return look(*predictions(best), [found, Detections.empty()], GRID, PAPER)


@pytest.fixture(scope="module")
def record():
    """Box 0 of both cells; then box 1 of cell (1, 1); then box 1 of both; then the same."""
    first = describe([CROWDED, EMPTY], ["evaluation", "training"], "abc", GRID, PAPER, "first", "x")
    for k, best in enumerate([(0, 0), (0, 1), (1, 1), (1, 1)]):
        seen = evaluation(dict(zip([(0, 0), (1, 1)], best, strict=True)))
        first = first.added(k + 1, 10 * (k + 1), seen)
    return first


def test_churn_by_hand(record):
    np.testing.assert_array_equal(measures.churn_of_all(record), [np.nan, 0.5, 0.5, 0])
    expected = [[np.nan, np.nan], [0.5, np.nan], [0.5, np.nan], [0, np.nan]]
    np.testing.assert_array_equal(measures.churn(record), expected)


def test_churn_counts_a_set_of_boxes(record):
    """Where two are responsible and then one of them, the cell has changed."""
    seen = {name: values[:1].copy() for name, values in record.seen.items()}
    seen["responsible"][0, 0, 0] = True, True
    both = record.before(20)
    both.seen.update(seen)
    churned = measures.churn_of_all(both.added(2, 20, evaluation({(0, 0): 0, (1, 1): 0})))
    np.testing.assert_array_equal(churned, [np.nan, 0.5])


def test_collisions_by_hand(record):
    assert measures.lost_objects(record) == [(0, 1, 0)]
    one = record.images[0]
    assert one["labels"] == [0, 1, 2] and one["cells"] == [0, 0, 3] and one["keepers"] == [0, 0, 2]
    np.testing.assert_array_equal(record.has_object, [[1, 0, 0, 1], [0, 0, 0, 0]])
    largest = describe([CROWDED], ["evaluation"], "abc", GRID, PAPER, "largest")
    assert measures.lost_objects(largest) == [(0, 0, 1)]


def test_fits_and_terms_by_hand(record):
    iou, confidence = measures.fits(record, 0)
    np.testing.assert_allclose(iou, [1, 1], rtol=1e-5)
    np.testing.assert_array_equal(confidence, np.float32([0.25, 0.25]))
    # Objects: (0.25 - 1)^2 each, no class found. Six boxes and two of them are not responsible.
    np.testing.assert_allclose(
        measures.image_terms(record)[0],
        [[0, 0, 2 * 0.75**2, 0.5 * 6 * 0.25**2, 2], [0, 0, 0, 0.5 * 8 * 0.25**2, 0]],
        atol=1e-6,
    )
    norms = record.seen["gradient"][0, 1]
    np.testing.assert_allclose(norms, np.full(4, np.sqrt(2) * 0.25), rtol=1e-6)


def test_detections_that_score_enough_are_kept(record):
    rows = record.seen["detections"][0]
    np.testing.assert_allclose(rows[0, 0], [0.1, 0.1, 0.3, 0.3, 0.5, 1])
    assert np.isnan(rows[0, 1:]).all() and np.isnan(rows[1]).all()
    weak = evaluation({(0, 0): 0}, score=0.2)
    assert np.isnan(weak["detections"]).all()


def test_the_file_gives_back_what_was_written(record, tmp_path):
    record.write(tmp_path / "watched.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["watched.npz"]
    back = read_record(tmp_path / "watched.npz")
    assert back.about == record.about and len(back) == 4
    np.testing.assert_array_equal(back.step, [10, 20, 30, 40])
    np.testing.assert_array_equal(back.pictures, record.pictures)
    assert back.pictures.shape == (2, 16, 16, 3)
    for name in SEEN:
        np.testing.assert_array_equal(back.seen[name], record.seen[name])
    with np.load(tmp_path / "watched.npz", allow_pickle=False) as file:
        assert file["terms"].shape == (4, 2, 4, 5) and file["responsible"].dtype == bool
        assert json.loads(str(file["about"]))["images"][0]["id"] == "crowded"


def test_an_evaluation_takes_the_place_of_what_is_later(record):
    again = record.added(3, 25, evaluation({(0, 0): 0, (1, 1): 0}))
    assert again.step.tolist() == [10, 20, 25] and len(record) == 4
    assert again.before(20).step.tolist() == [10]
    np.testing.assert_array_equal(again.seen["terms"][:2], record.seen["terms"][:2])


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_a_file_that_is_cut_is_named(record, tmp_path, cut):
    path = tmp_path / "watched.npz"
    record.write(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RecordError, match="watched.npz is no record of watched images"):
        read_record(path)


def test_other_files_are_named(record, tmp_path):
    np.savez(tmp_path / "a.npz", x=1)
    with pytest.raises(RecordError, match="no record"):
        read_record(tmp_path / "a.npz")
    record.about["version"] += 1
    try:
        record.write(tmp_path / "b.npz")
    finally:
        record.about["version"] -= 1
    with pytest.raises(RecordError, match="of version 2"):
        read_record(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "c.npz")
