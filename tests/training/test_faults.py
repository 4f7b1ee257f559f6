"""What a training survives, or says: a full disk, a folder that cannot be written, a clock that
jumps. (Kills and signals: test_stops.py, test_workers.py, tests/experiments/test_launch.py.)"""

import os
import resource
import shutil
import subprocess
import sys
import time

import pytest

from tests.shared import ROOT
from tests.training.small_runs import (
    arguments,
    assert_same_bits,
    final_state,
    finish,
    rows,
    run,
    start,
)
from yolov1.training import RunDirectory

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_a_disk_that_fills_while_a_checkpoint_is_written(whole, tmp_path):
    """A limit on the size of files stands for it: the system refuses to write on."""
    path = tmp_path / "run"
    process = start(path, checkpoint_minutes=0, epochs=40)
    while RunDirectory(path).steps < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "error: " in output and "cannot be written" in output, output
    steps = RunDirectory(path).steps
    assert steps >= 3
    finish(start(path, resume=True, epochs=40))
    straight = tmp_path / "straight"
    finish(start(straight, epochs=40))
    assert_same_bits(final_state(straight), final_state(path))


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs Linux' unshare")
def test_checkpoints_that_cannot_be_written(tmp_path):
    path = tmp_path / "run"
    folder = path / "checkpoints"
    folder.mkdir(parents=True)
    mount = f"mount --bind '{folder}' '{folder}' && mount -o remount,ro,bind '{folder}'"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount")
    command = [sys.executable, "-m", "experiments.train", *arguments(path, {})]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "error: " in said and "Read-only file system" in said, said
    assert str(folder) in said and "Traceback" not in said


def test_a_clock_that_jumps(whole, tmp_path, monkeypatch):
    """Back and forth by days: what is due is counted by a clock that only goes on."""
    real, calls = time.time, []

    def jumping():
        calls.append(1)
        return real() + 86400 * (-1) ** len(calls)

    monkeypatch.setattr(time, "time", jumping)
    code, said = run(tmp_path / "run", checkpoint_minutes=0.001, hours=10)
    monkeypatch.undo()
    assert code == 0 and calls, said
    assert_same_bits(final_state(whole[0]), final_state(tmp_path / "run"))
    assert rows(whole[0]) == rows(tmp_path / "run")
    with open(tmp_path / "run" / "metrics.csv") as file:
        assert "-" not in {value[:1] for value in file.read().replace("\n", ",").split(",")}
    assert os.path.exists(tmp_path / "run" / "report.html")
