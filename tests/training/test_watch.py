"""Which images a flag names."""

import pytest

from yolov1.training import TrainConfig
from yolov1.training.watch import parse_watch


def test_by_hand():
    assert parse_watch("") == ((), (), 0)
    assert parse_watch("a, train:b,hard:16,c") == (("a", "c"), ("b",), 16)
    assert parse_watch('"a,b",train:x y') == (("a,b",), ("x y",), 0)


@pytest.mark.parametrize(
    "text", ["hard:", "hard:0", "hard:-1", "hard:x", "hard:2,hard:3", "a,,b", "a,a", "train:", ","]
)
def test_what_names_none(text):
    with pytest.raises(ValueError, match="--watch"):
        TrainConfig(watch=text)


def test_a_classifier_watches_nothing():
    with pytest.raises(ValueError, match="--watch must be empty with --task=classify"):
        TrainConfig(task="classify", S=1, monitor="accuracy", watch="a")
