"""Where two trainings part: by rows of digests, and by the tensors of a step in their order."""

import dataclasses

import numpy as np
import pytest

from yolov1.grid import GridSpec
from yolov1.training import TrainConfig, WrongRun
from yolov1.training.parting import first_difference, interval, sentences, step_of_parting
from yolov1.training.step_file import Step, read_step

GRID = GridSpec(S=2, B=1, C=2, image_size=8)


def row(step, weights, loss="1.0"):
    return {"step": str(step), "weights": weights, "loss": loss}


def test_the_interval_between_digests():
    a = [row(0, "a"), row(10, "b"), row(20, "c"), row(25, "d", "")]
    assert interval(a, a) == (25, None)
    assert interval(a, [row(0, "a"), row(10, "b"), row(20, "x")]) == (10, 20)
    assert interval(a, [row(0, "x")]) == (None, 0)
    # Rows of other steps, and the end of a shorter run, say nothing.
    assert interval(a, [row(0, "a"), row(5, "x"), row(10, "b"), row(20, "c", "")]) == (20, None)
    assert interval(a, []) == (None, None)


def test_the_step_of_parting():
    a = [row(k, str(k)) for k in range(4, 8)]
    assert step_of_parting(a, a) is None
    assert step_of_parting(a, [*a[:2], row(6, "6", "2.0")]) == 6  # the same weights, another loss
    assert step_of_parting(a, [*a[:2], row(6, "x")]) == 5  # which made other weights
    assert step_of_parting(a, [row(4, "x")]) == -1
    assert step_of_parting([row(0, "a")], [row(0, "x")]) == 0


@pytest.fixture
def step():
    random = np.random.default_rng(0)
    shapes = {
        "indices": (3,),
        "images": (3, 8, 8, 3),
        "targets": (3, 2, 2, 7),
        "weights_before.0": (4, 2),
        "weights_before.1": (2,),
        "predictions": (3, 2, 2, 7),
        "cell_terms": (3, 4, 5),
        "terms": (3, 5),
        "by_predictions": (3, 2, 2, 7),
        "gradients.0": (4, 2),
        "learning_rate": (),
        "weights_after.0": (4, 2),
        "weights_after.1": (2,),
    }
    arrays = {name: np.array(random.random(shape, np.float32)) for name, shape in shapes.items()}
    arrays["predictions"][1, 0, 0, 0] = np.nan
    about = {
        "step": 7,
        "config": TrainConfig().to_dict(),
        "grid": dataclasses.asdict(GRID),
        "classes": ["cat", "dog"],
        "image_ids": ["x", "y", "z"],
        "terms": ["xy", "wh", "object", "no_object", "class"],
        "variables": ["conv/kernel", "bn/mean"],
        "trainable": ["conv/kernel"],
    }
    return Step(about, arrays)


@pytest.mark.parametrize(
    ("name", "place", "found"),
    [
        ("indices", (1,), {"image": "y"}),
        ("images", (2, 5, 3, 0), {"image": "z", "cell": [1, 0], "pixel": [5, 3, 0]}),
        ("targets", (0, 1, 0, 2), {"image": "x", "cell": [1, 0], "channel": "object"}),
        ("weights_before.1", (1,), {"variable": "bn/mean", "index": [1], "variables": 1}),
        ("predictions", (2, 0, 1, 5), {"image": "z", "cell": [0, 1], "channel": "w of box 0"}),
        ("cell_terms", (0, 3, 4), {"image": "x", "cell": [1, 1], "term": "class", "cells": 1}),
        ("terms", (1, 2), {"image": "y", "term": "object"}),
        ("by_predictions", (1, 1, 1, 2), {"cell": [1, 1], "channel": "confidence of box 0"}),
        ("gradients.0", (3, 1), {"variable": "conv/kernel", "index": [3, 1]}),
        ("learning_rate", (), {}),
        ("weights_after.0", (0, 0), {"variable": "conv/kernel"}),
    ],
)
def test_the_first_tensor_that_differs(step, tmp_path, name, place, found):
    """By one bit, with all that comes behind it in the step other as well."""
    step.save(tmp_path / "step.npz")
    other = read_step(tmp_path / "step.npz")
    assert first_difference(step, other) is None
    assert "is the same in both, to the bit" in sentences(None, 7)[0]
    other.arrays[name][place] = np.nextafter(other.arrays[name][place], np.float32(9))
    names = list(other.arrays)
    for later in names[names.index(name) + 1 :]:
        if not later.startswith(name.split(".")[0]):
            other.arrays[later] = other.arrays[later] + 1
    difference = first_difference(step, other)
    assert difference["tensor"] == name.split(".")[0]
    assert found.items() <= difference.items() and difference["differ"] == 1
    order = list(dict.fromkeys(n.split(".")[0] for n in names))
    assert difference["equal"] == order[: order.index(name.split(".")[0])]
    text = " ".join(sentences(difference, 7))
    assert "They part at step 7" in text and ("1 of " in text or name == "learning_rate")
    for value in found.values():
        assert not isinstance(value, str) or repr(value) in text


def test_a_sum_that_differs_is_looked_for_in_the_gradient(step, tmp_path):
    step.save(tmp_path / "step.npz")
    other = read_step(tmp_path / "step.npz")
    other.arrays["terms"][1, 2] += 1
    assert "cell" not in first_difference(step, other)
    other.arrays["by_predictions"][1, 1, 0, 3] += 1
    other.arrays["by_predictions"][2, 0, 0, 3] += 1
    difference = first_difference(step, other)
    assert difference["tensor"] == "terms" and difference["cell"] == [1, 0]
    assert difference["cells"] == 1


def test_bits_count_and_not_values(step, tmp_path):
    step.arrays["gradients.0"][0, 0] = 0.0
    step.save(tmp_path / "step.npz")
    other = read_step(tmp_path / "step.npz")
    other.arrays["gradients.0"][0, 0] = -0.0
    assert first_difference(step, other)["tensor"] == "gradients"
    other.arrays["images"] = other.arrays["images"][:, :4]
    difference = first_difference(step, other)
    assert difference["shape"] == [[3, 8, 8, 3], [3, 4, 8, 3]]
    assert "Its shapes differ" in sentences(difference, 7)[1]
    del other.arrays["images"], other.arrays["weights_before.1"]  # a network with less
    difference = first_difference(step, other)
    assert difference["tensor"] == "weights_before" and difference["shape"] == [[2], None]
    assert "Its shapes differ: [2] in A, none in B." in sentences(difference, 7)


def test_a_file_of_another_version_is_told_from_another_file(step, tmp_path):
    step.about["version"] = 2
    step.save(tmp_path / "step.npz")
    with pytest.raises(WrongRun, match="step.npz is a step of version 2, expected 1"):
        read_step(tmp_path / "step.npz")
    step.about["format"] = "other"
    step.save(tmp_path / "step.npz")
    with pytest.raises(WrongRun, match="step.npz is no file of experiments.replay --save"):
        read_step(tmp_path / "step.npz")
