import json

import pytest

from tests.data.folders import write_voc
from yolov1 import data

CAT, DOG = ("cat", (6, 4, 30, 24), False), ("dog", (0, 0, 60, 40), True)


@pytest.fixture
def voc(tmp_path):
    root = write_voc(tmp_path / "voc", {"a": [CAT, DOG], "b": []}, split="train")
    write_voc(root, {"c": [CAT]}, split="val")
    return root


def convert(call_experiment, *arguments):
    done = call_experiment("convert", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "records", "fiftyone"])
def test_all_splits_are_kept(voc, tmp_path, call_experiment, kind):
    out = tmp_path / "out"
    said = convert(call_experiment, f"--dataset=voc:{voc}", f"--to={kind}", f"--output_dir={out}")
    assert "3 images, 3 boxes; " in said and str(out) in said
    linked = {"records": 0, "voc": 3}.get(kind, 3)
    assert f"{linked} files linked" in said
    assert data.splits(f"{kind}:{out}") == ["train", "val"]
    for split, ids in (("train", {"a", "b"}), ("val", {"c"})):
        written = data.open(f"{kind}:{out}", split)
        assert {example.image_id for example in written} == ids
        assert written.classes == ("cat", "dog")
    marked = "1 boxes are marked difficult" in said
    assert marked == (kind == "yolo")


def test_flags(voc, tmp_path, call_experiment):
    dataset = f"--dataset=voc:{voc}"
    out = tmp_path / "one"
    said = convert(
        *(call_experiment, dataset, "--to=yolo", f"--output_dir={out}"),
        *("--split=train+val", "--difficult", "--copy"),
    )
    assert "0 files linked" in said and "written as any other" in said
    assert len(data.open(f"yolo:{out}", "trainval")) == 3
    out = tmp_path / "two"
    convert(call_experiment, dataset, "--to=coco", f"--output_dir={out}", "--split=val")
    assert data.splits(f"coco:{out}") == ["val"]
    done = call_experiment("convert", dataset, "--to=coco", f"--output_dir={out}")
    assert done.returncode and "two is not empty" in done.stdout + done.stderr
    done = call_experiment("convert", dataset, "--to=coco", "--split=val,val", "--output_dir=x")
    assert done.returncode and "names a split twice" in done.stdout + done.stderr
    done = call_experiment("convert", dataset, "--to=csv", "--image_url=x", "--output_dir=x")
    assert done.returncode == 1 and "--image_url is of label_studio, got csv" in done.stderr
    done = call_experiment("convert", dataset, "--to=coco", "--split=other", "--output_dir=x")
    assert done.returncode and "no split 'other'" in done.stdout + done.stderr


def test_images_of_no_split_are_said(voc, tmp_path, call_experiment):
    write_voc(voc, {"stray": [CAT]}, split="other")
    (voc / "ImageSets" / "Main" / "other.txt").unlink()
    out = tmp_path / "out"
    said = convert(call_experiment, f"--dataset=voc:{voc}", "--to=voc", f"--output_dir={out}")
    assert "1 in none of the splits" in said and "stray.jpg: not written" in said
    assert "3 images" in said


def test_a_test_split_that_is_not_there(tmp_path, call_experiment):
    """Data sets are handed on without the test images that their YAML names."""
    data.write(f"yolo:{tmp_path / 'in'}", data.open("shapes:count=2", image_size=32))
    with open(tmp_path / "in" / "data.yaml", "a") as file:
        file.write("test: images/test\n")
    arguments = (f"--dataset=yolo:{tmp_path / 'in'}", "--to=coco")
    said = convert(call_experiment, *arguments, f"--output_dir={tmp_path / 'out'}")
    assert "the split test is left out" in said and "2 images" in said


def test_the_debug_size(tmp_path, call_experiment):
    said = convert(call_experiment, "--debug", "--to=label_studio", f"--output_dir={tmp_path}")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert len(tasks) == 8 and "8 images" in said
    # Other programs take the folder as a whole: there is nothing of ours in it.
    assert [path.name for path in tmp_path.glob("*.json")] == ["tasks.json"]
