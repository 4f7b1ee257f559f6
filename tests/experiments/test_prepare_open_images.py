import functools
import importlib.util
import json
import shutil
import sys
import types

import numpy as np
import pytest

from tests.data.formats.test_fiftyone import entry, write_export
from yolov1 import data
from yolov1.data.acquire import fiftyone_zoo


def test_debug_makes_a_data_set_to_train_on(call_experiment, tmp_path):
    result = call_experiment("prepare_open_images", "--debug", f"--root={tmp_path}")
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


def test_an_export_from_disk(call_experiment, tmp_path):
    """Two splits; null, an unknown label, a missing image and other classes, in one go."""
    labels = {"a": [entry(1), entry(0)], "b": None, "c": [entry(7)], "d": [entry(0)]}
    source = tmp_path / "export"
    write_export(source / "labels" / "train" / "labels.json", labels, ("Car", "Person"),
                          images=source / "images" / "train")  # fmt: skip
    (source / "images" / "train" / "d.jpg").unlink()
    write_export(source / "test" / "labels.json", {"e": [entry("Person")], "f": []}, None)
    root = tmp_path / "out"
    arguments = ("prepare_open_images", f"--root={root}", f"--from_export={source}")
    result = call_experiment(*arguments)
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
    failed = call_experiment(*arguments, "--bad_examples=fail")
    assert failed.returncode != 0 and "2 of 4 images cannot be used" in failed.stderr
    failed = call_experiment(*arguments, "--classes=Dog")
    assert "classes must be among Car, Person; got Dog" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_export_without_splits(call_experiment, tmp_path):
    """What one export of FiftyOne is: labels.json and data/."""
    source = tmp_path / "export"
    write_export(source / "labels.json", {"a": [entry("Person")], "b": None}, None)
    arguments = ("prepare_open_images", f"--root={tmp_path / 'out'}", f"--from_export={source}")
    done = call_experiment(*arguments, "--splits=train")
    assert done.returncode == 0, done.stderr
    assert len(data.open(f"yolo:{tmp_path / 'out'}", "train")) == 2
    done = call_experiment(*arguments)
    assert "is one export without splits: say with --splits=NAME" in done.stdout + done.stderr
    done = call_experiment(*arguments, "--splits=")
    assert done.returncode != 0 and "--splits is empty" in done.stdout + done.stderr


@pytest.mark.parametrize("reason", ["does not list it", "unknown label"])
def test_an_export_in_its_own_folder(call_experiment, tmp_path, reason):
    """The post's layout: images without a text file would make the folder unreadable."""
    root = tmp_path / "post"
    for split in ("train", "test"):
        write_export(root / "labels" / split / "labels.json", {"a": [entry(0)], "b": None},
                     ("Person",), images=root / "images" / split)  # fmt: skip
    bad = root / "labels" / "test" / "labels.json"
    labels = {"a": [entry(0)]} | ({"b": [entry(7)]} if reason == "unknown label" else {})
    bad.write_text(json.dumps({"classes": ["Person"], "labels": labels}))
    before = sorted(root.rglob("*"))
    arguments = ("prepare_open_images", f"--from_export={root}")
    done = call_experiment(*arguments, f"--root={root}")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert (
        f"{root / 'images' / 'test'} has 1 image(s) besides those to write (b.jpg)" in done.stderr
    )
    assert "Take another folder (--root)." in done.stderr
    assert sorted(root.rglob("*")) == before
    done = call_experiment(*arguments, f"--root={tmp_path / 'other'}")
    assert done.returncode == 0 and reason in done.stdout, done.stderr
    assert len(data.open(f"yolo:{tmp_path / 'other'}", "train+test")) == 3
    done = call_experiment(*arguments, f"--root={root}", "--splits=train")  # all of it is usable
    assert done.returncode == 0, done.stderr
    assert len(data.open(f"yolo:{root}", "train")) == 2


class Samples:
    """What FiftyOne's zoo draws; its `export` deletes the folder with `overwrite`."""

    def __init__(self, name, *, seed, max_samples, **options):
        print("asked for seed", seed)
        self.drawn = data.open(f"shapes:count={max_samples}", seed=seed, image_size=64)

    def export(self, export_dir, classes, overwrite=False, **options):
        if overwrite:
            shutil.rmtree(export_dir, ignore_errors=True)
        data.write_fiftyone(self.drawn, export_dir)


@pytest.fixture
def acquire(call_experiment, monkeypatch):
    """The command with a stand-in for FiftyOne."""
    zoo, fiftyone = types.ModuleType("fiftyone.zoo"), types.ModuleType("fiftyone")
    zoo.load_zoo_dataset = Samples
    fiftyone.zoo = zoo
    fiftyone.types = types.SimpleNamespace(FiftyOneImageDetectionDataset=None)
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    monkeypatch.setitem(sys.modules, "fiftyone.zoo", zoo)
    monkeypatch.setattr(fiftyone_zoo, "start_fiftyone", lambda: fiftyone)
    return functools.partial(call_experiment, "prepare_open_images", "--classes=", "--samples=4")


def test_a_second_call_takes_what_is_there(acquire, tmp_path):
    done = acquire(f"--root={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "asked for seed 1\nasked for seed 2\n" in done.stdout
    names = {"train", "test", "images", "labels", "classes.txt", "summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    (tmp_path / "train" / "mine.txt").write_text("kept")
    shutil.rmtree(tmp_path / "test")
    done = acquire(f"--root={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"train: {tmp_path / 'train'} is an export already and is taken as it is" in done.stdout
    assert "asked for seed 1" not in done.stdout and "asked for seed 2" in done.stdout
    assert (tmp_path / "train" / "mine.txt").read_text() == "kept"
    assert len(data.open(f"yolo:{tmp_path}", "train+test")) == 8


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_folder_of_the_users_is_left_alone(acquire, tmp_path, debug):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.txt").write_text("kept")
    done = acquire(f"--root={tmp_path}", *debug)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    said = done.stdout + done.stderr
    assert f"{tmp_path / 'test'} exists and is no export (no labels.json)" in said
    assert "Take another --root" in said and "asked for" not in said
    assert [path.name for path in tmp_path.rglob("*")] == ["test", "mine.txt"]


def test_a_label_file_of_the_users_is_left_alone(acquire, tmp_path):
    write_export(tmp_path / "train" / "labels.json", {"a": [entry("x")]}, None)
    before = (tmp_path / "train" / "labels.json").read_bytes()
    for debug in ((), ("--debug",)):
        done = acquire(f"--root={tmp_path}", "--splits=train", *debug)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "train" / "labels.json").read_bytes() == before
        assert [e.image_id for e in data.open(f"yolo:{tmp_path}", "train")] == ["a"]


def test_without_fiftyone_it_says_how_to_get_it(call_experiment, tmp_path):
    if importlib.util.find_spec("fiftyone"):
        pytest.skip("FiftyOne is installed")
    result = call_experiment("prepare_open_images", f"--root={tmp_path}")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert "FiftyOne is not installed" in result.stderr
    assert "pip install 'yolov1[fiftyone]'" in result.stderr and "--from_export" in result.stderr


def test_what_is_missing_or_unknown_is_refused(call_experiment):
    result = call_experiment("prepare_open_images")
    assert result.returncode != 0 and "--root is needed" in result.stderr
    result = call_experiment("prepare_open_images", "--root=x", "--splits=train,val")
    assert result.returncode != 0
    assert "--splits must be among train, validation, test, got val" in result.stderr
