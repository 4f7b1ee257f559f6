"""What another tool exported takes the place of the labels of its images, and is counted."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import write_image
from tests.reviewing.labels import CLASSES, dataset, detections, example
from yolov1 import data
from yolov1.data import Dataset
from yolov1.reviewing import corrections, proposed, suspects
from yolov1.reviewing.boxes import corners, rows_of

A, B, C = (0.1, 0.1, 0.3, 0.5), (0.5, 0.1, 0.7, 0.5), (0.1, 0.6, 0.3, 0.9)
OFF_A = (0.2, 0.1, 0.4, 0.5)


def test_changes_are_counted():
    before = example("a", [("cat", A), ("dog", B), ("fox", C)])
    after = example("a", [("cat", OFF_A), ("fox", B), ("fox", (0.8, 0.6, 0.9, 0.9))])
    assert corrections.changes(before, after) == {"move": 1, "rename": 1, "add": 1, "remove": 1}
    assert corrections.changes(before, before) == {"keep": 3}
    # One of its class is meant first, though another lies nearer.
    after = example("a", [("dog", A), ("cat", OFF_A)])
    before = example("a", [("cat", A)])
    assert corrections.changes(before, after) == {"move": 1, "add": 1}


def test_an_image_that_is_not_mentioned_or_not_changed_stays():
    labels = dataset([("cat", A)], [("dog", B)], [("fox", C)])
    rows = {1: rows_of(labels[1]), 2: []}
    examples, done = corrections.replace(labels, rows)
    assert examples[0] is labels[0] and examples[1] is labels[1] and not len(examples[2].labels)
    assert done == {"add": 0, "remove": 1, "move": 0, "rename": 0, "keep": 1}


def exported(folder, change=lambda task: None):
    """What Label Studio exports where a person accepted the predictions of a written file."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks, start=1):
        (prediction,) = task["predictions"]
        task |= {"id": number, "annotations": [{"result": prediction["result"]}]}
        change(task)
    (folder / "export.json").write_text(json.dumps(tasks))
    return folder / "export.json"


@pytest.fixture
def reviewed():
    labels = dataset([], [("cat", A)], [("cat", A)], [("dog", B)])
    seen = detections(
        [("dog", B, 0.9)], [("cat", OFF_A, 0.9)], [("fox", A, 0.9)], [("dog", B, 0.9)]
    )
    return labels, suspects(seen, labels)


def test_through_label_studio(reviewed, tmp_path):
    labels, found = reviewed
    whole = proposed(found, labels)
    assert {e.image_id for e in whole} == {"image0", "image1", "image2"}  # image3 has no suspect
    data.write(f"label_studio:{tmp_path / 'ls'}", whole)
    rows = corrections.of_label_studio(exported(tmp_path / "ls"), labels)
    examples, done = corrections.replace(labels, rows)
    assert done == {"add": 1, "remove": 0, "move": 1, "rename": 1, "keep": 0}
    assert corners(examples[0]) == pytest.approx(np.array([B]))
    assert corners(examples[1]) == pytest.approx(np.array([OFF_A]))
    assert examples[2].labels.tolist() == [2] and examples[3] is labels[3]


def test_what_was_not_looked_at_stays(reviewed, tmp_path):
    labels, found = reviewed
    data.write(f"label_studio:{tmp_path / 'ls'}", proposed(found, labels))

    def change(task):
        if task["id"] == 1:
            task["annotations"] = []
        if task["id"] == 2:
            task["annotations"][0]["was_cancelled"] = True

    rows = corrections.of_label_studio(exported(tmp_path / "ls", change), labels)
    assert len(rows) == 1


