import json
import os
import re

import numpy as np
import pytest

from tests.data.folders import write_voc
from tests.shared import shared
from yolov1 import data

CAT, DOG = ("cat", (6, 4, 30, 24), False), ("dog", (0, 0, 60, 40), True)


@pytest.fixture
def voc(tmp_path):
    root = write_voc(tmp_path / "voc", {"a": [CAT, DOG], "b": [], "c.d": [DOG]})
    return data.open(f"voc:{root}", "train")


def assert_same(written, dataset, *, difficult=True):
    """Equal images, boxes and labels; without the difficult ones where they were not written."""
    assert written.classes == dataset.classes and len(written) == len(dataset)
    expected = {e.image_id: e for e in dataset}
    for example in written:
        other = expected[example.image_id]
        kept = np.full(len(other.labels), True) if difficult else ~other.difficult
        np.testing.assert_allclose(example.boxes_cxcywh, other.boxes_cxcywh[kept], atol=1e-6)
        assert example.labels.tolist() == other.labels[kept].tolist()
        assert example.difficult.tolist() == (other.difficult[kept] & difficult).tolist()
        np.testing.assert_array_equal(example.image, other.image)


def test_a_fiftyone_export_reads_back(voc, tmp_path):
    data.write_fiftyone(voc, tmp_path / "out")
    assert_same(data.open(f"fiftyone:{tmp_path / 'out'}"), voc)
    content = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert content["classes"] == ["cat", "dog"] and content["labels"]["b"] == []
    first, second = content["labels"]["a"]
    assert first["label"] == 0 and second["attributes"] == {"difficult": True}
    np.testing.assert_allclose(first["bounding_box"], [0.1, 0.1, 0.4, 0.5], atol=1e-6)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_yolo_labels_read_back_for_every_split(voc, tmp_path):
    data.write_yolo(voc[:2], tmp_path / "out", "train")
    data.write_yolo(voc[2:], tmp_path / "out", "test", difficult=True)
    assert_same(data.open(f"yolo:{tmp_path / 'out'}", "train"), voc[:2], difficult=False)
    assert data.open(f"yolo:{tmp_path / 'out'}", "test")[0].labels.tolist() == [1]
    assert len(data.open(f"yolo:{tmp_path / 'out'}", "train+test")) == 3
    lines = (tmp_path / "out" / "labels" / "train" / "a.txt").read_text().split()
    assert lines[0] == "0" and np.allclose(list(map(float, lines[1:])), [0.3, 0.35, 0.4, 0.5])
    assert (tmp_path / "out" / "labels" / "train" / "b.txt").read_text() == ""
    assert (tmp_path / "out" / "classes.txt").read_text() == "cat\ndog\n"


def test_float32_boxes_survive_the_text(tmp_path):
    dataset = data.open("shapes:count=20", image_size=32)
    data.write_yolo(dataset, tmp_path, "train")
    for example, drawn in zip(data.open(f"yolo:{tmp_path}", "train"), dataset, strict=True):
        np.testing.assert_allclose(example.boxes_cxcywh, drawn.boxes_cxcywh, rtol=2e-6)


def test_drawn_images_become_png(tmp_path):
    dataset = data.open("shapes:count=3", image_size=32)
    data.write_fiftyone(dataset, tmp_path)
    assert sorted(p.suffix for p in (tmp_path / "data").iterdir()) == [".png"] * 3
    assert_same(data.open(f"fiftyone:{tmp_path}"), dataset)


def test_images_are_linked_or_copied(voc, tmp_path, monkeypatch):
    data.write_fiftyone(voc, tmp_path / "links")
    data.write_fiftyone(voc, tmp_path / "copies", link=False)

    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    data.write_fiftyone(voc, tmp_path / "refused")
    for folder, linked in (("links", True), ("copies", False), ("refused", False)):
        copy = tmp_path / folder / "data" / "a.jpg"
        assert copy.read_bytes() == voc[0].path.read_bytes()
        assert copy.samefile(voc[0].path) == linked


