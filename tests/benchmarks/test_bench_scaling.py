"""The benchmark of several processes, and the calculation for many GPUs."""

import pytest

from benchmarks import scaling_model
from tests.benchmarks.running import rows_of
from tests.shared import ROOT
from yolov1 import models
from yolov1.grid import GridSpec


def test_the_sum_of_two_is_one_exchange_of_half_each_way():
    """Two GPUs send half of the bytes to each other, twice."""
    seconds = scaling_model.sum_seconds(2, size=8e9, bandwidth=4e9)
    assert seconds == pytest.approx(2 * 0.5 * 8e9 / 4e9 + 2 * scaling_model.LATENCY)
    # So many more do not change what each sends, only how many messages it waits for.
    many = scaling_model.sum_seconds(10**6, 8e9, 4e9) - 2 * (10**6 - 1) * scaling_model.LATENCY
    assert many == pytest.approx(2 * 8e9 / 4e9, rel=1e-5)
    assert scaling_model.sum_seconds(1, 8e9, 4e9) == 0


def test_within_a_machine_its_own_links_count():
    inside = scaling_model.efficiency(8, 0.1, 1e9, link=1.0)
    assert inside == scaling_model.efficiency(8, 0.1, 1e9, link=1e12) > 0.9
    assert scaling_model.efficiency(9, 0.1, 1e9, link=1e9) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name, classes", [("paper", 20), ("laptop", 6)])
def test_the_gradients_are_those_of_the_networks(name, classes):
    found = next(v for key, v in scaling_model.MEASURED.items() if key.startswith(name))
    grid = GridSpec(S=7, B=2, C=classes, image_size=found[-1])
    model = models.build(name, grid=grid)
    assert sum(v.value.shape.num_elements() for v in model.trainable_variables) == found[3]


def test_the_table_of_the_page_is_the_calculated_one():
    page = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
    for line in scaling_model.table().splitlines():
        assert " ".join(line.split()) in page, line


@pytest.mark.slow
def test_two_processes_are_measured(tmp_path):
    options = ("--processes=1,2", "--steps=2", "--rounds=1", "--image_size=32", "--batch_size=4")
    rows, _ = rows_of(tmp_path / "rows.csv", "bench_scaling", *options)
    assert [(r["processes"], r["scaling"], r["local_batch"]) for r in rows[::4]] == [
        ("1", "weak", "4"),
        ("2", "weak", "4"),
        ("2", "strong", "2"),
    ]
    assert all(float(row["median_us"]) > 0 and int(row["gradient_bytes"]) > 1e6 for row in rows)
    assert [bool(row["communication"]) for row in rows] == [False, True, False, False] * 3
