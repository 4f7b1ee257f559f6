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


# ------------------------------------------------------------------------------- what people bring


def write_pairs(root, **labels):
    """Images ``images/<name>.jpg`` with one box of the class that is given. "__" is a folder."""
    for k, (name, label) in enumerate(labels.items()):
        name = name.replace("__", "/")
        write_image(root / "images" / f"{name}.jpg", seed=k)
        file = root / "labels" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{label} 0.5 0.5 0.5 0.5\n")
    return root


def ids(root, split=None, **options):
    return [e.image_id for e in data.open(f"yolo:{root}", split, **options)]


def test_several_folders_and_lists_of_a_split(tmp_path):
    root = write_pairs(tmp_path, a__x=0, b__y=0, c__z=0)
    (root / "more.txt").write_text("./images/c/z.jpg\n")
    (root / "data.yaml").write_text(
        "train:\n  - images/a\n  - images/b\nval: [more.txt, images/b/y.jpg]\n"
        "names: [ 'ant',\n 'bee' ]\n"
    )
    assert ids(root, "train") == ["x", "y"] and ids(root, "val") == ["z", "y"]
    assert ids(root) == ids(root, "train+val") == ["x", "y", "z"]
    (root / "data.yaml").write_text("train: [images/a, {x: images/b}]\nnames: [ant]\n")
    with pytest.raises(ValueError, match="train must be a path or a list of paths"):
        ids(root, "train")


