"""Detections in the files of other tools: the boxes lie where each tool will show them."""

import csv
import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data.folders import corners
from yolov1 import data, inference
from yolov1.data.formats import writing

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


def test_addresses_of_label_studio(photos, tmp_path):
    found = inference.as_dataset(photos, [inference.Detections.empty()] * len(photos), ("dog",))
    options = {"image_url": "https://host/", "image_root": str(photos[0].parent)}
    data.write(f"label_studio:{tmp_path / 'x'}", found, **options)
    tasks = json.loads((tmp_path / "x" / "tasks.json").read_text())
    urls = {task["data"]["image"] for task in tasks}
    assert {"https://host/one/same.jpg", "https://host/%2523%23%3F.jpg"} < urls
    assert len(urls) == len(photos)
    with pytest.raises(ValueError, match="does not lie in .*--image_root"):
        data.write(f"label_studio:{tmp_path / 'y'}", found, image_root=str(tmp_path))
    # Labels that are no detections are annotations there, not predictions.
    labels = {"train": data.open("shapes:count=1", image_size=32)}
    data.write(f"label_studio:{tmp_path / 'z'}", labels)
    task = json.loads((tmp_path / "z" / "tasks_train.json").read_text())[0]
    assert set(task) == {"data", "annotations"}


def test_boxes_without_area_in_the_picture_are_said(photos):
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [1.2, 0.1, 1.5, 0.5]])
    some = inference.Detections(boxes, np.array([0.9, 0.8]), np.array([0, 0]))
    found = inference.as_dataset(photos[:1], [some], ("dog",))
    assert len(found[0].labels) == 1
    ((file, why),) = found.notes
    assert file == str(photos[0]) and "box 2 (dog)" in why and "left out" in why
