"""The clocks of a training."""

import time

import pytest

from yolov1.training.callbacks import MetricsFile
from yolov1.training.clocks import SPENT, Stopwatch
from yolov1.training.run_directory import RunDirectory


def test_a_stopwatch_gives_each_part_its_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    spent = Stopwatch()

    def go_on(seconds):
        now[0] += seconds

    for part, seconds in (("training", 8.0), ("evaluation", 4.0), ("checkpoint", 2.0)):
        with spent.of(part):
            go_on(seconds)
    with pytest.raises(KeyError), spent.of("training"):
        go_on(16.0)
        raise KeyError
    go_on(1.0)
    assert spent.row() == dict(zip(SPENT, (4.0, 2.0, 1.0), strict=True))
    go_on(0.5)  # since the last row
    assert spent.row() == dict(zip(SPENT, (0.0, 0.0, 0.5), strict=True))


def test_what_comes_after_the_last_row_belongs_to_it(tmp_path):
    run = RunDirectory(tmp_path)
    file = MetricsFile(run, 0, [1, 2])
    for epoch in (0, 1):
        file.on_epoch_end(epoch, {"step": epoch + 1, "loss": 1.0} | dict.fromkeys(SPENT, 0.25))
    after = dict(zip(SPENT, (0.0, 2.0, 0.125), strict=True))
    file.on_train_end(after)
    rows = run.read_metrics()
    assert [[float(row[name]) for name in SPENT] for row in rows] == [
        [0.25, 0.25, 0.25],
        [0.25, 2.25, 0.375],
    ]
    text = run.metrics.read_text()
    # A run that is complete, and is resumed nevertheless: its rows stay as they are.
    MetricsFile(run, 3, [1, 2]).on_train_end(after)
    assert run.metrics.read_text() == text


def test_columns_that_come_later_stand_before_the_clocks(tmp_path):
    run = RunDirectory(tmp_path)
    first = {"epoch": 1, "checkpoint_seconds": 0, "evaluation_seconds": 0}
    run.write_metrics([first, {"epoch": 2, "map": 1}], last=SPENT)
    header = run.metrics.read_text().splitlines()[0]
    assert header == "epoch,map,evaluation_seconds,checkpoint_seconds"
