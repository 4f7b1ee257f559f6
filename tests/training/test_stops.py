"""Wherever a run is stopped, it can be gone on with, and ends with the same bits."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from experiments.lib import evaluators
from tests import programs
from tests.shared import ROOT
from tests.training.small_runs import assert_same_bits, final_state, finish, rows, run, start
from yolov1.training import RunDirectory, loop
from yolov1.training.checkpoint_files import CheckpointFiles
from yolov1.training.optimizers import MovingAverage

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_bits(whole, tmp_path):
    process = start(tmp_path / "run", checkpoint_minutes=0.0001, eval_every=0)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (tmp_path / "run" / "checkpoints" / "last" / "checkpoint").exists():
            time.sleep(0.05)  # somewhere inside a step, an evaluation or a save
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()

    output = subprocess.run(
        [sys.executable, "-m", "experiments.train", f"--output_dir={tmp_path / 'run'}"]
        + ["--resume", "--eval_every=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert output.returncode == 0, output.stdout + output.stderr
    expected, resumed = final_state(whole[0]), final_state(tmp_path / "run")
    # The killed session did not evaluate, so it may have missed the epoch with the best mAP.
    expected = {k: v for k, v in expected.items() if "best" not in k}
    assert_same_bits(expected, {k: v for k, v in resumed.items() if "best" not in k})
    for a, b in zip(rows(whole[0]), rows(tmp_path / "run"), strict=True):
        assert {k: v for k, v in a.items() if not k.startswith("map")} == {
            k: v for k, v in b.items() if not k.startswith("map")
        }


def test_ctrl_c_anywhere_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    """In the middle of the exchange of weights and averages; then while they are measured."""
    path, exchange, measure = tmp_path / "run", MovingAverage.swap, evaluators.Evaluator.__call__
    swaps, measures = [], []

    def interrupted_exchange(self):
        swaps.append(self)
        if len(swaps) > 1:
            return exchange(self)
        of_all = self.averages, self.weights
        for part in (slice(1), slice(1, None)):
            self.averages, self.weights = (values[part] for values in of_all)
            exchange(self)
            if part == slice(1):
                programs.interrupt()
        self.averages, self.weights = of_all

    def interrupted_measure(self, *arguments):
        measures.append(self)
        programs.interrupt()
        return measure(self, *arguments)

    monkeypatch.setattr(MovingAverage, "swap", interrupted_exchange)
    code, output = run(path)
    assert code == 130 and "Interrupted. Go on with" in output and len(swaps) == 2
    monkeypatch.setattr(evaluators.Evaluator, "__call__", interrupted_measure)
    code, output = run(path, resume="true")
    assert code == 130 and len(measures) == 1, output
    monkeypatch.undo()
    code, output = run(path, resume="true")
    assert code == 0, output
    assert_same_bits(final_state(whole[0]), final_state(path))
    assert rows(path) == rows(whole[0])


@pytest.mark.slow
def test_sigterm_at_any_moment_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    """Once in each start: around a step, and around and twice in the middle of a checkpoint."""
    path, one_step, save = tmp_path / "run", loop._one_step, CheckpointFiles.save
    write = tf.train.Checkpoint.write
    moments, moment = ["before a step", "after a step", "before a save", "in a save"], None

    def comes(when):
        nonlocal moment
        if moment == when:
            programs.interrupt(signal.SIGTERM)
            if when == "in a save":
                programs.interrupt(signal.SIGTERM)  # supervisors repeat it
            moment = None

    def around(function, name, then):
        def call(*arguments):
            comes(f"before a {name}")
            result = function(*arguments)
            comes(then)
            return result

        return call

    monkeypatch.setattr(loop, "_one_step", around(one_step, "step", "after a step"))
    monkeypatch.setattr(CheckpointFiles, "save", around(save, "save", ""))
    monkeypatch.setattr(tf.train.Checkpoint, "write", around(write, "write", "in a save"))
    for k, moment in enumerate(moments, 1):
        code, output = run(path, resume="true", checkpoint_minutes=0)
        assert code == 143 and "Terminated. Go on with" in output, output
        assert moment is None and k <= RunDirectory(path).steps < 10
    code, output = run(path, resume="true")
    assert code == 0, output
    assert_same_bits(final_state(whole[0]), final_state(path))
    assert rows(path) == rows(whole[0])


@pytest.mark.slow
def test_ten_real_sigterms_end_with_the_same_bits(whole, tmp_path):
    """At random moments of a process's life, its start and its end included."""
    path, random = tmp_path / "run", np.random.default_rng(7)
    process = start(path, resume="true", checkpoint_minutes=0)
    begun = time.monotonic()
    process.communicate(timeout=300)
    takes = time.monotonic() - begun
    shutil.rmtree(path)
    for _ in range(10):
        process = start(path, resume="true", checkpoint_minutes=0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.3, 1) * takes)
        process.terminate()
        output = process.communicate(timeout=300)[0]
        assert process.returncode in (0, 143, -signal.SIGTERM), output
    finish(start(path, resume="true"))
    assert_same_bits(final_state(whole[0]), final_state(path))
    assert rows(path) == rows(whole[0])


@pytest.mark.slow
def test_hours_stop_a_run_that_can_be_gone_on_from(whole, tmp_path, monkeypatch):
    """Two steps of a quarter of an hour each, then there is no time for a third."""
    path, clock, one_step = tmp_path / "run", time.monotonic, loop._one_step
    late = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + late[0])

    def slow_step(*arguments):
        late[0] += 900
        return one_step(*arguments)

    monkeypatch.setattr(loop, "_one_step", slow_step)
    code, output = run(path, hours=0.5)
    assert code == 0 and "Time is up. Go on with" in output and "--resume" in output, output
    assert RunDirectory(path).steps == 2 and not (path / "summary.json").exists()
    monkeypatch.undo()
    code, output = run(path, resume="true", hours=0)
    assert code == 0, output
    assert_same_bits(final_state(whole[0]), final_state(path))
    assert rows(path) == rows(whole[0])


@pytest.mark.slow
def test_patience_counts_on_when_a_run_is_gone_on_with(tmp_path, monkeypatch):
    """Figures 1, 3, 2, 3, nothing: the third without a better one is the sixth epoch's."""
    figures = iter([1.0, 3.0, 2.0, 3.0, float("nan"), 9.0])
    measure = evaluators.headline
    monkeypatch.setattr(
        evaluators, "headline", lambda m: measure(m) | {"map_voc07": next(figures, 0.0)}
    )
    path = tmp_path / "run"
    flags = {"epochs": 6, "eval_every": 1, "patience": 3, "dataset": "shapes:count=8"}
    flags |= {"schedule": "constant", "warmup_epochs": 0.0}
    stop = 0

    def stop_after_three(*arguments):
        nonlocal stop
        stop += 1
        if stop == 3:
            programs.interrupt(signal.SIGTERM)
        return one_step(*arguments)

    one_step = loop._one_step
    monkeypatch.setattr(loop, "_one_step", stop_after_three)
    code, output = run(path, **flags)
    assert code == 143, output
    code, output = run(path, resume="true", **flags)
    assert code == 0, output
    assert [row["map_voc07"] for row in rows(path)] == ["1.0", "3.0", "2.0", "3.0", "nan"]
    assert RunDirectory(path).steps == 5 and (path / "summary.json").exists()
    before = (path / "metrics.csv").read_text()
    code, output = run(path, resume="true", **flags)  # it has ended
    assert code == 0 and (path / "metrics.csv").read_text() == before, output
    code, output = run(path, resume="true", **flags | {"patience": 9})
    assert code == 0 and len(rows(path)) == 6, output
