"""What the classes of record files are called."""

import pytest

from tests.data.records import classified, detection, write
from yolov1 import data
from yolov1.data.formats.label_map import label_map_text, parse_label_map


@pytest.mark.parametrize("label_map", ["label_map.pbtxt", "voc.pbtxt", "classes.txt"])
def test_labels_without_texts_take_their_names_from_a_file(tmp_path, label_map):
    numbers = {"object/class/text": None, "object/class/label": [3, 1]}
    write(tmp_path / "x.tfrecord", detection(**numbers))
    names = ("cat", "cow", "dog")
    text = "\n".join(names) if label_map == "classes.txt" else label_map_text(names)
    (tmp_path / label_map).write_text(text)
    dataset = data.open(f"records:{tmp_path}")
    assert dataset.classes == names and dataset[0].labels.tolist() == [2, 0]
    write(tmp_path / "y.tfrecord", detection(**numbers | {"object/class/label": [0, 1]}))
    with pytest.raises(data.BadExampleError, match=rf"unknown label 0; .*{label_map} has 1 to 3"):
        data.open(f"records:{tmp_path}")


def test_labels_without_any_names(tmp_path):
    write(tmp_path / "train.tfrecord", classified(10), classified(9))
    write(tmp_path / "val.tfrecord", classified(9))
    for split in ("train", "val", None):
        dataset = data.open(f"records:{tmp_path}", split)
        assert dataset.classes == ("class 9", "class 10")
    write(tmp_path / "test.tfrecord", classified(text="cat"))
    with pytest.raises(ValueError, match=r"some objects have texts \(cat, ...\), others numbers"):
        data.open(f"records:{tmp_path}")


def test_a_text_that_is_no_class_leaves_it_to_the_label(tmp_path):
    (tmp_path / "label_map.pbtxt").write_text(label_map_text(["n01", "n02"]))
    write(tmp_path / "x.tfrecord", classified(2, "tench, Tinca tinca"), classified(2, "n01"))
    assert [e.labels.tolist() for e in data.open(f"records:{tmp_path}")] == [[1], [0]]


def test_label_map_text():
    text = """# item { id: 9 name: 'no' }
    item { id: 2, name: "/m/1" display_name: "a \\"b\\"" keypoints { id: 7 label: "nose" } }
    item {
      name: 'it is'  # name: 'other'
      id: 1
    }"""
    assert parse_label_map(text) == {1: ("it is",), 2: ('a "b"', "/m/1")}
    assert list(parse_label_map(text)) == [1, 2]
    odd = ('say "a"', "back\\slash", "it's {", "# no")
    assert [names[0] for names in parse_label_map(label_map_text(odd)).values()] == list(odd)
    with pytest.raises(ValueError, match="needs an id and a name"):
        parse_label_map("item { id: 1 }")


def test_an_empty_label_map(tmp_path):
    write(tmp_path / "x.tfrecord", detection())
    (tmp_path / "label_map.pbtxt").write_text("")
    with pytest.raises(ValueError, match=r"label_map.pbtxt names no class"):
        data.open(f"records:{tmp_path}")


def test_display_names(tmp_path):
    text = 'item { id: 1 name: "/m/1" display_name: "dog" } item { id: 2 name: "cat" }'
    (tmp_path / "label_map.pbtxt").write_text(text)
    for k, first in enumerate(("/m/1", "dog")):
        texts = {"object/class/text": [first, "cat"]}
        file = write(tmp_path / f"{k}.tfrecord", detection(**texts))
        dataset = data.open(f"records:{file}")
        assert dataset.classes == ("dog", "cat") and dataset[0].labels.tolist() == [0, 1]


def test_label_maps_must_agree(tmp_path):
    texts = [label_map_text(("cat", "dog")), label_map_text(("dog", "cat"))]
    for name, text in zip(("train", "valid"), texts, strict=True):
        write(tmp_path / name / "x.tfrecord", detection(**{"object/class/label": [1, 2]}))
        (tmp_path / name / "label_map.pbtxt").write_text(text)
    (tmp_path / "train" / "graph.pbtxt").write_text('node { name: "x" }')
    assert len(data.open(f"records:{tmp_path / 'train'}")) == 1
    with pytest.raises(ValueError, match="name different classes: there is no telling"):
        data.open(f"records:{tmp_path}")
    (tmp_path / "valid" / "label_map.pbtxt").write_text(texts[0])
    dataset = data.open(f"records:{tmp_path}", "train")
    assert len(dataset) == 1 and dataset.notes[0][1] == "not read: it is no label map"
