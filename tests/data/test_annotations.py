import json

import numpy as np
import pytest

from tests.data.folders import write_voc
from yolov1 import data
from yolov1.data.annotations import COLUMNS

BOXES = np.float32([[0.3, 0.35, 0.4, 0.5], [0.5, 0.5, 1, 1]])


@pytest.fixture
def dataset(tmp_path):
    objects = [("cat", (6, 4, 30, 24), False), ("dog", (0, 0, 60, 40), False)]
    root = write_voc(tmp_path / "voc", {"a": objects, "b": [], "c": objects[1:]})
    return data.open(f"voc:{root}", "train")


def test_table(dataset):
    table = data.to_table(dataset)
    assert tuple(table) == COLUMNS and table["id"] == ["a", "a", "c"]
    assert table["objClass"].tolist() == [0, 1, 1]
    rows = np.stack([table[name] for name in COLUMNS[2:]], axis=1)
    np.testing.assert_allclose(rows, BOXES[[0, 1, 1]], rtol=1e-6)
    assert all(len(column) == 0 for column in data.to_table(dataset[1:2]).values())


def test_every_form_says_the_same(dataset, tmp_path):
    data.write_yolo(dataset, tmp_path, "train")
    data.write_fiftyone(dataset, tmp_path)
    table = data.to_table(dataset)
    lists = {name: list(column) for name, column in table.items()}
    named = dataset.classes
    for source, classes, expected in (
        (tmp_path / "labels" / "train" / "a.txt", named, named),
        (str(tmp_path / "labels" / "train" / "a.txt"), None, ("0", "1")),
        (tmp_path / "labels.json", None, named),
        (str(tmp_path / "labels.json"), named, named),
        (table, None, ("0", "1")),
        (lists, named, named),
    ):
        boxes = data.read_annotation(source, "a", classes)
        np.testing.assert_allclose(boxes.boxes_cxcywh, BOXES, rtol=1e-6)
        assert boxes.labels.tolist() == [0, 1] and boxes.classes == expected
    for source in (tmp_path / "labels" / "train" / "b.txt", tmp_path / "labels.json", table):
        boxes = data.read_annotation(source, "b", named)
        assert boxes.boxes_cxcywh.shape == (0, 4) and boxes.labels.shape == (0,)


def test_data_frame(dataset):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; it is no dependency")
    frame = pandas.DataFrame(data.to_table(dataset))
    boxes = data.read_annotation(frame, "a", dataset.classes)
    np.testing.assert_allclose(boxes.boxes_cxcywh, BOXES, rtol=1e-6)
    assert boxes.labels.tolist() == [0, 1]


def test_names_as_labels(tmp_path):
    file = tmp_path / "labels.json"
    entries = {"x": [{"label": "dog", "bounding_box": [0, 0, 1, 1]}]}
    other = {"y": [{"label": "cat", "bounding_box": [0, 0, 1, 1]}]}
    file.write_text(json.dumps({"classes": None, "labels": entries | other}))
    boxes = data.read_annotation(file, "x")
    assert boxes.labels.tolist() == [1] and boxes.classes == ("cat", "dog")
    assert data.read_annotation(file, "x", ("dog",)).labels.tolist() == [0]
    with pytest.raises(data.BadExampleError, match="image y: unknown class 'cat'; .* of dog"):
        data.read_annotation(file, "y", ("dog",))
    with pytest.raises(ValueError, match="has 2 images; say which with image_id"):
        data.read_annotation(file)
    with pytest.raises(KeyError, match="no image 'z'"):
        data.read_annotation(file, "z")
    file.write_text(json.dumps({"classes": None, "labels": entries}))
    assert data.read_annotation(file).labels.tolist() == [0]


def row(**changes):
    table = dict(zip(COLUMNS, (["a"], [0], [0.5], [0.5], [0.2], [0.2]), strict=True))
    return table | {name: [value] for name, value in changes.items()}


def test_one_image_in_a_table_needs_no_id_and_numbers_may_be_floats():
    boxes = data.read_annotation(row(objClass=2.0))
    assert boxes.labels.tolist() == [2] and boxes.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"objClass": 1}, "image a: unknown class 1; expected an index below 1"),
        ({"objClass": 0.5}, "unknown class 0.5"),
        ({"objClass": -1}, "unknown class -1"),
        ({"boxWidth": float("nan")}, "image a: .* not a finite number"),
        ({"boxWidth": -0.2}, "is inverted"),
        ({"boxCenterX": 1.9}, "outside the image"),
        ({"boxCenterX": 200}, "image a: boxes must be fractions of the image, not pixels"),
        ({"boxWidth": "x"}, "image a: boxWidth must be a number, got 'x'"),
    ],
)
def test_bad_rows_are_refused(changes, reason):
    with pytest.raises(data.BadExampleError, match=reason):
        data.read_annotation(row(**changes), "a", ("cat",))


def test_ids_that_became_numbers(dataset):
    """0001 read as 1 is another image, not one without objects."""
    table = {"id": [1], "objClass": [0], "boxCenterX": [0.5], "boxCenterY": [0.5]}
    table |= {"boxWidth": [0.2], "boxHeight": [0.2]}
    with pytest.raises(ValueError, match="ids of the table are like 1, got image_id '0001'"):
        data.read_annotation(table, "0001")
    assert len(data.read_annotation(table, 1).labels) == 1
    assert len(data.read_annotation(table, 2).labels) == 0  # an image without objects has no row


def test_bad_sources_are_refused(tmp_path):
    table = row()
    del table["objClass"]
    with pytest.raises(KeyError, match="no column objClass"):
        data.read_annotation(table)
    with pytest.raises(ValueError, match="source must be a .txt file"):
        data.read_annotation(tmp_path / "a.xml")
    with pytest.raises(FileNotFoundError):
        data.read_annotation(tmp_path / "a.txt")
    file = tmp_path / "a.txt"
    file.write_text("0 0.5 0.5 0.1\n")
    with pytest.raises(data.BadExampleError, match=r"a\.txt: line 1 must be"):
        data.read_annotation(file)
    file.write_text("2000000000 0.5 0.5 0.1 0.1\n")
    with pytest.raises(data.BadExampleError, match=r"a\.txt: .* 2000000000 is no class index"):
        data.read_annotation(file)
