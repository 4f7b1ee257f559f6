"""How far one image moves average precision: by hand."""

import numpy as np
import pytest

from benchmarks import steadiness
from tests import programs
from yolov1 import data, inference


def image(found, wrong=False):
    """An image with one object, and the detection of it, or none; and a worse one of nothing."""
    box = np.array([[0.5, 0.5, 0.2, 0.2]], np.float32)
    example = data.Example(
        "x", box, np.array([0]), np.array([False]), (64, 64), draw=lambda: np.zeros((64, 64, 3))
    )
    boxes = [[0.4, 0.4, 0.6, 0.6]] * found + [[0.0, 0.0, 0.1, 0.1]] * wrong
    scores = [0.9] * found + [0.1] * wrong
    corners = np.reshape(boxes, (-1, 4)).astype(np.float32)
    return example, inference.Detections(corners, np.float32(scores), np.zeros(len(boxes), int))


def test_one_object_that_is_missed():
    examples, found = zip(*(image(k > 0) for k in range(20)), strict=True)
    dataset = data.Dataset(examples, ("thing",), name="things")
    figures = steadiness.steadiness(found, dataset, samples=50)
    # Nineteen of twenty: the 11 points lose the last of them, the area its twentieth.
    assert figures["voc07"]["map"] == pytest.approx(10 / 11)
    assert figures["area"]["map"] == pytest.approx(19 / 20)
    for rule, change in (("voc07", 1 / 11), ("area", 1 / 20)):
        assert figures[rule]["largest_change_without_an_image"] == pytest.approx(change)
        assert figures[rule]["deviation_over_draws"] > 0
    assert figures["voc07"]["missing_at_recall_1"] == pytest.approx(figures["voc07"]["missing"])


def test_each_pattern_must_stand_for_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    patterns = f"{tmp_path}/run,{tmp_path}/none-*"
    done = programs.call("benchmarks.steadiness", f"--runs={patterns}")
    assert done.returncode == 1 and "none-*: no such folder" in done.stderr


def test_what_is_wrong_after_the_last_object_counts_nothing():
    examples, found = zip(*(image(True, wrong=True) for _ in range(5)), strict=True)
    dataset = data.Dataset(examples, ("thing",), name="things")
    figures = steadiness.steadiness(found, dataset, samples=2)
    assert figures["voc07"]["map"] == 1 and figures["voc07"]["missing_at_recall_1"] == 0
