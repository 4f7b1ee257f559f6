"""Every format that is written, read back: by our readers, or as the tool's own form says."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.data.folders import corners, voc_xml, write_image, write_voc
from tests.shared import shared
from yolov1 import data
from yolov1.data.formats import writing
from yolov1.data.formats.writing import labelled

CLASSES = ("Größe 大", "no", "1.0", "x: y", "<&\"'>", "two words", "#hash")
# Pixels that a format may move a corner by: half of a thousandth where it has three decimals, else
# float32 (a record's corners are rounded once more).
ROUNDING = {"coco": 5e-4, "voc": 5e-4, "yolo": 2e-5, "records": 5e-5, "fiftyone": 2e-5}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Two splits with one id in both; fractions of pixels, difficult boxes, an empty image."""
    root = tmp_path_factory.mktemp("sets")
    found = {}
    for seed, split in enumerate(("train", "val")):
        rng = np.random.default_rng(seed)
        corners = np.sort(rng.uniform(0, 1, (6, 2, 2)), axis=1).reshape(6, 4) * (60, 40, 60, 40)
        boxes = [
            (name, tuple(box), k % 3 == 0)
            for k, (name, box) in enumerate(zip(CLASSES, corners, strict=False))
        ]
        whole = [(CLASSES[6], (0, 0, 60, 40), False), (CLASSES[1], (3, 4, 5, 6), False)]
        tiny = [(CLASSES[2], (10, 10, 10.0002, 30), False)]
        annotations = {"a": boxes, f"only {split}": [], "b.c": whole, "tiny": tiny}
        names = "&lt;&amp;\"'&gt;"
        write_voc(root / split, {}, CLASSES)
        for k, (image_id, objects) in enumerate(annotations.items()):
            text = voc_xml(objects, (40, 60)).replace(f"<name>{CLASSES[4]}", f"<name>{names}")
            (root / split / "Annotations" / f"{image_id}.xml").write_text(text, encoding="utf-8")
            write_image(root / split / "JPEGImages" / f"{image_id}.jpg", (40, 60), 10 * seed + k)
        found[split] = data.open(f"voc:{root / split}")
    return found


def assert_same(written, dataset, move, *, difficult=True, pixels=True):
    """Equal but for the rounding; without the difficult boxes where they cannot be written."""
    assert written.classes == dataset.classes and not written.skipped
    assert len(written) == len(dataset)
    # VOC has all splits in one folder: an id that two of them have begins with the split there.
    of_id = {
        example.image_id.removeprefix("train_").removeprefix("val_"): example for example in written
    }
    for example in dataset:
        other = of_id[example.image_id]
        kept = np.full(len(example.labels), True) if difficult else ~example.difficult
        assert other.labels.tolist() == example.labels[kept].tolist()
        assert other.difficult.tolist() == (example.difficult[kept] & difficult).tolist()
        np.testing.assert_allclose(corners(other), corners(example)[kept], rtol=0, atol=move)
        assert other.size == example.size
        if pixels:
            np.testing.assert_array_equal(other.image, example.image)


def opened(kind, folder):
    return {
        split: data.open(f"{kind}:{folder}", split) for split in data.splits(f"{kind}:{folder}")
    }


@pytest.mark.parametrize("first", writing.DATA_SETS)
def test_every_pair_of_formats(splits, tmp_path, first):
    """What is written in one format, opened, and written in another is what it was."""
    data.write(f"{first}:{tmp_path / first}", splits)
    between = opened(first, tmp_path / first)
    assert list(between) == ["train", "val"]
    for split, dataset in between.items():
        assert_same(dataset, splits[split], ROUNDING[first], difficult=first != "yolo")
    for second in writing.DATA_SETS:
        folder = tmp_path / f"{first}-{second}"
        data.write(f"{second}:{folder}", between)
        hard = "yolo" not in (first, second)
        for split, dataset in opened(second, folder).items():
            move = ROUNDING[first] + ROUNDING[second]
            assert_same(dataset, splits[split], move, difficult=hard, pixels=False)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.first_case
@pytest.mark.parametrize("kind", writing.DATA_SETS)
@pytest.mark.parametrize("name", ["bccd", "voc2012mini"])
def test_real_data(tmp_path, kind, name):
    """Whole pixels stay whole pixels; nothing is lost."""
    spec = f"voc:{shared('data', name)}"
    splits = {s: data.open(spec, s, verify=False) for s in data.splits(spec)}
    remarks = data.write(f"{kind}:{tmp_path / kind}", splits)
    assert bool(remarks) == (kind == "yolo" and name == "voc2012mini")  # difficult boxes
    for split, dataset in splits.items():
        written = data.open(f"{kind}:{tmp_path / kind}", split, verify=False)
        move = {"coco": 1e-6, "voc": 1e-6}.get(kind, ROUNDING[kind])
        assert_same(written, dataset, move, difficult=kind != "yolo", pixels=False)


