import numpy as np
import pytest

from tests.data.folders import write_image
from yolov1 import data
from yolov1.data.formats.yolo_settings import read_settings

LABELS = "0 0.5 0.25 0.5 0.25\n1 0.5 0.5 1 1\n"
PLACES = {
    "images, labels, split below": ("images/train", "labels/train", ""),
    "split, images and labels below": ("train/images", "train/labels", ""),
    "side by side with a list": ("obj_train_data", "obj_train_data", "data/obj_train_data/a.jpg\n"),
    "images and labels with a list": ("images", "labels", "./images/a.jpg\n"),
}


def write_yolo(root, images="images/train", labels="labels/train", listed="", text=LABELS):
    write_image(root / images / "a.jpg")
    (root / labels).mkdir(parents=True, exist_ok=True)
    (root / labels / "a.txt").write_text(text)
    (root / "classes.txt").write_text("cat\ndog\n")
    if listed:
        (root / "train.txt").write_text(listed)
    return root


@pytest.mark.parametrize("place", PLACES)
def test_layouts(tmp_path, place):
    root = write_yolo(tmp_path, *PLACES[place])
    for split in ("train", None):
        dataset = data.open(f"yolo:{root}", split)
        (example,) = dataset
        assert dataset.classes == ("cat", "dog") and example.image_id == "a"
        np.testing.assert_allclose(
            example.boxes_cxcywh, [[0.5, 0.25, 0.5, 0.25], [0.5, 0.5, 1, 1]], atol=1e-7
        )
        assert example.labels.tolist() == [0, 1] and not example.difficult.any()
        assert example.size == (40, 60)
    with pytest.raises(FileNotFoundError, match="no split 'test'; looked for"):
        data.open(f"yolo:{root}", "test")


def test_darknet_data_file(tmp_path):
    root = write_yolo(tmp_path, *PLACES["side by side with a list"])
    (root / "classes.txt").rename(root / "obj.names")
    (root / "train.txt").rename(root / "list.txt")
    settings = "classes = 2\ntrain = data/list.txt\nvalid = data/list.txt\nnames = data/obj.names\n"
    (root / "obj.data").write_text(settings)
    for spec in (root, root / "obj.data"):
        for split in ("train", "val"):
            dataset = data.open(f"yolo:{spec}", split)
            assert len(dataset) == 1 and dataset.classes == ("cat", "dog")


@pytest.mark.parametrize(
    "names", ["names: [cat, 'dog']", "names: {0: cat, 1: dog}", "names:\n  - cat\n  - dog",
              "names:\n  0: cat\n  1: dog", "names:\n- cat\n- \"dog\""]
)  # fmt: skip
def test_data_yaml(tmp_path, names):
    root = write_yolo(tmp_path, "images/part", "labels/part")
    (root / "classes.txt").unlink()
    yaml = (
        f"# a comment\npath: .\ntrain: images/part  # another\nval: images/part\nnc: 2\n{names}\n"
    )
    (root / "data.yaml").write_text(yaml)
    dataset = data.open(f"yolo:{root}", "train+val")
    assert dataset.classes == ("cat", "dog") and len(dataset) == 1


def test_settings_are_texts_as_they_stand(tmp_path):
    """YAML's own rules would make a boolean, a number and a date of these names."""
    file = tmp_path / "data.yaml"
    file.write_text("\ufeffnames: [no, 007, 1.0, 2001-01-01]\nempty:\ntest: ~\n", "utf-8")
    assert read_settings(file) == {"names": ["no", "007", "1.0", "2001-01-01"]}


@pytest.mark.parametrize(
    "text, reason",
    [
        ("2 0.5 0.5 0.1 0.1", "line 1: unknown class 2; expected an index below 2"),
        ("0.5 0.5 0.5 0.1 0.1", "unknown class 0.5"),
        ("0 0.5 0.5 0.1", "line 1 must be 'class cx cy w h'"),
        ("0 0.5 0.5 0.1 0.1 0.9", "must be 'class cx cy w h'"),
        ("0 0.1 0.1 0.1 0.1\n0 a b c d", "line 2 must be"),
        ("0 30 20 10 10", "fractions of the image, not pixels"),
        ("0 nan 0.5 0.1 0.1", "not a finite number"),
        ("0 0.5 0.5 -0.1 0.1", "is inverted"),
        ("0 1.4 0.5 0.1 0.1", "outside the image"),
    ],
)
def test_bad_labels_are_refused(tmp_path, text, reason):
    root = write_yolo(tmp_path, text=text)
    with pytest.raises(data.BadExampleError, match=rf"a\.jpg: .*{reason}"):
        data.open(f"yolo:{root}")


def test_missing_label_file_and_empty_one(tmp_path):
    root = write_yolo(tmp_path)
    write_image(root / "images" / "train" / "b.jpg", seed=1)
    dataset = data.open(f"yolo:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["a"]
    assert "b.txt is missing; write an empty one" in dataset.skipped[0][1]
    (root / "labels" / "train" / "b.txt").write_text("")
    assert [len(e.labels) for e in data.open(f"yolo:{root}")] == [2, 0]


def test_missing_image_in_a_list(tmp_path):
    root = write_yolo(tmp_path, *PLACES["images and labels with a list"])
    (root / "train.txt").write_text("images/a.jpg\nimages/c.jpg\n")
    (root / "labels" / "c.txt").write_text("")
    with pytest.raises(data.BadExampleError, match=r"1 of 2 .*\n.*c\.jpg does not exist"):
        data.open(f"yolo:{root}", "train")


def test_boxes_that_stick_out_are_clipped(tmp_path):
    dataset = data.open(f"yolo:{write_yolo(tmp_path, text='0 0.9 0.5 0.4 0.2')}")
    np.testing.assert_allclose(dataset[0].boxes_cxcywh, [[0.85, 0.5, 0.3, 0.2]], rtol=1e-6)
    assert "is clipped" in dataset.notes[0][1]


def test_no_class_names(tmp_path):
    (write_yolo(tmp_path) / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no class names. Write one name per line"):
        data.open(f"yolo:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.open(f"yolo:{tmp_path / 'none'}")