def test_uploaded_and_turned_photos(tmp_path):
    """Label Studio puts a hash before an uploaded name, and shows a photo upright."""
    path = tmp_path / "photo.jpg"
    write_image(path, size=(40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, exif=exif)
    stored = np.array([[0.1, 0.2, 0.4, 0.8]])
    one = data.Example(
        "photo", [[0.25, 0.5, 0.3, 0.6]], [0], [True], size=(40, 60), path=path, orientation=6
    )
    labels = Dataset([one], CLASSES)
    data.write(f"label_studio:{tmp_path / 'ls'}", labels)
    (task,) = json.loads((tmp_path / "ls" / "tasks.json").read_text())
    task["data"]["image"] = "/data/upload/1/0a1b2c3d-photo.jpg"
    (tmp_path / "export.json").write_text(json.dumps([task]))
    ((box, label, difficult),) = corrections.of_label_studio(tmp_path / "export.json", labels)[0]
    assert label == 0 and difficult
    assert box == pytest.approx([0.25, 0.5, 0.3, 0.6])
    assert corners(one) == pytest.approx(stored)


def region(**value):
    sides = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    return {"type": "rectanglelabels", "value": sides | value}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no JSON export of Label Studio: expected a list of tasks"),
        ([{"data": {}}], "task 1 is none of Label Studio's"),
        ([{"data": {"image": "x/image9.png"}}], "task 1 is none"),
        (("image9.png", region()), "image9.png: by hand has no image of this name"),
        (("image0.png", region(rotation=20)), "turned by 20 degrees"),
        (("image0.png", region(rectanglelabels=[])), "with 0 classes"),
        (("image0.png", region(rectanglelabels=["cow"])), "unknown class 'cow'; expected one of"),
        (("image0.png", region(width=0)), "has no area"),
        (("image0.png", region(x="left")), "x must be a number"),
        (("image0.png", {"type": "polygonlabels", "value": {}}), "got 'polygonlabels'"),
    ],
)
def test_refused_exports(tmp_path, content, said):
    if isinstance(content, tuple):
        name, one = content
        task = {"data": {"image": f"/data/local-files/?d=a/{name}"}, "annotations": [{}]}
        task["annotations"][0]["result"] = [one]
        content = [task]
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        corrections.of_label_studio(tmp_path / "export.json", dataset([("cat", A)]))


def test_a_corrected_data_set(reviewed, tmp_path):
    """What CVAT or FiftyOne export is a data set; its images are known by their names."""
    labels, found = reviewed
    data.write(f"coco:{tmp_path / 'coco'}", proposed(found, labels))
    corrected = data.open(f"coco:{tmp_path / 'coco'}")
    examples, done = corrections.replace(labels, corrections.of_dataset(corrected, labels))
    assert done == {"add": 1, "remove": 0, "move": 1, "rename": 1, "keep": 0}
    assert examples[2].labels.tolist() == [2]
    corrected.examples[0].size = (50, 50)
    with pytest.raises(ValueError, match="has 50 x 50 pixels in coco:.*, 200 x 100 in by hand"):
        corrections.of_dataset(corrected, labels)
    two = Dataset([*labels, example("image0", [])], CLASSES)
    with pytest.raises(ValueError, match="two images have the id"):
        corrections.of_dataset(corrected, two)


def test_remarks_are_written_for_the_tools(reviewed, tmp_path):
    labels, found = reviewed
    whole = proposed(found, labels)
    for kind in ("cvat", "fiftyone", "label_studio"):
        data.write(f"{kind}:{tmp_path / kind}", whole)
        data.write(f"{kind}:{tmp_path / 'plain' / kind}", labels)
    rank = next(k for k, s in enumerate(found, start=1) if s.kind == "disputed")
    remark = f"{rank} disputed {found[rank - 1].score:.3f}: rename cat to fox"
    assert remark in (tmp_path / "cvat" / "annotations.xml").read_text()
    assert '"name": "remark"' in (tmp_path / "cvat" / "labels.json").read_text()
    content = json.loads((tmp_path / "fiftyone" / "labels.json").read_text())
    (entry,) = content["labels"]["image2"]
    assert entry["attributes"] == {"remark": remark} and content["classes"][entry["label"]] == "fox"
    tasks = json.loads((tmp_path / "label_studio" / "tasks.json").read_text())
    texts = [r["meta"]["text"] for t in tasks for r in t["predictions"][0]["result"]]
    assert [remark] in texts
    for kind in ("cvat", "fiftyone", "label_studio"):  # where nothing is remarked, nothing is new
        files = (tmp_path / "plain" / kind).rglob("*")
        assert not any('"remark"' in f.read_text() for f in files if f.suffix in (".json", ".xml"))