def test_images_are_links_and_keep_their_bytes(splits, tmp_path):
    source = splits["train"][0].path
    for kind in set(writing.WRITERS) - {"records", "csv", "label_studio"}:  # no images in them
        for copy in (False, True):
            folder = tmp_path / f"{kind}-{copy}"
            data.write(f"{kind}:{folder}", splits["train"], link=not copy)
            (image,) = folder.rglob("a.jpg")
            assert image.read_bytes() == source.read_bytes()
            assert image.samefile(source) != copy
    # The bytes of an image inside of a record file are written as they are.
    data.write(f"records:{tmp_path / 'records'}", splits["train"])
    (recorded,) = opened("records", tmp_path / "records").values()
    data.write(f"coco:{tmp_path / 'of records'}", recorded)
    (image,) = (tmp_path / "of records").rglob("a.jpg")
    assert image.read_bytes() == source.read_bytes()


def test_a_box_that_would_vanish_is_not_rounded():
    boxes = np.array([[10, 10, 10.0002, 30], [1.00004, 2.5, 3.0, 3.14159]]) / (60, 40, 60, 40)
    first, second = labelled.in_pixels(boxes, (40, 60))
    assert 10 < first[2] - 1e-4 < 10.0002 and second == [1, 2.5, 3, 3.142]
    assert [type(v) for v in second] == [int, float, int, float]


def test_what_is_refused(splits, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "work.json").touch()
    with pytest.raises(FileExistsError, match=r"full is not empty\. Remove it"):
        data.write(f"labelme:{tmp_path / 'full'}", splits)
    with pytest.raises(FileExistsError, match="work.json is a file"):
        data.write(f"coco:{tmp_path / 'full' / 'work.json'}", splits)
    with pytest.raises(ValueError, match="KIND:FOLDER with a kind of coco, voc, yolo"):
        data.write("pascal:out", splits)
    with pytest.raises(ValueError, match="must have the same classes; got 2 lists"):
        data.write(f"coco:{tmp_path}/x", splits | {"test": data.open("shapes:count=1")})
    for kind, name, why in (
        *((kind, "two\nlines", "several lines") for kind in writing.WRITERS),
        *((kind, "bell\a", "XML cannot hold") for kind in ("voc", "cvat", "label_studio")),
        *(("yolo", name, "means nothing in a YAML") for name in ("~", "null")),
    ):
        dataset = data.Dataset(splits["train"][:1], (name, *CLASSES[1:]))
        with pytest.raises(ValueError, match=why):
            data.write(f"{kind}:{tmp_path}/x", dataset)
    twice = data.Dataset([splits["train"][0]] * 2, CLASSES)
    for kind in writing.WRITERS:
        with pytest.raises(ValueError, match="test has no image"):
            data.write(f"{kind}:{tmp_path}/y", splits | {"test": data.Dataset([], CLASSES)})
        with pytest.raises(ValueError, match=r"a split's name .* got '\.\./up'"):
            data.write(f"{kind}:{tmp_path}/y", {"../up": splits["train"]})
        with pytest.raises(ValueError, match="two images have the id 'a'"):
            data.write(f"{kind}:{tmp_path}/y", twice)
    assert not (tmp_path / "y").exists()


def test_difficult_boxes_in_yolo(splits, tmp_path):
    remarks = data.write(f"yolo:{tmp_path / 'without'}", splits)
    assert [why.split(",")[0] for _, why in remarks] == ["2 boxes are marked difficult"] * 2
    assert all("left out (see --difficult)" in why for _, why in remarks)
    remarks = data.write(f"yolo:{tmp_path / 'with'}", splits, difficult=True)
    assert all("written as any other" in why for _, why in remarks)
    written = data.open(f"yolo:{tmp_path / 'with'}", "train")
    assert [len(e.labels) for e in written] == [len(e.labels) for e in splits["train"]]


def test_names_of_splits_that_yolo_does_not_know(splits, tmp_path):
    named = {"train": splits["train"], "day1": splits["val"]}
    remarks = data.write(f"yolo:{tmp_path / 'out'}", named)
    assert remarks[-1][0].endswith("data.yaml") and "do not know day1" in remarks[-1][1]
    assert len(data.open(f"yolo:{tmp_path / 'out'}")) == 8
    assert len(data.open(f"yolo:{tmp_path / 'out'}", "day1")) == 4


def test_the_form_is_that_of_the_tools_own_files(splits, tmp_path):
    """Genuine exports of CVAT and LabelMe have no attribute or key that ours lack."""
    genuine = ElementTree.parse(shared("data", "formats100", "cvat_format") / "annotations.xml")
    data.write(f"cvat:{tmp_path / 'cvat'}", splits["train"])
    ours = ElementTree.parse(tmp_path / "cvat" / "annotations.xml")
    for tag in ("image", "box"):
        wanted, have = ({k for n in tree.iter(tag) for k in n.keys()} for tree in (genuine, ours))
        assert wanted - {"subset", "task_id"} <= have, tag
    files = sorted(shared("data", "formats100", "labelme_format").glob("*.json"))
    data.write(f"labelme:{tmp_path / 'labelme'}", splits["train"])
    ours = json.loads((tmp_path / "labelme" / "a.json").read_text())
    for file in files:
        content = json.loads(file.read_text())
        assert set(content) <= set(ours)
        assert {k for s in content["shapes"] for k in s} <= set(ours["shapes"][0])
