import os
import re
import tarfile

import numpy as np
import pytest

from tests.data.folders import voc_xml, write_image, write_voc
from tests.shared import shared
from yolov1 import data
from yolov1.data.formats.voc import VOC_CLASSES
from yolov1.data.formats.voc_txt import parse_line, write_voc_txt

CAT, DOG = ("cat", (6, 4, 30, 24), False), ("dog", (1, 1, 60, 40), False)
HARD = ("person", (2, 2, 9, 9), True)


def devkit(folder, annotations, split="train", year=2007):
    write_voc(folder / f"VOC{year}", annotations, classes=None, split=split)
    return folder


# ------------------------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def voc2007(tmp_path_factory):
    """A devkit with the 9963 annotation files of VOC 2007 and no image."""
    folder = tmp_path_factory.mktemp("devkit")
    with tarfile.open(shared("oracle", "voc2007") / "VOC2007_Annotations_9963.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def line_by_regular_expressions(image_id, xml):
    words = [f"VOCdevkit/VOC2007/JPEGImages/{image_id}.jpg"]
    for node in re.findall(r"<object>.*?</object>", xml, flags=re.DOTALL):
        node = re.sub(r"<part>.*?</part>", "", node, flags=re.DOTALL)
        if "<difficult>1</difficult>" in node:
            continue
        corners = [
            re.search(rf"<{t}>(\d+)</{t}>", node)[1] for t in ("xmin", "ymin", "xmax", "ymax")
        ]
        name = re.search(r"<name>(\w+)</name>", node)[1]
        words.append(",".join([*corners, str(sorted(VOC_CLASSES).index(name))]))
    return " ".join(words) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("split, images", [("train", 2501), ("val", 2510), ("test", 4952)])
def test_all_of_voc_2007(voc2007, tmp_path, split, images):
    path = write_voc_txt(voc2007, 2007, split, tmp_path / "out.txt")
    written = path.read_bytes().decode()
    ids = (voc2007 / f"VOC2007/ImageSets/Main/{split}.txt").read_text().split()
    folder = voc2007 / "VOC2007" / "Annotations"
    expected = [line_by_regular_expressions(i, (folder / f"{i}.xml").read_text()) for i in ids]
    assert written == "".join(expected) and written.count("\n") == images == len(ids)


def test_the_first_line_as_published(voc2007):
    path = write_voc_txt(voc2007, 2007, "val")
    assert path == voc2007 / "2007_val.txt"
    line = "VOCdevkit/VOC2007/JPEGImages/000005.jpg 263,211,324,339,8 165,264,253,372,8 "
    assert path.read_text().startswith(line)


def test_what_a_line_holds(tmp_path):
    objects = {
        "b": [DOG, CAT, HARD, ("zebra", (1, 1, 9, 9), False)],
        "a": [HARD],
        "c": [],
        "d": [("cat", ("45.7", "1.0", "59.999", "33.5"), False)],
    }
    root = devkit(tmp_path / "elsewhere", objects)
    path = write_voc_txt(root, "2007", "train")
    assert path.read_bytes() == (
        b"VOCdevkit/VOC2007/JPEGImages/b.jpg 1,1,60,40,11 6,4,30,24,7\n"
        b"VOCdevkit/VOC2007/JPEGImages/a.jpg\n"
        b"VOCdevkit/VOC2007/JPEGImages/c.jpg\n"
        b"VOCdevkit/VOC2007/JPEGImages/d.jpg 45,1,59,33,7\n"
    )
    other = write_voc_txt(root, 2007, "train", tmp_path / "zebra.txt", classes=("zebra", "dog"))
    first, *rest = other.read_text().splitlines()
    assert first.split()[1:] == ["1,1,60,40,1", "1,1,9,9,0"]
    assert [line.split()[1:] for line in rest] == [[], [], []]


def test_no_half_file(tmp_path, monkeypatch):
    root = devkit(tmp_path, {"a": [CAT], "b": "<annotation>"})
    (root / "2007_train.txt").write_text("as it was\n")
    with pytest.raises(data.BadExampleError, match=r"Annotations/b\.xml: not a readable XML"):
        write_voc_txt(root, 2007, "train")
    devkit(tmp_path, {"b": voc_xml([("cat", ("nan", 1, 9, 9), False)])}, split="other")
    with pytest.raises(data.BadExampleError, match=r"b\.xml: .*<xmin> must be finite, got 'nan'"):
        write_voc_txt(root, 2007, "train")

    def stopped(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stopped)
        write_voc_txt(devkit(tmp_path, {"c": []}), 2007, "train")
    assert [f.name for f in root.glob("2007*")] == ["2007_train.txt"]
    assert (root / "2007_train.txt").read_text() == "as it was\n"


def test_unknown_splits(tmp_path):
    root = devkit(tmp_path, {"a": [CAT]})
    for year, split in ((2007, "val"), (2012, "train")):
        with pytest.raises(FileNotFoundError, match="there are the splits: VOC2007/train"):
            write_voc_txt(root, year, split)


# ------------------------------------------------------------------------------------- reading


def same(read, expected):
    """The examples of the text file are the others without their difficult boxes."""
    assert [e.image_id for e in read] == [e.image_id for e in expected]
    for a, b in zip(read, expected, strict=True):
        np.testing.assert_array_equal(a.boxes_cxcywh, b.boxes_cxcywh[~b.difficult])
        np.testing.assert_array_equal(a.labels, b.labels[~b.difficult])
        assert not a.difficult.any() and a.size == b.size and a.path.samefile(b.path)
        assert a.jpeg


@pytest.mark.parametrize("name", ["VOCdevkit", "renamed"])
def test_round_trip(tmp_path, name):
    root = devkit(tmp_path / name, {"b": [DOG, HARD, CAT], "a": [], "c": [HARD]})
    devkit(root, {"d": [CAT]}, split="val")
    for split in ("train", "val"):
        write_voc_txt(root, 2007, split)
        same(data.open(f"voc_txt:{root}", f"2007_{split}"), data.open(f"voc:{root}", split))
    both = data.open(f"voc_txt:{root}", "2007_train+2007_val")
    same(both, data.open(f"voc:{root}", "train+val"))
    same(data.open(f"voc_txt:{root}", "2007_train+2007_train"), data.open(f"voc:{root}", "train"))
    assert both.classes == VOC_CLASSES and both.name == f"voc_txt:{root} (2007_train+2007_val)"
    same(data.open(f"voc_txt:{root / '2007_val.txt'}"), data.open(f"voc:{root}", "val"))
    assert len(data.open(f"voc_txt:{root}")) == 4
    (root / "2007_b.txt").write_text((root / "2007_train.txt").read_text().splitlines()[0])
    same(data.open(f"voc_txt:{root}", "2007_b+2007_train"), data.open(f"voc:{root}", "train"))
    assert len(data.open(f"voc_txt:{root}")) == 4


def test_round_trip_of_real_files(tmp_path):
    (tmp_path / "VOC2012").symlink_to(shared("data", "voc2012mini"))
    expected = data.open(f"voc:{tmp_path}", "train", verify=False)
    write_voc_txt(tmp_path, 2012, "train")
    read = data.open(f"voc_txt:{tmp_path}", "2012_train", verify=False)
    assert sum(len(e.labels) for e in read) > 100
    same(read, expected)


def test_two_years_from_the_parent_of_the_devkit(tmp_path):
    for year in (2007, 2012):
        devkit(tmp_path / "VOCdevkit", {"000001": [CAT]}, year=year)
        write_voc_txt(tmp_path / "VOCdevkit", year, "train")
    read = data.open(f"voc_txt:{tmp_path}", "2007_train+2012_train")
    assert [e.image_id for e in read] == ["VOC2007/000001", "VOC2012/000001"]
    same(read, data.open(f"voc:{tmp_path}", "train"))


def write_lines(folder, text, classes="cat\ndog\n"):
    write_image(folder / "a.jpg")
    write_image(folder / "b.jpg")
    (folder / "2007_train.txt").write_text(text)
    if classes:
        (folder / "classes.txt").write_text(classes)
    return folder


def test_own_classes_and_blank_lines(tmp_path):
    root = write_lines(tmp_path, "a.jpg 6,4,30,24,1 1,1,60,40,0\r\n\r\n  b.jpg  ")
    dataset = data.open(f"voc_txt:{root}", "2007_train")
    assert dataset.classes == ("cat", "dog")
    assert [e.labels.tolist() for e in dataset] == [[1, 0], []]
    np.testing.assert_allclose(dataset[0].boxes_cxcywh[0], [0.3, 0.35, 0.4, 0.5], rtol=1e-6)
    some = data.open(f"voc_txt:{root}", "2007_train", classes="dog")
    assert [e.labels.tolist() for e in some] == [[0], []]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("a.jpg 1,2,3,4", "five whole numbers a box.* got '1,2,3,4'"),
        ("a.jpg 1,2,3,4,0,1", "got '1,2,3,4,0,1'"),
        ("a.jpg 1,2,3.5,4,0", "got '1,2,3.5,4,0'"),
        ("a.jpg 1,2,3,1_0,0", "got '1,2,3,1_0,0'"),
        ("a.jpg 1,2,3,4,0 x", "got 'x'"),
        ("a.jpg 1,2,3,1" + "0" * 400 + ",0", "five whole numbers"),
        ("my photo.jpg 1,2,3,4,0", "no space in the path.* got 'photo.jpg'"),
        ("a.jpg 1,2,30,40,2", "unknown class 2 in '1,2,30,40,2'; expected an index below 2"),
        ("a.jpg 1,2,30,40,-1", "unknown class -1"),
        ("a.jpg 30,2,1,40,0", "is inverted"),
        ("a.jpg 70,2,90,40,0", "outside the image of 60 x 40"),
        ("c.jpg 1,2,30,40,0", r"the image is missing: no .*/c\.jpg"),
        ("b.jpg 1,2,30,40,0", r"b\.jpg stands in line 1 of .*2007_train\.txt with other boxes"),
    ],
)
def test_bad_lines(tmp_path, line, reason):
    root = write_lines(tmp_path, f"b.jpg 6,4,30,24,1\n{line}\n")
    with pytest.raises(data.BadExampleError, match=rf"2007_train\.txt, line 2: .*{reason}"):
        data.open(f"voc_txt:{root}", "2007_train")
    dataset = data.open(f"voc_txt:{root}", "2007_train", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and len(dataset.skipped) == 1


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file such as 2007_train.txt; there are: none"):
        data.open(f"voc_txt:{tmp_path}")
    root = write_lines(tmp_path, "a.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"no split 'val' \(val.txt\).* are: 2007_train"):
        data.open(f"voc_txt:{root}", "2007_train+val")
    with pytest.raises(FileNotFoundError, match="is one file, the split '2007_train'; got .*'val'"):
        data.open(f"voc_txt:{root / '2007_train.txt'}", "val")
    (root / "2007_train.txt").write_text("")
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"voc_txt:{root}", "2007_train")
    (root / "2007_train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="2007_train.txt is not text in UTF-8: line 1 has"):
        data.open(f"voc_txt:{root}", "2007_train")


def test_one_line():
    image, annotation = parse_line("VOCdevkit/x/7.jpg 1,2,3,4,19", VOC_CLASSES)
    assert image == "VOCdevkit/x/7.jpg" and annotation.names == ["tvmonitor"]
    assert annotation.boxes_xyxy.tolist() == [[1, 2, 3, 4]] and annotation.extent is None
