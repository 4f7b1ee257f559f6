"""The timing harness: turns, repeated calls, a budget."""

import time

import pytest

from benchmarks import harness
from tests.benchmarks.running import run


def test_every_variant_has_its_turns():
    order = []
    variants = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = harness.measure(variants, repeats=4, warm_up=2)
    assert sorted(order) == ["a"] * 6 + ["b"] * 6
    assert order[:2] != order[2:4]  # the order turns
    assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4}


def test_short_calls_are_repeated_and_give_the_time_of_one():
    calls = []

    def short():
        calls.append(None)
        time.sleep(0.001)

    seconds = harness.measure({"short": short}, repeats=3, warm_up=1, turn_seconds=0.01)
    assert len(calls) >= 2 + 3 * 4  # ten calls a turn where the machine is free
    assert all(0.001 <= value < 0.01 for value in seconds["short"])


def test_a_budget_ends_the_rounds():
    slow = {"slow": lambda: time.sleep(0.01)}
    seconds = harness.measure(slow, repeats=100, warm_up=0, budget_seconds=0.015)
    assert len(seconds["slow"]) == 3


def test_no_variants_take_no_turns():
    assert harness.measure({}, repeats=3) == {}


def test_rows_keep_their_columns(tmp_path):
    """And those with others are not lost: measuring them took minutes."""
    harness.write_rows(tmp_path / "rows.csv", [{"a": 1}])
    for _ in range(2):
        with pytest.raises(ValueError, match="in .*rows-other.csv.* give another --output"):
            harness.write_rows(tmp_path / "rows.csv", [{"b": 1}])
    assert (tmp_path / "rows.csv").read_text().split() == ["a", "1"]
    assert (tmp_path / "rows-other.csv").read_text().split() == ["b", "1", "1"]


def test_a_benchmark_of_nothing_is_a_sentence(tmp_path):
    for words in (
        ("bench_box_iou", "--parts="),
        ("bench_nms", "--parts=marginal", "--providers=kernel", "--batches=1", "--inputs=uniform"),
        ("bench_scaling", "--scalings=strong", "--processes=1"),
    ):
        done = run(*words, f"--output={tmp_path / 'rows.csv'}")
        assert done.returncode == 1 and "Traceback" not in done.stderr, words
        assert "error: nothing was measured" in done.stderr