def test_names_by_their_ids(tmp_path):
    root = write_pairs(tmp_path, x=5)
    (root / "data.yaml").write_text("train: images\nnames:\n  5: dog\n  2: cat\nnc: 9\n")
    dataset = data.open(f"yolo:{root}", "train")
    assert [dataset.classes[k] for k in dataset[0].labels] == ["dog"]
    assert "no name for class 0, 1, 3, 4" in dataset.notes[0][1]
    assert "nc is 9, but there are 6 names" in dataset.notes[1][1]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("train: images\ntrain: other\nnames: [a]", "the key 'train' is there twice"),
        ("names: [a, a]\ntrain: images", "class 1 repeats the name 'a' of class 0"),
        ("names: {x: a}\ntrain: images", "a key of names must be a whole number, got 'x'"),
        ("names: nowhere.names\ntrain: images", "file of names nowhere.names does not exist"),
        ("names: [a, [b]]\ntrain: images", "names must be texts"),
        ("- a\n- b", "must have lines 'key: value'"),
        ("a: [1", "cannot be read"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, reason):
    root = write_pairs(tmp_path, x=0)
    (root / "classes.txt").write_text("other\n")
    (root / "data.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"data\.yaml.*{reason}"):
        ids(root, "train")


def test_settings_of_other_programs_are_noted(tmp_path):
    root = write_pairs(tmp_path, x=0)
    (root / "classes.txt").write_text("cat\n")
    (root / "broken.yaml").write_text("a: [1")
    (root / "hyp.yaml").write_text("lr0: 0.01")
    dataset = data.open(f"yolo:{root}")
    assert dataset.classes == ("cat",) and "broken.yaml" in dataset.notes[0][0]
    (root / "obj.names").write_text("dog\n")
    with pytest.raises(ValueError, match="classes.txt says cat, .*obj.names says dog"):
        ids(root)


def test_a_yaml_elsewhere(tmp_path):
    root = write_pairs(tmp_path / "store", train__a=0, train__b=0, val__c=0)
    (tmp_path / "cfg").mkdir()
    file = tmp_path / "cfg" / "data.yaml"
    file.write_text("path: ../store\ntrain: list.txt\nval: images/val\nnames: [cell]\n")
    (root / "list.txt").write_text("./images/train/a.jpg\n./images/train/b.jpg\n")
    assert ids(file, "train") == ["a", "b"] and ids(file, "val") == ["c"]
    assert ids(file) == ["a", "b", "c"]


def test_paths_of_another_machine(tmp_path):
    root = write_pairs(tmp_path / "in", train__a=0, train__b=0, val__c=0)
    yaml = "train: /kaggle/working/{}\nval: /kaggle/working/{}\nnames: [cell]\n"
    (root / "data.yaml").write_text(yaml.format("images/train", "images/val"))
    dataset = data.open(f"yolo:{root}", "train")
    assert [e.image_id for e in dataset] == ["a", "b"]
    assert "is not here" in dataset.notes[0][1]
    # Both could only be all of images/.
    (root / "data.yaml").write_text(yaml.format("train/images", "valid/images"))
    for split in ("train", "val", None):
        with pytest.raises(FileNotFoundError, match="/kaggle/working/train/images|valid/images"):
            ids(root, split)


def test_lists_weigh_images(tmp_path):
    root = write_pairs(tmp_path, a=0, b=0)
    (root / "classes.txt").write_text("cat\n")
    (root / "train.txt").write_bytes(
        b"\xef\xbb\xbfimages/a.jpg\r\nimages/b.jpg\r\nimages\\a.jpg\r\n"
    )
    (root / "val.txt").write_text("images/b.jpg\n")
    dataset = data.open(f"yolo:{root}", "train")
    assert [e.image_id for e in dataset] == ["a", "b", "a#2"]
    assert "line 3 repeats line 1: the image counts again" in dataset.notes[0][1]
    assert ids(root, "train+val") == ["a", "b", "a#2"] and ids(root) == ["a", "b"]


def test_what_a_folder_holds_besides(tmp_path):
    root = write_pairs(tmp_path, cam1__frame=0, cam2__frame=1, x=0)
    (root / "classes.txt").write_text("cat\ndog\n")
    write_image(root / "extra" / "y.jpg")
    (root / "labels" / "gone.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "README.txt").write_text("Made by hand\n")
    (root / "images" / "z.heic").write_bytes(b"heic")
    (root / "images" / "._x.jpg").write_bytes(b"\0")
    (root / "images" / ".hidden.jpg").write_bytes(b"\0")
    dataset = data.open(f"yolo:{root}")
    assert [e.image_id for e in dataset] == ["cam1/frame", "cam2/frame", "x"]
    assert sorted(file.rsplit("/", 1)[1] for file, _ in dataset.notes) == [
        ".hidden.jpg", "gone.txt", "y.jpg", "z.heic",
    ]  # fmt: skip
    table = data.to_table(dataset)
    for example in dataset:  # each has its own box
        boxes = data.read_annotation(table, example.image_id, dataset.classes)
        assert boxes.labels.tolist() == example.labels.tolist()


def test_darknet_settings_with_indents_and_comments(tmp_path):
    root = write_pairs(tmp_path, a=0)
    (root / "obj.names").write_text("cat\n")
    (root / "train.txt").write_text("data/images/a.jpg\n")
    (root / "obj.data").write_text(
        "# made by hand\nclasses= 1\n  train  = data/train.txt\n  names = data/obj.names\nbackup\n"
    )
    assert ids(root, "train") == ["a"] and ids(root / "obj.data", "train") == ["a"]
    (root / "obj.names").unlink()
    (root / "classes.txt").write_text("dog\n")
    with pytest.raises(FileNotFoundError, match="obj.names does not exist"):
        ids(root, "train")


def test_label_files_of_any_encoding_are_named(tmp_path):
    root = write_pairs(tmp_path, a=0, b=0)
    (root / "classes.txt").write_text("cat\n")
    (root / "labels" / "a.txt").write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5")
    (root / "labels" / "b.txt").write_bytes("0 0.5 0.5 0.5 0.5".encode("utf-16"))
    dataset = data.open(f"yolo:{root}", bad_examples="skip")
    assert [len(e.labels) for e in dataset] == [1]
    assert "b.txt is not text in UTF-8" in dataset.skipped[0][1]


def test_home_folder(tmp_path, monkeypatch):
    write_pairs(tmp_path / "set", a=0)
    (tmp_path / "set" / "classes.txt").write_text("cat\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ids("~/set") == ["a"]


def test_an_object_labelled_twice(tmp_path):
    root = write_pairs(tmp_path, a=0)
    (root / "classes.txt").write_text("cat\ndog\n")
    (root / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n0 0.5 0.5 0.50 0.5\n")
    dataset = data.open(f"yolo:{root}")
    assert dataset[0].labels.tolist() == [0, 1]
    assert "box 3 (cat) [0.25, 0.25, 0.75, 0.75] repeats box 1" in dataset.notes[0][1]


def test_darknets_own_reading_of_its_settings_is_remarked_on(tmp_path):
    root = write_pairs(tmp_path, a=0, b=0)
    (root / "classes.txt").write_text("cat\n")
    (root / "my list.txt").write_text("images/a.jpg\n")
    (root / "other.txt").write_text("images/b.jpg\n")
    (root / "obj.data").write_text("train = my list.txt\ntrain = other.txt\nnames = classes.txt\n")
    dataset = data.open(f"yolo:{root}", "train")
    assert [example.image_id for example in dataset] == ["a"]
    notes = str(dataset.notes)
    assert "line 1: train = my list.txt has spaces; Darknet deletes them" in notes
    assert "line 2: train is not used: line 1 comes first" in notes
