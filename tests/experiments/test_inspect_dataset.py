import json
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.data.folders import write_voc
from tests.shared import ROOT


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.inspect_dataset", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_debug(tmp_path):
    result = run("--debug", f"--output_dir={tmp_path}", "--pictures=3")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images"] == 64 and set(summary["collisions"]) == {"7", "9", "11", "14"}
    assert "circle" in result.stdout and "find their cell taken" in result.stdout
    assert len(summary["pictures"]) == 3
    for name in summary["pictures"]:
        picture = np.asarray(Image.open(tmp_path / "pictures" / name))
        assert picture.shape == (360, 360, 3)


def test_what_cannot_be_used_is_listed(tmp_path):
    cat = [("cat", (6, 4, 30, 24), False)]
    root = write_voc(tmp_path / "voc", {"a": cat, "b": "<annotation>", "c": [*cat, *cat]})
    arguments = [f"--dataset=voc:{root}", f"--output_dir={tmp_path / 'out'}", "--sides=5"]
    result = run(*arguments, "--pictures=0")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"] == 2 and summary["collisions"] == {"5": {"lost": 1, "share": 1 / 3}}
    assert "b.xml: not a readable XML file" in result.stdout
    failed = run(*arguments, "--bad_examples=fail")
    assert failed.returncode != 0 and "b.xml" in failed.stderr
