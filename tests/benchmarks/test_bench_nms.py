"""The benchmark of non-maximum suppression runs, and its providers compute the same."""

import numpy as np
import pytest

from benchmarks.bench_nms import PROVIDERS, Case, make, make_copies, ratios
from benchmarks.nms_inputs import INPUTS
from tests.benchmarks.running import rows_of


def test_bench_writes_rows_of_every_part(tmp_path):
    options = ("--batches=1,2", "--repeats=2", "--turn_ms=0.1", "--thresholds=0.2")
    rows, printed = rows_of(tmp_path / "rows.csv", "bench_nms", *options, "--inputs=realistic")
    assert printed.count("times as fast") == 4
    timed = [row for row in rows if row["part"] == "time"]
    assert {row["provider"] for row in timed} == set(PROVIDERS) - {"outputs_only"}
    assert all(float(row["median_us"]) > 0 and float(row["found"]) > 0 for row in timed)
    marginal = {row["provider"] for row in rows if row["part"] == "marginal"}
    assert marginal == {"tf_function", "fused", "outputs_only"}


@pytest.mark.parametrize("inputs", INPUTS)
def test_every_provider_finds_the_same(inputs):
    case = Case(3, inputs, 0.2)
    runs = {name: make(name, case) for name in PROVIDERS if name != "outputs_only"}
    total = 0
    for _ in range(3):  # batch after batch
        want = runs["kernel"]()
        total += want[3].sum()
        for name, compute in runs.items():
            for got, expected in zip(compute(), want, strict=True) if name != "kernel" else ():
                np.testing.assert_array_equal(got, expected, err_msg=name)
    for name in ("tf_function", "fused"):
        assert make_copies(name, case, 3)() == total


def test_ratios_leave_out_what_stands_around():
    case = {"part": "marginal", "inputs": "uniform", "score_threshold": 0.2, "images": 1}
    times = {"tf_function": 110.0, "fused": 20.0, "outputs_only": 10.0}
    rows = [{**case, "provider": name, "median_us": value} for name, value in times.items()]
    assert list(ratios(rows)) == [("marginal", "uniform", 0.2, 1, 10.0)]
    rows[1]["median_us"] = 10.0  # no more than the floor, on a busy machine
    assert list(ratios(rows)) == [("marginal", "uniform", 0.2, 1, None)]
