import tarfile

import numpy as np
import pytest

from tests.data.folders import voc_xml, write_image, write_voc
from tests.shared import shared
from yolov1 import data
from yolov1.data.example import usable_boxes
from yolov1.data.formats.voc import VOC_CLASSES, parse_annotation

CAT = ("cat", (6, 4, 30, 24), False)


def test_pixel_convention(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, ("dog", (1, 1, 60, 40), True)]})
    dataset = data.open(f"voc:{root}", "train")
    (example,) = dataset
    assert dataset.classes == ("cat", "dog") and example.image_id == "a"
    assert example.size == (40, 60) and example.image.shape == (40, 60, 3)
    expected = [[0.3, 0.35, 0.4, 0.5], [30.5 / 60, 20.5 / 40, 59 / 60, 39 / 40]]
    np.testing.assert_allclose(example.boxes_cxcywh, expected, rtol=1e-6)
    assert example.labels.tolist() == [0, 1] and example.difficult.tolist() == [False, True]


def test_splits(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": []})
    write_voc(tmp_path, {"c": [CAT]}, split="val")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a  1\nb -1\n")

    def ids(split):
        return [e.image_id for e in data.open(f"voc:{root}", split)]

    assert ids("train") == ["a", "b"] and ids("val") == ["c"]
    assert ids("train+val") == ids(None) == ["a", "b", "c"] and ids("train+train") == ["a", "b"]
    assert ids("cat_train") == ["a"]
    with pytest.raises(FileNotFoundError, match="no split 'test'.*cat_train, train, val"):
        ids("test")


def test_devkit_with_two_years(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / "VOCdevkit" / year, {"000001": [CAT]}, classes=None)
    dataset = data.open(f"voc:{tmp_path}", "train")
    assert [e.image_id for e in dataset] == ["VOC2007/000001", "VOC2012/000001"]
    assert dataset.classes == VOC_CLASSES
    one = data.open(f"voc:{tmp_path / 'VOCdevkit'}", "VOC2012/train")
    assert [e.image_id for e in one] == ["VOC2012/000001"]
    with pytest.raises(FileNotFoundError, match="expected a folder with Annotations"):
        data.open(f"voc:{tmp_path / 'nothing'}")


def test_classes_without_a_file(tmp_path):
    """Those of the whole folder; VOC's twenty only in a folder that is of VOC."""
    root = write_voc(tmp_path, {"a": [CAT]}, classes=None)
    assert data.open(f"voc:{root}").classes == ("cat",)
    write_voc(tmp_path, {"b": [("zebra", (1, 1, 9, 9), False)]}, classes=None, split="val")
    for split in ("train", "val", None):
        assert data.open(f"voc:{root}", split).classes == ("cat", "zebra")
    xml = voc_xml([CAT]).replace("<size>", "<folder>VOC2012</folder><size>")
    root = write_voc(tmp_path / "own", {"a": xml}, classes=None)
    dataset = data.open(f"voc:{root}", "train")
    assert dataset.classes == VOC_CLASSES and "twenty classes" in dataset.notes[0][1]


def test_some_classes_only(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, ("dog", (1, 1, 9, 9), False)], "b": [CAT]})
    dataset = data.open(f"voc:{root}", classes="dog")
    assert dataset.classes == ("dog",) and [e.labels.tolist() for e in dataset] == [[0], []]
    assert data.open(f"voc:{root}", classes=["dog", "cat"])[0].labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="classes must be among cat, dog; got cow"):
        data.open(f"voc:{root}", classes="cow,cat")


def test_awkward_but_valid():
    xml = b"""<annotation><size><height>40</height><width>60</width></size><object>
        <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>
        </bndbox></part><name> dog </name><bndbox><ymax>20.5</ymax><xmax>30</xmax><ymin>4.25</ymin>
        <xmin>6</xmin></bndbox></object></annotation>"""
    annotation, filename = parse_annotation(xml)
    assert annotation.names == ["dog"] and annotation.difficult == [False] and filename is None
    assert annotation.boxes_xyxy.tolist() == [[6, 4.25, 30, 20.5]]
    assert annotation.extent == (40, 60)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)
FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    "xml, reason",
    [
        (BOMB, "not a readable XML file"),
        (FILE, "not a readable XML file"),
        ("<annotation>", "not a readable XML file"),
        ("", "not a readable XML file"),
        ("<labels><object/></labels>", "expected <annotation>, got <labels>"),
        (voc_xml([("cat", (1, 1, 9, 9), 7)]), "<difficult> must be 0 or 1 .* got '7'"),
        ("<annotation><object><name>cat</name></object></annotation>", r"\(cat\) has no <bndbox>"),
        ("<annotation><object/></annotation>", "object 1 has no <name>"),
        (voc_xml([("cow", (1, 1, 9, 9), False)]), "unknown class 'cow'; expected one of cat, dog"),
        (voc_xml([("cat", ("nan", 1, 9, 9), False)]), "not a finite number"),
        (voc_xml([("cat", ("inf", 1, 9, 9), False)]), "not a finite number"),
        (voc_xml([("cat", ("x", 1, 9, 9), False)]), "<xmin> must be a number, got 'x'"),
        (voc_xml([("cat", (9, 1, 1, 9), False)]), r"box 1 \(cat\) .* is inverted"),
        (voc_xml([("cat", (70, 1, 90, 9), False)]), "outside the image of 60 x 40"),
        (voc_xml([CAT], size=(60, 40)), "for an image of 40 x 60 pixels.* the image has 60 x 40"),
    ],
)
def test_bad_annotations_are_refused_or_skipped(tmp_path, xml, reason):
    root = write_voc(tmp_path, {"bad": xml, "good": [CAT]})
    with pytest.raises(data.BadExampleError, match=rf"bad\.xml: .*{reason}"):
        data.open(f"voc:{root}")
    dataset = data.open(f"voc:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["good"]
    ((file, why),) = dataset.skipped
    assert file.endswith("bad.xml") and why and dataset.notes == []


EMPTY = ("<size/>", "<size><width>60</width></size>", "<size><width/><height></height></size>")


@pytest.mark.parametrize("size", EMPTY)
def test_an_empty_size_comes_from_the_image(tmp_path, size):
    xml = voc_xml([CAT], size=None).replace("<object>", f"{size}<object>")
    root = write_voc(tmp_path, {"a": xml})
    assert data.open(f"voc:{root}")[0].size == (40, 60)


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_missing_size_comes_from_the_image(tmp_path, size):
    root = write_voc(tmp_path, {"a": voc_xml([CAT], size=size)})
    np.testing.assert_allclose(
        data.open(f"voc:{root}")[0].boxes_cxcywh, [[0.3, 0.35, 0.4, 0.5]], rtol=1e-6
    )


def test_boxes_without_area_or_beyond_the_edge(tmp_path):
    objects = [CAT, ("dog", (5, 5, 5, 20), False), ("cat", (-10, 10, 20, 60), False)]
    dataset = data.open(f"voc:{write_voc(tmp_path, {'a': objects})}")
    np.testing.assert_allclose(dataset[0].boxes_cxcywh[1], [10 / 60, 25 / 40, 20 / 60, 30 / 40])
    assert len(dataset[0].labels) == 2 and not dataset.skipped
    assert ["no area" in dataset.notes[0][1], "is clipped" in dataset.notes[1][1]] == [True, True]


def test_missing_files(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT], "c": [CAT]})
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "Annotations" / "b.xml").unlink()
    dataset = data.open(f"voc:{root}", "train", bad_examples="skip")
    reasons = dict(dataset.skipped)
    assert "the image is missing" in reasons[str(root / "Annotations" / "a.xml")]
    assert "annotation file does not exist" in reasons[str(root / "Annotations" / "b.xml")]
    with pytest.raises(data.BadExampleError, match="2 of 3 images cannot be used"):
        data.open(f"voc:{root}", "train")


