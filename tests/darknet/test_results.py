"""Darknet's settings, names, results and logs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared import shared
from yolov1.darknet import DarknetError
from yolov1.darknet.results import (
    read_comp4,
    read_data,
    read_log,
    read_names,
    short_id,
    write_comp4,
)

TODAY = "1: 1040.426270, 1030.5 avg, 0.001000 rate, 0.036057 seconds, 2 images"


def text(*parts):
    return shared("golden", "darknet_full", "text", *parts)


# Logs.


def test_the_log_of_a_training():
    path = text("train.log")
    steps = read_log(path)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == sum(line.endswith(" images\n") for line in path.open())
    assert steps[0][:6] == (1, 1040.42627, 1040.42627, 2, 0.001, 0.036057)
    assert all(len(step.parts) == 2 for step in steps)
    assert steps[0].parts[1] == (0.112663, 0.135646, 0.004718, 0.033439, 0.068165, 18)
    empty = [part for step in steps for part in step.parts if part.count == 0]
    assert len(empty) == 1
    assert math.isnan(empty[0].iou)
    assert empty[0].any_obj == 0.000621
    average = steps[0].loss
    for step in steps[1:]:
        average = 0.9 * average + 0.1 * step.loss
        assert step.average == pytest.approx(average, rel=1e-5)
        assert step.images == 2 * step.step


@pytest.mark.parametrize(
    ("line", "rate", "seconds"),
    [
        (TODAY, 0.001, 0.036057),
        (f" {TODAY.replace(' avg', ' avg loss')}, 1.5 hours left", 0.001, 0.036057),
        ("1: 1040.42627, 1030.5 avg, 0.5 seconds, 2 images, epoch: 0.1", None, 0.5),
        ("1: 1040.42627, 1030.5 avg, 0.5 seconds, 0.001 rate, 2 images, epoch: 0.1", 0.001, 0.5),
        (
            "1: loss=1040.42627, avg loss=1030.5, rate=0.001, 40.5 milliseconds, 2 images, "
            "time remaining=3 hours",
            0.001,
            0.0405,
        ),
    ],
)
def test_the_logs_of_other_times(tmp_path, line, rate, seconds):
    (tmp_path / "log").write_text(f"Loaded: 1 seconds\n\n{line}\r\n", newline="")
    (step,) = read_log(tmp_path / "log")
    assert step[:4] == (1, 1040.42627, 1030.5, 2)
    assert step.rate == rate
    assert step.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["nan", "-nan", "-nan(ind)"])
def test_a_loss_that_is_not_finite(tmp_path, word):
    lines = [TODAY.replace("1040.426270", word), TODAY.replace("1: ", "2: "), TODAY[:-3]]
    (tmp_path / "log").write_bytes("\n".join([*lines, "99: \xff"]).encode("latin-1"))
    steps = read_log(tmp_path / "log")
    assert math.isnan(steps[0].loss)
    assert [step.step for step in steps] == [1, 2]


def test_what_is_no_log():
    with pytest.raises(DarknetError, match=r"test.log is no log of a training: expected lines"):
        read_log(text("test.log"))


# Settings and names.


def test_settings_are_read_as_darknet_reads_them(tmp_path):
    path = tmp_path / "obj.data"
    path.write_text(
        "# mine\n ; too\nclasses= 20\ntrain  = /my data/train.txt\nbackup\nnames = voc.names # x\n"
        "classes = 3\neval=\n"
    )
    found = read_data(path)
    assert found.values == {
        "classes": "20",
        "train": "/my data/train.txt",
        "backup": "",
        "names": "voc.names # x",
        "eval": "",
    }
    assert len(found.remarks) == 3
    assert "line 4: train = /my data/train.txt has spaces" in found.remarks[0]
    assert found.remarks[0].endswith("look for /mydata/train.txt")
    assert found.remarks[2] == "line 7: classes is not used: line 3 comes first"


def test_a_file_of_names(tmp_path):
    (tmp_path / "voc.names").write_bytes(b"cat\r\ntraffic light\r\n")
    assert read_names(tmp_path / "voc.names") == ("cat", "traffic light")


# Results.


def test_the_results_of_darknet():
    total = 0
    for path in sorted(text("results").glob("comp4_det_test_*.txt")):
        ids, numbers = read_comp4(path)
        lines = path.read_text().splitlines()
        rows = zip(ids, numbers, strict=True)
        assert [" ".join((i, *(f"{v:f}" for v in row))) for i, row in rows] == lines
        assert set(ids) <= {short_id(line) for line in text("2007_test.txt").read_text().split()}
        total += len(lines)
    assert total == 3595


def test_results_come_back_byte_for_byte(tmp_path):
    path = text("results", "comp4_det_test_dog.txt")
    ids, numbers = read_comp4(path)
    write_comp4(tmp_path / "a", ((i, *row) for i, row in zip(ids, numbers.tolist(), strict=True)))
    assert (tmp_path / "a").read_bytes() == path.read_bytes()
    write_comp4(tmp_path / "b", [])
    ids, numbers = read_comp4(tmp_path / "b")
    assert (ids, numbers.shape) == ([], (0, 5))


number = st.floats(-1e6, 1e6, width=32)
word = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(word, *[number] * 5), max_size=5))
def test_any_results_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "comp3_det_val_x.txt"
    write_comp4(path, rows)
    ids, numbers = read_comp4(path)
    assert ids == [row[0] for row in rows]
    np.testing.assert_allclose(numbers, np.reshape([r[1:] for r in rows], (-1, 5)), atol=5.1e-7)


@pytest.mark.parametrize(
    "line",
    [
        "a .5 1 2 3",
        "a .5 1 2 3 x",
        "a",
        "a nan 1 2 3 4",
        "a .5 1 2 3 inf",
        ".5 1 2 3 4",
        "a .5 1,2",
    ],
)
def test_damaged_results_are_named(tmp_path, line):
    (tmp_path / "x.txt").write_text(f"b .5 1 2 3 4\n\n{line}\n")
    with pytest.raises(DarknetError, match=r"x.txt: line 3 must be an id and five numbers .*got"):
        read_comp4(tmp_path / "x.txt")


def test_an_id_with_a_space_is_read_as_darknet_writes_it(tmp_path):
    (tmp_path / "x.txt").write_text("my photo 1 .5 1 2 3 4\r\n", newline="")
    ids, numbers = read_comp4(tmp_path / "x.txt")
    assert (ids, numbers.tolist()) == (["my photo 1"], [[0.5, 1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("my photo", 0.5, 1, 2, 3, 4), "without spaces, got 'my photo'"),
        (("", 0.5, 1, 2, 3, 4), "without spaces, got ''"),
        (("a", math.nan, 1, 2, 3, 4), "needs five finite numbers"),
        (("a", 0.5, 1, 2, 3), "needs five finite numbers"),
    ],
)
def test_results_that_cannot_be_read_back_are_not_written(tmp_path, row, message):
    with pytest.raises(DarknetError, match=message):
        write_comp4(tmp_path / "x", [("b", 0.5, 1, 2, 3, 4), row])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "short"),
    [("/a/b/2007_000068.jpg", "2007_000068"), ("a.v2.jpg", "a"), ("plain", "plain"), (".x", ".x")],
)
def test_an_id_ends_at_the_first_dot(name, short):
    assert short_id(name) == short
