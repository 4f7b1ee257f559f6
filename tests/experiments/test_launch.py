"""`experiments.launch`: what it refuses; and, slowly, what it survives (extra ``ray``)."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests import programs
from tests.shared import ROOT
from tests.training.small_runs import TINY, assert_same_bits, final_state, rows
from yolov1.training import RunDirectory

# A second or two of steps for each worker.
FLAGS = TINY | {
    "model_options": "width=0.34,synchronized=true,dropout=0.3",
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


def test_two_launches_into_one_folder(tmp_path):
    from experiments.lib import children

    with (tmp_path / "launch.lock").open("a") as file:
        children.lock(file)
        said = refused(f"--output_dir={tmp_path}", "--", "--dataset=shapes:count=20")
    assert f"{tmp_path} is being trained by another launch" in said


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
    assert_same_bits(final_state(undisturbed), final_state(path))
    assert rows(path) == rows(undisturbed)


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
    assert_same_bits(final_state(undisturbed), final_state(path))