def test_nothing_left(tmp_path):
    root = write_voc(tmp_path, {"a": "<annotation>"})
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"voc:{root}", bad_examples="skip")
    with pytest.raises(ValueError, match="bad_examples must be 'fail' or 'skip', got 'ignore'"):
        data.open(f"voc:{root}", bad_examples="ignore")


def test_bccd():
    dataset = data.open(f"voc:{shared('data', 'bccd')}", "train+val+test", verify=False)
    counts = np.bincount(np.concatenate([e.labels for e in dataset]), minlength=3)
    assert dataset.classes == ("RBC", "WBC", "Platelets") and len(dataset) == 364
    # 4155 in the files, two of them without area.
    assert counts.tolist() == [4153, 372, 361]
    assert sorted(file[-7:-4] for file, _ in dataset.notes) == ["338", "343"]
    assert not dataset.skipped


def test_voc2012mini():
    dataset = data.open(f"voc:{shared('data', 'voc2012mini')}", "train+val")
    assert len(dataset) == 245 and dataset.classes == VOC_CLASSES
    assert sum(len(e.labels) for e in dataset) == 730
    assert sum(int(e.difficult.sum()) for e in dataset) == 87


def test_awkward_voc_files():
    for file in shared("data", "hard_inputs", "xml_only").glob("*.xml"):
        annotation, filename = parse_annotation(file)
        assert filename == f"{file.stem}.jpg" and set(annotation.names) <= set(VOC_CLASSES)
        boxes, kept, remarks = usable_boxes(annotation, annotation.extent)
        assert len(kept) == len(annotation.names) >= 1 and not remarks
        assert (boxes > 0).all() and (boxes <= 1).all()


def test_golden_conversion_of_voc_2007():
    """All 24640 boxes as the published conversion has them, to the last bit but one."""
    folder = shared("oracle", "voc2007")
    with tarfile.open(folder / "VOC2007_darknet_labels.tar.xz") as tar:
        labels = {m.name[-10:-4]: tar.extractfile(m).read() for m in tar if m.name.endswith(".txt")}
    boxes, worst = 0, 0.0
    with tarfile.open(folder / "VOC2007_Annotations_9963.tar.xz") as tar:
        for member in tar:
            if not member.name.endswith(".xml"):
                continue
            annotation, _ = parse_annotation(tar.extractfile(member).read())
            converted, kept, remarks = usable_boxes(annotation, annotation.extent)
            usual = [k for k in kept if not annotation.difficult[k]]
            ours = [[VOC_CLASSES.index(annotation.names[k]), *converted[k]] for k in usual]
            rows = labels[member.name[-10:-4]].decode().split()
            golden = np.array(rows, np.float64).reshape(-1, 5)
            assert not remarks and len(kept) == len(annotation.names)
            np.testing.assert_array_equal(np.array(ours).reshape(-1, 5)[:, 0], golden[:, 0])
            if len(golden):
                worst = max(worst, np.abs(np.array(ours) - golden).max())
            boxes += len(golden)
    assert boxes == 24640 and worst <= 1.2e-16


# ------------------------------------------------------------------------------- what people bring


def test_namespaces_and_flags(tmp_path):
    xml = voc_xml([CAT]).replace("<annotation>", '<annotation xmlns="urn:x" xmlns:v="urn:y">')
    xml = xml.replace("<difficult>0", "<v:difficult>true").replace("</difficult", "</v:difficult")
    root = write_voc(tmp_path, {"a": xml, "b": voc_xml([CAT]).replace(">0<", ">Unspecified<")})
    first, second = data.open(f"voc:{root}")
    assert first.difficult.tolist() == [True] and second.difficult.tolist() == [False]


