"""Every format that is written, read back: by our readers, or as the tool's own form says."""

import csv
import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data.folders import voc_xml, write_image, write_voc
from tests.shared import shared
from yolov1 import data, inference
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


def corners(example):
    boxes = example.boxes_cxcywh.astype(float)
    height, width = example.size
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.concatenate([low, high], axis=1) * (width, height, width, height)


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
        with pytest.raises(ValueError, match="two images have the id 'a'"):
            data.write(f"{kind}:{tmp_path}/y", twice)


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


# ------------------------------------------------------------------ detections, for other tools

SCORES = [0.9, 0.25]
BOX = (12, 8, 30, 20)  # of the red square on the upright picture of 60 x 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A red square, stored in each way that EXIF knows; and names that tools stumble over."""
    folder = tmp_path_factory.mktemp("photos")
    upright = np.full((40, 60, 3), 200, np.uint8)
    x0, y0, x1, y1 = BOX
    upright[y0:y1, x0:x1] = (250, 0, 0)
    paths = []
    for orientation in range(1, 9):
        back = data.images.turn(upright, {6: 8, 8: 6}.get(orientation, orientation))
        exif = Image.Exif()
        exif[274] = orientation
        paths.append(folder / f"turned{orientation}.jpg")
        Image.fromarray(back).save(paths[-1], quality=95, subsampling=0, exif=exif)
    for name in (
        "one/same.jpg",
        "two/same.jpg",
        "two/same.png",
        'a, "b" & <c>.png',
        "é 图.jpg",
        "%23#?.jpg",
    ):
        paths.append(folder / name)
        paths[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(upright).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def found(photos):
    """As a detector gives it: the square, and half of something outside; nothing in the last."""
    fractions = np.divide(BOX, (60, 40, 60, 40))
    boxes = np.array([fractions, [0.5, -0.5, 1.5, 0.5]], np.float32)
    some = inference.Detections(boxes, np.float32(SCORES), np.array([1, 0]))
    detections = [some] * (len(photos) - 1) + [inference.Detections.empty()]
    return inference.as_dataset(photos, detections, ("dog", "cat & mouse"))


SECOND = (30, 0, 60, 20)
WANTED = [("cat & mouse", 0.9, BOX), ("dog", 0.25, SECOND)]


def read_tool(kind, folder):
    """[(image file, (width, height), [(label, score, corners)])] by the form of the tool."""
    if kind == "csv":
        with open(folder / "annotations.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(
            rows[0]
        ) == "image,label,xmin,ymin,xmax,ymax,score,difficult,width,height".split(",")
        images = {row["image"]: [] for row in rows}
        sizes = {row["image"]: (int(row["width"]), int(row["height"])) for row in rows}
        for row in rows:
            if row["label"]:
                box = [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")]
                images[row["image"]].append((row["label"], float(row["score"]), box))
        return [(file, sizes[file], boxes) for file, boxes in images.items()]
    if kind == "labelme":
        contents = [(f, json.loads(f.read_text())) for f in sorted(folder.glob("*.json"))]
        assert all(c["imageData"] is None and (f.stem + ".") in c["imagePath"] for f, c in contents)
        assert all(s["shape_type"] == "rectangle" for _, c in contents for s in c["shapes"])
        assert (folder / "labels.txt").read_text() == "dog\ncat & mouse\n"
        return [
            (
                file.parent / content["imagePath"],
                (content["imageWidth"], content["imageHeight"]),
                [(s["label"], s["score"], sum(s["points"], [])) for s in content["shapes"]],
            )
            for file, content in contents
        ]
    if kind == "label_studio":
        config = (folder / "labeling_config.xml").read_text()
        assert not config.startswith("<?xml")  # it is pasted as a text
        view = ElementTree.fromstring(config)
        assert view.find("Image").attrib == {"name": "image", "value": "$image"}
        assert [n.get("value") for n in view.iter("Label")] == ["dog", "cat & mouse"]
        return [_read_task(task) for task in json.loads((folder / "tasks.json").read_text())]
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [n.text for n in root.findall("meta/task/labels/label/name")] == ["dog", "cat & mouse"]
    assert [entry["name"] for entry in json.loads((folder / "labels.json").read_text())] == [
        "dog", "cat & mouse",
    ]  # fmt: skip
    return [
        (
            folder / "images" / image.get("name"),
            (int(image.get("width")), int(image.get("height"))),
            [
                (
                    box.get("label"),
                    float(box.find("attribute[@name='score']").text),
                    [float(box.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")],
                )
                for box in image.iter("box")
            ],
        )
        for image in root.iter("image")
    ]


def _read_task(task):
    url, (prediction,) = task["data"]["image"], task["predictions"]
    assert url.startswith("/data/local-files/?d=") and 0 <= prediction["score"] <= 1
    boxes, size = [], (60, 40)
    for region in prediction["result"]:
        assert (region["from_name"], region["to_name"]) == ("label", "image")
        assert region["type"] == "rectanglelabels" and region["image_rotation"] == 0
        value = region["value"]
        size = region["original_width"], region["original_height"]
        low, extent = (value["x"], value["y"]), (value["width"], value["height"])
        high = np.add(low, extent)
        box = [*np.multiply(low, size) / 100, *np.multiply(high, size) / 100]
        boxes.append((*value["rectanglelabels"], region["score"], box))
    return "/" + unquote(url.removeprefix("/data/local-files/?d=")), size, boxes


@pytest.mark.parametrize("kind", writing.TOOLS)
def test_pre_annotations_of_tools(found, photos, tmp_path, kind):
    """The boxes are on the picture as the tool shows it: turned as EXIF says."""
    remarks = data.write(f"{kind}:{tmp_path / kind}", found, upright=True)
    assert len(remarks) == 1 and "and 6 more photos are turned" in remarks[0][1]
    read = read_tool(kind, tmp_path / kind)
    assert len(read) == len({str(file) for file, _, _ in read}) == len(photos)
    empty = 0
    for file, size, boxes in read:
        empty += not boxes
        with Image.open(file) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
        assert size == (60, 40) == pixels.shape[1::-1]
        for (name, score, box), want in zip(boxes, WANTED if boxes else (), strict=True):
            assert name == want[0] and score == pytest.approx(want[1], abs=1e-6)
            np.testing.assert_allclose(box, want[2], atol=6e-4)
            if want[2] == BOX:
                assert_red(pixels, box)
    assert empty == 1


def assert_red(pixels, box):
    x0, y0, x1, y1 = (round(v) for v in box)
    inside = pixels[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].reshape(-1, 3)
    assert (inside[:, 0] > 200).all() and (inside[:, 1:] < 90).all()
    assert ((pixels[..., 1] < 90).sum()) < 1.3 * (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize("kind", [k for k in writing.DATA_SETS if k != "records"])
def test_pre_annotations_as_data_sets(found, photos, tmp_path, kind):
    """Programs that mind EXIF and programs that do not see the boxes in one place."""
    data.write(f"{kind}:{tmp_path / kind}", found, upright=True)
    dataset = data.open(f"{kind}:{tmp_path / kind}")
    assert not dataset.skipped and len(dataset) == len(photos)
    assert not any("EXIF" in why for _, why in dataset.notes)
    assert dataset.classes == ("dog", "cat & mouse")
    assert sorted(len(example.labels) for example in dataset) == [0] + [2] * (len(photos) - 1)
    for example in dataset:
        assert example.size == (40, 60) and example.orientation == 1
        if len(example.labels):
            boxes = corners(example)[np.argsort(-example.labels)]
            np.testing.assert_allclose(boxes, [BOX, SECOND], atol=6e-4)
            assert_red(example.image.astype(int), boxes[0])


def test_scores_are_where_each_format_has_them(found, tmp_path):
    for kind in ("coco", "voc", "fiftyone"):
        data.write(f"{kind}:{tmp_path / kind}", found)
    content = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    results = json.loads((tmp_path / "coco/results_train.json").read_text())
    assert [a["score"] for a in content["annotations"][:2]] == pytest.approx(SCORES)
    assert len(results) == len(content["annotations"]) == 2 * (len(found) - 1)
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}
    xml = ElementTree.parse(tmp_path / "voc/Annotations/turned1.xml")
    assert [float(n.text) for n in xml.iter("score")] == pytest.approx(SCORES)
    labels = json.loads((tmp_path / "fiftyone/labels.json").read_text())["labels"]
    assert [entry["confidence"] for entry in labels["turned1"]] == pytest.approx(SCORES)


def test_scores_that_label_studio_refuses(photos, tmp_path):
    """A linear network's may be beyond 1."""
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]])
    some = inference.Detections(boxes, np.array([1.02, 0.5]), np.array([0, 0]))
    found = inference.as_dataset(photos[:1], [some], ("dog",))
    data.write(f"label_studio:{tmp_path / 'x'}", found)
    (task,) = json.loads((tmp_path / "x" / "tasks.json").read_text())
    assert [r["score"] for r in task["predictions"][0]["result"]] == [1.0, 0.5]
    assert task["predictions"][0]["score"] == 0.75


def test_addresses_of_label_studio(photos, splits, tmp_path):
    found = inference.as_dataset(photos, [inference.Detections.empty()] * len(photos), ("dog",))
    options = {"image_url": "https://host/", "image_root": str(photos[0].parent)}
    data.write(f"label_studio:{tmp_path / 'x'}", found, **options)
    tasks = json.loads((tmp_path / "x" / "tasks.json").read_text())
    urls = {task["data"]["image"] for task in tasks}
    assert {"https://host/one/same.jpg", "https://host/%2523%23%3F.jpg"} < urls
    assert len(urls) == len(photos)
    with pytest.raises(ValueError, match="does not lie in .*--image_root"):
        data.write(f"label_studio:{tmp_path / 'y'}", splits, image_root=str(tmp_path))
    # Labels that are no detections are annotations there, not predictions.
    data.write(f"label_studio:{tmp_path / 'z'}", splits)
    task = json.loads((tmp_path / "z" / "tasks_train.json").read_text())[0]
    assert set(task) == {"data", "annotations"}


def test_boxes_without_area_in_the_picture_are_said(photos):
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [1.2, 0.1, 1.5, 0.5]])
    some = inference.Detections(boxes, np.array([0.9, 0.8]), np.array([0, 0]))
    found = inference.as_dataset(photos[:1], [some], ("dog",))
    assert len(found[0].labels) == 1
    ((file, why),) = found.notes
    assert file == str(photos[0]) and "box 2 (dog)" in why and "left out" in why


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
