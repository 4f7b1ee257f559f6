"""The command ``yolov1``; of the wheel it is in tests/build/test_setup.py."""

import subprocess
import sys

import pytest

from tests.shared import ROOT


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "yolov1", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_alone_it_lists_the_programs_with_what_they_do():
    done = command()
    assert done.returncode == 0 and done.stderr == ""
    names = {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")} | {"doctor"}
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:2] == "  "]
    assert [name for name, _ in listed] == sorted(names)
    for name, words in listed:
        folder = "yolov1" if name == "doctor" else "experiments"
        assert (ROOT / folder / f"{name}.py").read_text().startswith(f'"""{words}\n')
    assert command("--help").stdout == done.stdout


def test_an_unknown_name_is_a_sentence_with_what_may_be_meant():
    done = command("trian", "--epochs=3")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "yolov1: no program 'trian'. Did you mean train" in done.stderr
    done = command("xyz")
    assert done.returncode == 2
    assert done.stderr == "yolov1: no program 'xyz'. `yolov1` lists them.\n"


@pytest.mark.slow
def test_a_program_runs_as_its_module_does(tmp_path):
    done = command("inspect_dataset", "--debug", "--pictures=0", f"--output_dir={tmp_path}")
    assert done.returncode == 0 and done.stderr == ""  # TensorFlow's own lines are held back
    assert done.stdout.startswith("shapes (train): 64 images")


def test_the_experiments_know_each_other_by_their_place_alone():
    """They are ``experiments`` in a checkout, ``yolov1.experiments`` where they are installed."""
    for path in (ROOT / "experiments").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.lstrip().startswith(("from experiments", "import experiments")), path