def test_writing_again_replaces_files_and_leaves_the_originals(voc, tmp_path):
    original = voc[0].path.read_bytes()
    data.write_yolo(voc, tmp_path / "out", "train")
    data.write_yolo(voc, tmp_path / "out", "train")  # the links are there already
    data.write_yolo(voc, tmp_path / "out", "train", link=False)  # they stay
    other = data.open("shapes:count=3", image_size=32)
    for example, name in zip(other, ("a", "b", "c.d"), strict=True):
        example.image_id = name
    data.write_fiftyone(other, tmp_path / "out")
    assert voc[0].path.read_bytes() == original
    written = data.open(f"yolo:{tmp_path / 'out'}", "train")  # and an export may lie beside it
    assert_same(written, voc, difficult=False)
    # A data set can be written to where it was read from.
    data.write_yolo(written, tmp_path / "out", "train")
    assert_same(data.open(f"yolo:{tmp_path / 'out'}", "train"), voc, difficult=False)
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_what_a_killed_writer_left_does_no_harm(voc, tmp_path):
    """A half-made file may be a link to an image of the data set."""
    originals = [e.path.read_bytes() for e in voc]
    (tmp_path / "out" / "data").mkdir(parents=True)
    os.link(voc[1].path, tmp_path / "out" / "data" / "a.jpg.partial")
    for link in (False, True):
        data.write_fiftyone(voc, tmp_path / "out", link=link)
        assert (tmp_path / "out" / "data" / "a.jpg").read_bytes() == originals[0]
        assert [e.path.read_bytes() for e in voc] == originals
        (tmp_path / "out" / "data" / "a.jpg.partial").write_text("half")


def test_what_would_mix_two_data_sets_is_refused(voc, tmp_path):
    data.write_yolo(voc, tmp_path / "out", "train")
    with pytest.raises(FileExistsError, match=r"2 label files of other images \(b\.txt\)"):
        data.write_yolo(voc[:1], tmp_path / "out", "train")
    with pytest.raises(ValueError, match="has other classes than"):
        data.write_yolo(data.open("shapes:count=1"), tmp_path / "out", "test")
    twice = data.Dataset([*voc, voc[0]], voc.classes)
    for write in (data.write_fiftyone, lambda d, f: data.write_yolo(d, f, "train")):
        with pytest.raises(ValueError, match="two images have the id 'a'"):
            write(twice, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_ids_become_names_of_files(voc, tmp_path):
    voc[0].image_id, voc[1].image_id, voc[2].image_id = "../x", "2007/y", "2007_Y"
    data.write_fiftyone(voc, tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out" / "data").iterdir())
    assert [re.sub("-[0-9a-f]{8}", "-HASH", name) for name in names] == [
        "2007_Y.jpg", "2007_y-HASH.jpg", "_._x-HASH.jpg",
    ]  # fmt: skip
    assert len(data.open(f"fiftyone:{tmp_path / 'out'}")) == 3
    voc[0].image_id, voc[1].image_id, voc[2].image_id = "VOC2007/1", "long" * 60, "c"
    data.write_yolo(voc, tmp_path / "yolo", "train")
    ids = {e.image_id for e in data.open(f"yolo:{tmp_path / 'yolo'}", "train")}
    assert {"VOC2007_1", "c"} < ids and len(ids) == 3


def test_odd_image_files_keep_their_bytes(tmp_path):
    """PNGs named .jpg, RGBA, palette, grey: through both forms and back."""
    root = shared("data", "hard_inputs")
    dataset = data.open(f"voc:{root}", bad_examples="skip")
    data.write_fiftyone(dataset, tmp_path / "export")
    assert_same(data.open(f"fiftyone:{tmp_path / 'export'}"), dataset)
    data.write_yolo(dataset, tmp_path / "yolo", "train", difficult=True)
    read = data.open(f"yolo:{tmp_path / 'yolo'}", "train")
    assert {e.image_id: len(e.labels) for e in read} == {e.image_id: len(e.labels) for e in dataset}
