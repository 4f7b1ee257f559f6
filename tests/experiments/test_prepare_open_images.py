import importlib.util
import json

import numpy as np
import pytest

from tests.data.test_fiftyone_json import entry, write_export
from yolov1 import data


def test_debug_makes_a_data_set_to_train_on(run_experiment, tmp_path):
    result = run_experiment("prepare_open_images", "--debug", f"--root={tmp_path}")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    for split in ("train", "test"):
        export = data.open(f"fiftyone:{tmp_path}", split)
        text = data.open(f"yolo:{tmp_path}", split)
        assert len(text) == len(export) == summary["splits"][split]["images"] == 16
        for a, b in zip(text, export, strict=True):
            np.testing.assert_allclose(a.boxes_cxcywh, b.boxes_cxcywh, atol=1e-6)
            assert a.labels.tolist() == b.labels.tolist()
    assert f"--dataset=yolo:{tmp_path}" in result.stdout


def test_an_export_from_disk(run_experiment, tmp_path):
    """Two splits; null, an unknown label, a missing image and other classes, in one go."""
    labels = {"a": [entry(1), entry(0)], "b": None, "c": [entry(7)], "d": [entry(0)]}
    source = tmp_path / "export"
    write_export(source / "labels" / "train" / "labels.json", labels, ("Car", "Person"),
                          images=source / "images" / "train")  # fmt: skip
    (source / "images" / "train" / "d.jpg").unlink()
    write_export(source / "test" / "labels.json", {"e": [entry("Person")], "f": []}, None)
    root = tmp_path / "out"
    arguments = ("prepare_open_images", f"--root={root}", f"--from_export={source}")
    result = run_experiment(*arguments)
    assert result.returncode == 0, result.stderr
    splits = json.loads((root / "summary.json").read_text())["splits"]
    train, test = splits["train"], splits["test"]
    assert (train["images"], train["images_without_objects"], train["objects"]) == (2, 1, 1)
    assert (test["images"], test["images_without_objects"], test["objects"]) == (2, 1, 1)
    assert train["objects_per_class"] == {"Person": 1}
    assert [reason for _, reason in train["skipped"]] == [
        "object 1 has the unknown label 7; expected an index below 2 or one of Car, Person",
        f"the image d is missing; looked in {source / 'images' / 'train'}",
    ]
    assert "unknown label 7" in result.stdout
    assert (root / "classes.txt").read_text() == "Person\n"
    written = {p.name: p.read_text() for p in (root / "labels" / "train").iterdir()}
    assert set(written) == {"a.txt", "b.txt"} and written["b.txt"] == ""
    line = written["a.txt"].split()
    assert line[0] == "0" and np.allclose(list(map(float, line[1:])), [0.3, 0.45, 0.4, 0.5])
    assert len(data.open(f"yolo:{root}", "train+test")) == 4
    failed = run_experiment(*arguments, "--bad_examples=fail")
    assert failed.returncode != 0 and "2 of 4 images cannot be used" in failed.stderr
    failed = run_experiment(*arguments, "--classes=Dog")
    assert "classes must be among Car, Person; got Dog" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_export_without_splits(run_experiment, tmp_path):
    """What one export of FiftyOne is: labels.json and data/."""
    source = tmp_path / "export"
    write_export(source / "labels.json", {"a": [entry("Person")], "b": None}, None)
    arguments = ("prepare_open_images", f"--root={tmp_path / 'out'}", f"--from_export={source}")
    done = run_experiment(*arguments, "--splits=train")
    assert done.returncode == 0, done.stderr
    assert len(data.open(f"yolo:{tmp_path / 'out'}", "train")) == 2
    done = run_experiment(*arguments)
    assert "is one export without splits: say with --splits=NAME" in done.stdout + done.stderr
    done = run_experiment(*arguments, "--splits=")
    assert done.returncode != 0 and "--splits is empty" in done.stdout + done.stderr


def test_without_fiftyone_it_says_how_to_get_it(run_experiment, tmp_path):
    if importlib.util.find_spec("fiftyone"):
        pytest.skip("FiftyOne is installed")
    result = run_experiment("prepare_open_images", f"--root={tmp_path}")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert "FiftyOne is not installed" in result.stderr
    assert "pip install 'yolov1[fiftyone]'" in result.stderr and "--from_export" in result.stderr


def test_what_is_missing_or_unknown_is_refused(run_experiment):
    result = run_experiment("prepare_open_images")
    assert result.returncode != 0 and "--root is needed" in result.stderr
    result = run_experiment("prepare_open_images", "--root=x", "--splits=train,val")
    assert result.returncode != 0
    assert "--splits must be among train, validation, test, got val" in result.stderr
