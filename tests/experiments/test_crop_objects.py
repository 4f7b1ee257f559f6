import json

import numpy as np
import pytest
from PIL import Image

from experiments.lib import crops
from tests.data.folders import write_voc
from yolov1 import data


def test_a_crop_is_the_box_and_its_margin():
    image = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)

    def cut(x0, y0, x1, y1, margin):
        box = [(x0 + x1) / 120, (y0 + y1) / 80, (x1 - x0) / 60, (y1 - y0) / 40]
        return np.asarray(crops.crop(image, np.array(box, np.float32), margin))

    np.testing.assert_array_equal(cut(7, 5, 41, 31, 0), image[5:31, 7:41])
    np.testing.assert_array_equal(cut(10, 10, 30, 20, 0.1), image[9:21, 8:32])
    np.testing.assert_array_equal(cut(10.4, 10.4, 30.2, 20.8, 0), image[10:21, 10:31])
    np.testing.assert_array_equal(cut(0, 0, 60, 40, 0.5), image)
    np.testing.assert_array_equal(cut(50, 0, 60, 40, 1), image[:, 40:])
    np.testing.assert_array_equal(cut(59.9, 39.9, 60, 40, 0), image[39:, 59:])


def test_debug(call_experiment, tmp_path):
    result = call_experiment("crop_objects", "--debug", f"--output_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    counts = json.loads((tmp_path / "summary.json").read_text())["splits"][""]["classes"]
    dataset = data.open(f"folders:{tmp_path}")
    labels = np.concatenate([e.labels for e in dataset])
    for k, name in enumerate(dataset.classes):
        assert (labels == k).sum() == counts[name]["written"] > 0
    drawn = data.open("shapes:count=32", image_size=192)
    assert sum(sum(row.values()) for row in counts.values()) == sum(len(e.labels) for e in drawn)
    assert 0 < sum(row["small"] for row in counts.values()) < len(labels)
    assert "circle" in result.stdout and "written" in result.stdout


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    train = {
        "a": [("dog", (10, 8, 50, 40), False), ("cat", (0, 0, 60, 40), True)],
        "b": [("cat", (0, 0, 31, 40), False), ("dog", (20, 0, 52, 40), False)],
        "c": [],
    }
    write_voc(root, train)
    return write_voc(root, {"d": [("cat", (5, 4, 45, 39), False)]}, split="val")


def test_what_is_cut_and_where_it_goes(call_experiment, voc, tmp_path):
    arguments = [f"--dataset=voc:{voc}", f"--output_dir={tmp_path}"]
    result = call_experiment("crop_objects", *arguments, "--split=train+val", "--image_side=40")
    assert result.returncode == 0, result.stderr
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")}
    assert there == {"train/dog/a-0.jpg", "train/dog/b-1.jpg", "val/cat/d-0.jpg"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    train = summary["splits"]["train"]
    assert train["classes"] == {
        "cat": {"written": 0, "difficult": 1, "small": 1},
        "dog": {"written": 2, "difficult": 0, "small": 0},
    }
    assert train["folders"] == {"cat": "cat", "dog": "dog"}
    assert train["margin"] == 0.1 and train["min_side"] == 32 and "val" in summary["splits"]
    # 40 x 32 with a tenth around it, in whole pixels and cut off below: 48 x 36; then 40 at most.
    assert Image.open(tmp_path / "train/dog/a-0.jpg").size == (40, 30)
    train, val = (
        data.open(f"folders:{tmp_path}", split, bad_examples="skip") for split in ("train", "val")
    )
    assert train.classes == val.classes == ("cat", "dog")
    assert [e.labels.tolist() for e in train] == [[1], [1]]
    again = call_experiment("crop_objects", *arguments, "--split=val")
    assert again.returncode != 0 and "val is not empty; remove it" in again.stderr


def test_pixels_are_those_of_the_object(call_experiment, voc, tmp_path):
    arguments = [f"--dataset=voc:{voc}", f"--output_dir={tmp_path}", "--margin=0", "--min_side=1"]
    for split in ("train", "val"):
        result = call_experiment("crop_objects", *arguments, f"--split={split}", "--classes=dog")
        assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.rglob("*.jpg"))) == 2
    splits = json.loads((tmp_path / "summary.json").read_text())["splits"]
    assert [splits[s]["classes"]["dog"]["written"] for s in ("train", "val")] == [2, 0]
    image = np.asarray(Image.open(voc / "JPEGImages" / "a.jpg"), int)
    cut = np.asarray(Image.open(tmp_path / "train/dog/a-0.jpg"), int)
    assert cut.shape == (32, 40, 3) and np.abs(cut - image[8:40, 10:50]).mean() < 3


def test_two_images_of_one_name(tmp_path):
    examples = [
        data.Example(
            name, [[0.5, 0.5, 1, 1]], [0], [False], (40, 40),
            draw=lambda k=k: np.full((40, 40, 3), 50 * k, np.uint8),
        )
        for k, name in enumerate(("a/b", "a_b", "a b"))
    ]  # fmt: skip
    dataset = data.Dataset(examples, ["and/or"])
    counts = crops.crop_all(dataset, tmp_path)
    assert counts == {"and/or": {"written": 3, "difficult": 0, "small": 0}}
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("and_or-")
    grey = {f.name: int(np.asarray(Image.open(f)).mean()) for f in folder.iterdir()}
    (first,) = grey.keys() - {"a b-0.jpg", "a_b-0.jpg"}
    assert grey == {first: 0, "a_b-0.jpg": 50, "a b-0.jpg": 100} and first.startswith("a_b-")


def test_classes_whose_names_no_folder_can_have_stay_apart(tmp_path):
    classes = ["a/b", "a:b", "a_b", "Cat", "cat", ".x", "猫" * 60]
    examples = [
        data.Example(
            "x" * 250 + str(k), [[0.5, 0.5, 1, 1]], [k], [False], (40, 40),
            draw=lambda k=k: np.full((40, 40, 3), 20 * k, np.uint8),
        )
        for k in range(len(classes))
    ]  # fmt: skip
    crops.crop_all(data.Dataset(examples, classes), tmp_path)
    folders = crops.class_folders(classes)
    assert len({name.casefold() for name in folders.values()}) == len(classes)
    assert folders["a_b"] == "a_b"
    for k, name in enumerate(classes):
        (file,) = (tmp_path / folders[name]).iterdir()
        assert int(np.asarray(Image.open(file)).mean()) == 20 * k
    assert set(data.open(f"folders:{tmp_path}").classes) == set(folders.values())
