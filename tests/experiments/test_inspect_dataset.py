import json

import numpy as np
from PIL import Image

from tests.data.folders import write_voc


def test_debug(call_experiment, tmp_path):
    result = call_experiment(
        "inspect_dataset", "--debug", f"--output_dir={tmp_path}", "--pictures=3"
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images"] == 64 and set(summary["collisions"]) == {"7", "9", "11", "14"}
    assert "circle" in result.stdout and "find their cell taken" in result.stdout
    assert len(summary["pictures"]) == 3
    for name in summary["pictures"]:
        picture = np.asarray(Image.open(tmp_path / "pictures" / name))
        assert picture.shape == (360, 360, 3)


def test_what_cannot_be_used_is_listed(call_experiment, tmp_path):
    cat = [("cat", (6, 4, 30, 24), False)]
    root = write_voc(
        tmp_path / "voc", {"a": cat, "b": "<annotation>", "c": [*cat, ("cat", (7, 5, 29, 23), 0)]}
    )
    arguments = [f"--dataset=voc:{root}", f"--output_dir={tmp_path / 'out'}", "--sides=5"]
    result = call_experiment("inspect_dataset", *arguments, "--pictures=0")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["images"] == 2 and summary["collisions"] == {"5": {"lost": 1, "share": 1 / 3}}
    assert "b.xml: not a readable XML file" in result.stdout
    failed = call_experiment("inspect_dataset", *arguments, "--bad_examples=fail")
    assert failed.returncode != 0 and "b.xml" in failed.stderr
