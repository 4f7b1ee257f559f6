"""What TensorFlow's libraries write themselves: held back, and never lost."""

import subprocess
import sys

import pytest

from tests.shared import ROOT

HELD = """
import os, sys
from experiments.lib import console
console.hold()
os.write(2, b"of a library\\n")
print("of ours", file=sys.stderr)
"""


def ended(code, tmp_path):
    """The standard error of a program that holds it, however the program ends."""
    done = subprocess.run(
        [sys.executable, "-c", HELD + code],
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not list(tmp_path.iterdir())  # nothing is left behind
    return done.stderr.splitlines()


def test_quiet_where_all_is_well(tmp_path):
    assert ended("console.release()", tmp_path) == ["of ours"]
    code = "console.release(); os.write(2, b'later')"  # with the console given back
    assert ended(code, tmp_path) == ["of ours", "later"]


def test_shown_when_asked_for(tmp_path):
    code = "console.release(show=True); console.release(show=True); print('end', file=sys.stderr)"
    assert ended(code, tmp_path) == ["of ours", "of a library", "end"]


@pytest.mark.parametrize("end", ["os.abort()", "os.kill(os.getpid(), 9)", "os._exit(0)", "1 / 0"])
def test_shown_after_an_end_without_a_word(tmp_path, end):
    lines = ended(end, tmp_path)
    assert lines[0] == "of ours" and lines[-1] == "of a library"


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.inspect_dataset", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_an_experiment(tmp_path):
    """With the real lines of TensorFlow: on a CPU it says so, on a GPU it names it."""
    debug = ("--debug", f"--output_dir={tmp_path}", "--pictures=0")
    quiet = program(*debug)
    assert quiet.returncode == 0 and quiet.stderr == ""
    assert quiet.stdout.startswith("shapes (train): 64 images")
    loud = program(*debug, "--verbosity=1")
    assert loud.returncode == 0 and ".cc:" in loud.stderr
    assert loud.stdout == quiet.stdout
    failed = program("--dataset=voc:nowhere")
    assert failed.returncode == 1 and ".cc:" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: voc:nowhere")
