"""Which splits a data set has, by its own files."""

import pytest

from tests.data.folders import write_image, write_voc
from tests.shared import shared
from yolov1 import data


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


PLACES = {
    "yolo: folders": (
        "yolo", ["images/train/a.jpg", "images/val/a.jpg", "labels/train/a.txt"], ["train", "val"],
    ),
    "yolo: folders beside known ones": (
        "yolo", ["images/train/a.jpg", "images/night/a.jpg"], ["train", "night"],
    ),
    "yolo: folders that are no splits": ("yolo", ["images/day/a.jpg", "images/night/a.jpg"], []),
    "yolo: folders of splits": (
        "yolo", ["train/images/a.jpg", "test/images/a.jpg"], ["train", "test"],
    ),
    "yolo: lists": ("yolo", ["train.txt", "valid.txt", "a.jpg"], ["train", "valid"]),
    "yolo: one": ("yolo", ["images/a.jpg", "labels/a.txt"], []),
    "coco: years": (
        "coco",
        ["annotations/instances_val2017.json", "annotations/instances_train2017.json"],
        ["train", "val"],
    ),
    "coco: two years": (
        "coco",
        ["annotations/instances_train2014.json", "annotations/instances_train2017.json"],
        ["train2014", "train2017"],
    ),
    "coco: Roboflow": (
        "coco",
        ["train/_annotations.coco.json", "valid/_annotations.coco.json"],
        ["train", "valid"],
    ),
    "coco: one": ("coco", ["annotations.json"], []),
    "fiftyone: folders": ("fiftyone", ["train/labels.json", "mine/labels.json"], ["train", "mine"]),
    "fiftyone: the post's": (
        "fiftyone", ["labels/train/labels.json", "labels/val.json"], ["train", "val"],
    ),
    "fiftyone: one": ("fiftyone", ["labels.json", "train/labels.json"], []),
    "records: shards": (
        "records",
        ["train-00000-of-00002", "train-00001-of-00002", "voc_val.tfrecord"],
        ["train", "val"],
    ),
    "records: one": ("records", ["birds.tfrecord"], []),
    "voc_txt": ("voc_txt", ["2007_train.txt", "2012_val.txt"], ["2007_train", "2012_val"]),
    "folders": ("folders", ["train/cat/a.jpg", "test/cat/b.jpg"], ["train", "test"]),
    "folders: one": ("folders", ["cat/a.jpg", "dog/b.jpg"], []),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_by_files_and_folders(tmp_path, place):
    kind, files, expected = PLACES[place]
    touch(tmp_path, *files)
    assert data.splits(f"{kind}:{tmp_path}") == expected


def test_of_a_yaml(tmp_path):
    write_image(tmp_path / "a" / "x.png")
    (tmp_path / "data.yaml").write_text("val: a\ntrain: a\nnames: [cat]\n")
    assert data.splits(f"yolo:{tmp_path}") == ["train", "val"]
    assert data.splits(f"yolo:{tmp_path / 'data.yaml'}") == ["train", "val"]


def test_of_voc_without_unions_and_lists_of_one_class(tmp_path):
    root = write_voc(tmp_path, {"a": []})
    touch(root / "ImageSets" / "Main", "trainval.txt", "cat_train.txt", "dog_trainval.txt")
    assert data.splits(f"voc:{root}") == ["train", "trainval"]  # of which nothing says what it has
    touch(root / "ImageSets" / "Main", "val.txt", "test.txt")
    assert data.splits(f"voc:{root}") == ["train", "val", "test"]


def test_every_split_opens():
    spec = f"voc:{shared('data', 'bccd')}"
    assert data.splits(spec) == ["train", "val", "test"]
    assert sum(len(data.open(spec, split, verify=False)) for split in data.splits(spec)) == 364


def test_what_has_none():
    assert data.splits("shapes:count=3") == []
    for kind in ("voc", "yolo", "coco", "fiftyone", "records", "voc_txt"):
        with pytest.raises(FileNotFoundError):
            data.splits(f"{kind}:/no/such/place")