def renamed(root, name, new):
    (root / "JPEGImages" / new).parent.mkdir(parents=True, exist_ok=True)
    (root / "JPEGImages" / name).rename(root / "JPEGImages" / new)


@pytest.mark.parametrize(
    "filename, image",
    [
        ("a.png", "a.png"), ("a", "a.JPG"), ("A.jpg", "a.JPG"), ("C:\\photos\\a.jpg", "a.JPG"),
        ("day1/a.jpg", "day1/a.jpg"), ("day1\\a.jpg", "day1/a.jpg"), (None, "a.JPEG"),
        ("gone.jpg", "a.webp"), ("other.jpg", "other.jpg"),
    ],
)  # fmt: skip
def test_the_annotation_says_which_image(tmp_path, filename, image):
    root = write_voc(tmp_path, {"a": voc_xml([CAT], filename=filename), "b": [CAT]})
    renamed(root, "a.jpg", image)
    assert data.open(f"voc:{root}")[0].path == root / "JPEGImages" / image


def test_two_images_for_one_annotation_and_two_annotations_for_one_image(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b": [CAT]})
    write_image(root / "JPEGImages" / "a.png")
    with pytest.raises(data.BadExampleError, match=r"no telling which .*: a.jpg or a.png"):
        data.open(f"voc:{root}")
    (root / "Annotations" / "a.xml").write_text(voc_xml([CAT], filename="a.png"))
    dataset = data.open(f"voc:{root}")
    assert dataset[0].path.name == "a.png"
    assert dataset.notes == [
        (str(root / "JPEGImages" / "a.jpg"), "an image without an annotation; it is left out")
    ]
    (root / "Annotations" / "b.xml").write_text(voc_xml([CAT], filename="a.png"))
    with pytest.raises(data.BadExampleError, match="a.png is that of a.xml and b.xml"):
        data.open(f"voc:{root}")


def test_lists_as_tools_write_them(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT], "b 1": [CAT], "c.d": [CAT]})
    lines = "\ufeffa.jpg\r\nb 1\r\n\r\nc.d\r\na\r\n"
    (root / "ImageSets" / "Main" / "train.txt").write_text(lines, "utf-8", newline="")
    dataset = data.open(f"voc:{root}", "train")
    assert [e.image_id for e in dataset] == ["a", "b 1", "c.d", "a#2"]
    assert "line 5 repeats line 1: the image counts again" in dataset.notes[0][1]


def test_annotations_in_folders(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT]})
    for day in ("day1", "day2"):
        write_image(root / "JPEGImages" / day / "a.jpg")
        (root / "Annotations" / day).mkdir()
        (root / "Annotations" / day / "a.XML").write_text(voc_xml([CAT], filename="a.jpg"))
    dataset = data.open(f"voc:{root}")
    assert [e.image_id for e in dataset] == ["a", "day1/a", "day2/a"]
    assert [e.path.parent.name for e in dataset] == ["JPEGImages", "day1", "day2"]


def test_classes_that_differ_by_case_are_noted(tmp_path):
    root = write_voc(tmp_path, {"a": [CAT, ("Cat", (1, 1, 9, 9), False)]}, classes=None)
    dataset = data.open(f"voc:{root}")
    assert dataset.classes == ("Cat", "cat") and "differ by case" in dataset.notes[0][1]


def test_the_fault_of_the_only_annotation_is_shown(tmp_path):
    polygon = "<annotation><object><name>cat</name><polygon/></object></annotation>"
    root = write_voc(tmp_path, {"a": polygon}, classes=None)
    with pytest.raises(data.BadExampleError, match=r"a\.xml: object 1 \(cat\) has no <bndbox>"):
        data.open(f"voc:{root}")
    (root / "Annotations" / "a.xml").write_text("<annotation/>")
    with pytest.raises(ValueError, match="no annotation has an object, so there are no class"):
        data.open(f"voc:{root}")
