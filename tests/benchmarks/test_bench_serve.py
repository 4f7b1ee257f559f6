"""The benchmark of the server: its client sees what is wrong, and the whole of it runs."""

import csv
import re

import pytest

from benchmarks.serve_client import same
from tests.benchmarks.running import rows_of, run
from tests.shared import ROOT

BOX = {"image_id": 1, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}


@pytest.mark.parametrize(
    "change, is_same",
    [
        ({}, True),
        ({"image_id": 7, "bbox": [1.001, 2, 3, 4], "score": 0.50001}, True),
        ({"category_id": 1}, False),
        ({"bbox": [1.1, 2, 3, 4]}, False),
        ({"score": 0.51}, False),
    ],
)
def test_answers_are_compared(change, is_same):
    assert same([BOX | change], [BOX]) == is_same
    assert not same([], [BOX]) and not same([BOX, BOX], [BOX])


def test_a_folder_without_jpeg_files_is_a_sentence(tmp_path):
    done = run("bench_serve", f"--images={tmp_path}")
    assert done.returncode == 1 and f"--images={tmp_path} holds no *.jpg" in done.stderr


@pytest.mark.slow
def test_the_benchmark_loses_nothing_and_the_memory_of_the_server_stays(tmp_path):
    """An answer that is wrong, refused or missing ends the benchmark with an error."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        pytest.importorskip(package, reason="needs the extra serve")
    options = ("--pictures=8", "--requests=64", "--repeats=1", "--connections=1,16")
    file = tmp_path / "serve.csv"
    rows, printed = rows_of(file, "bench_serve", *options, "--memory_requests=1000")
    assert [(row["provider"], row["connections"]) for row in rows] == [
        *(("bare", ""), ("overlapped", ""), ("decoded", "")),
        *(("served", "1"), ("served", "16")),
    ]
    assert float(rows[3]["mean_batch"]) == 1 < float(rows[4]["mean_batch"])
    sizes = [float(n) for n in re.search(r"memory.*: (.*) MB", printed)[1].split(", ")]
    assert len(sizes) == 10 and max(sizes[5:]) < 1.03 * max(sizes[:5]), sizes
    with (ROOT / "benchmarks" / "results" / "serve.csv").open() as file:
        assert next(csv.reader(file)) == list(rows[0])
