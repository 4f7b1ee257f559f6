"""`experiments.launch`: what it refuses; and, slowly, what it survives (extra ``ray``)."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest

from tests import programs
from tests.shared import ROOT
from tests.training.small_runs import TINY, final_state, rows
from yolov1.training import RunDirectory

# A second or two of steps for each worker.
FLAGS = TINY | {
    "model_options": "width=0.34,synchronized=true",
    "eval_every": 0,
    "epochs": 16,
    "checkpoint_minutes": 0,
}


def refused(*arguments) -> str:
    done = programs.call("experiments.launch", *arguments)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("flag", ["--output_dir=x", "--resume", "--strategy=one"])
def test_flags_of_its_own_are_refused_after_the_words(flag):
    name = flag.split("=")[0]
    assert f"{name} is given to each worker" in refused("--", flag)


def test_flags_that_training_would_refuse_are_refused_before_anything_starts(tmp_path):
    said = refused(f"--output_dir={tmp_path / 'run'}", "--", "--batch_size=0")
    assert "--batch_size must be at least 1" in said and not (tmp_path / "run").exists()
    assert "sheep" in refused("--", "sheep")


def test_a_run_that_is_there_needs_resume(tmp_path, kept_run):
    assert "already holds a run. Give --resume" in refused(f"--output_dir={kept_run}")


def test_a_storage_with_a_run_needs_resume(tmp_path, kept_run):
    pytest.importorskip("fsspec", reason="of the extra storage")
    given = (f"--output_dir={tmp_path / 'run'}", f"--storage=file://{kept_run}")
    assert f"file://{kept_run} already holds a run. Give --resume" in refused(*given)


@pytest.mark.parametrize(
    "there, batch, parts, used",
    [(7, 256, 1, 4), (3, 8, 1, 2), (4, 8, 2, 4), (3, 8, 4, 2), (2, 7, 2, 2)],
)
def test_as_many_workers_as_the_batch_divides_by(there, batch, parts, used):
    from experiments.lib import cluster

    assert cluster.most_workers(there, batch, parts) == used


def test_a_batch_that_the_workers_cannot_share(tmp_path):
    given = ("--workers=3", f"--output_dir={tmp_path / 'run'}", "--", "--batch_size=16")
    assert "--batch_size=16 must be a multiple of 3: 3 workers" in refused(*given)


def test_two_launches_into_one_folder(tmp_path):
    from experiments.lib import children

    with (tmp_path / "launch.lock").open("a") as file:
        children.lock(file)
        said = refused(f"--output_dir={tmp_path}", "--", "--dataset=shapes:count=20")
    assert f"{tmp_path} is being trained by another launch" in said


def test_what_has_not_begun_is_gone_on_with_by_all_its_flags(tmp_path, monkeypatch):
    """Without a checkpoint nothing else knows what was to be trained."""
    ray = mock.MagicMock()
    ray.get.return_value = []
    for name, stands_in in {
        "experiments.lib.cluster.connected": lambda *_: contextlib.nullcontext(ray),
        "experiments.lib.cluster.new_desk": mock.Mock(),
        "yolov1.extras.needed": lambda *_, **__: (mock.MagicMock(), mock.MagicMock()),
    }.items():
        monkeypatch.setattr(name, stands_in)
    words = ("--", "--dataset=shapes:count=20", "--batch_size=8")
    done = programs.call("experiments.launch", f"--output_dir={tmp_path}", "--debug", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    command = f"--output_dir={tmp_path} --resume --debug {' '.join(words)}\n"
    assert f"Go on with: python -m experiments.launch {command}" in done.stdout


# ------------------------------------------------------------------ slow: with Ray


def launch(path, *flags, workers=2):
    pytest.importorskip("ray", reason="of the extra ray")
    words = [f"--{name}={value}" for name, value in FLAGS.items()]
    own = [f"--workers={workers}", f"--output_dir={path}", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.launch", *own, "--", *words],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(process, path, step):
    while RunDirectory(path).steps < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def end(process, code=0) -> str:
    output = process.communicate(timeout=600)[0]
    assert process.returncode == code, output
    return output


def trainings(path) -> list[int]:
    """The processes that train into a folder, worker 0's first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{entry}/environ", "rb") as file:
                    index = re.search(rb'"index": (\d+)', file.read())
            except OSError:
                continue
            if b"experiments.train" in words and f"--output_dir={path}".encode() in words:
                found.append((int(index[1]), int(entry)))
    return [pid for _, pid in sorted(found)]


def assert_same_end(path, other):
    a, b = final_state(path), final_state(other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("launch") / "run"
    output = end(launch(path))
    assert "epoch 16/16" in output and f"results:  {path / 'summary.json'}" in output
    return path


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_leaves_the_bits_as_they_are(undisturbed, tmp_path, victim):
    path = tmp_path / "run"
    process = launch(path)
    wait_for_step(process, path, 10)
    os.kill(trainings(path)[victim], signal.SIGKILL)
    output = end(process)
    assert "ended with signal 9" in output
    assert_same_end(undisturbed, path)
    assert rows(path) == rows(undisturbed)


@pytest.mark.slow
def test_the_driver_is_killed(undisturbed, tmp_path):
    """Its workers end with it; the same command goes on."""
    path = tmp_path / "run"
    process = launch(path)
    wait_for_step(process, path, 10)
    process.kill()
    process.communicate()
    end(launch(path, "--resume"))
    assert_same_end(undisturbed, path)
    assert rows(path) == rows(undisturbed)


CLUSTER = """
import sys, time
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
other.all_processes["raylet"][0].process.kill()  # and with it what it has started
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_machine_is_lost_and_fewer_go_on(undisturbed, tmp_path):
    pytest.importorskip("ray", reason="of the extra ray")
    path = tmp_path / "run"
    quiet = {"stderr": subprocess.DEVNULL, "env": os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}}
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **quiet},
    )
    try:
        address = cluster.stdout.readline().strip()
        process = launch(path, "--min_workers=1", f"--address={address}")
        wait_for_step(process, path, 10)
        assert len(trainings(path)) == 2
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        output = end(process)
        assert "worker 1 of 2" in output and "worker 0 of 1" in output
        # But for the order of sums.
        losses = [[float(row["loss"]) for row in rows(p)] for p in (path, undisturbed)]
        np.testing.assert_allclose(*losses, rtol=1e-3)
    finally:
        cluster.communicate("\n\n", timeout=120)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(undisturbed, tmp_path):
    path = tmp_path / "run"
    process = launch(path)
    wait_for_step(process, path, 10)
    process.send_signal(signal.SIGTERM)
    output = end(process, 143)
    assert "Terminated: the workers save." in output and "--resume" in output
    assert 10 <= RunDirectory(path).steps < 40
    end(launch(path, "--resume"))
    assert_same_end(undisturbed, path)
