import json

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import write_image
from yolov1 import data
from yolov1.grid import GridSpec

BOX = [0.1, 0.2, 0.4, 0.5]
CXCYWH = [0.3, 0.45, 0.4, 0.5]


def entry(label, box=BOX, **more):
    return {"label": label, "bounding_box": box, **more}


def write_export(file, labels, classes=("cat", "dog"), images=None, suffix=".jpg"):
    """A labels file and an image for each of its ids, in `images` or ``data/`` beside the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"classes": classes and list(classes), "labels": labels}
    file.write_text(json.dumps(content))
    for k, name in enumerate(labels):
        write_image((images or file.parent / "data") / f"{name}{suffix}", seed=k)
    return file.parent


LAYOUTS = {
    "an export for each split": ("train/labels.json", "train/data"),
    "the post": ("labels/train/labels.json", "images/train"),
    "a file for each split": ("labels/train.json", "images/train"),
    "labels with the images": ("images/train/labels.json", "images/train"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    file, images = LAYOUTS[layout]
    labels = {"a": [entry(1), entry(0, [0, 0, 1, 1])], "b": None, "c": []}
    write_export(tmp_path / file, labels, images=tmp_path / images)
    for spec, split in ((tmp_path, "train"), (tmp_path, None), (tmp_path / file, None)):
        dataset = data.open(f"fiftyone:{spec}", split)
        assert dataset.classes == ("cat", "dog") and dataset.notes == []
        first, second, third = dataset
        np.testing.assert_allclose(first.boxes_cxcywh, [CXCYWH, [0.5, 0.5, 1, 1]], rtol=1e-6)
        assert first.labels.tolist() == [1, 0] and not first.difficult.any()
        assert first.image_id == "a" and first.size == (40, 60)
        # null is an image that nobody labelled, an empty list one without objects.
        assert len(second.labels) == len(third.labels) == 0
    with pytest.raises(FileNotFoundError, match=r"no split 'test'; looked for .*test/labels\.json"):
        data.open(f"fiftyone:{tmp_path}", "test")


def test_one_folder_has_no_split(tmp_path):
    write_export(tmp_path / "labels.json", {"a": None, "sub/b": [entry("dog")]})
    dataset = data.open(f"fiftyone:{tmp_path}")
    assert [e.image_id for e in dataset] == ["a", "sub/b"] and dataset[1].labels.tolist() == [1]
    with pytest.raises(FileNotFoundError, match=r"labels\.json is not split: leave the split out"):
        data.open(f"fiftyone:{tmp_path}", "train")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.open(f"fiftyone:{tmp_path / 'none'}")
    (tmp_path / "labels.json").unlink()
    with pytest.raises(FileNotFoundError, match="no labels file; looked for"):
        data.open(f"fiftyone:{tmp_path}")


def test_splits_unite_and_names_come_from_all_of_them(tmp_path):
    write_export(tmp_path / "train" / "labels.json", {"a": [entry("dog")]}, None)
    write_export(tmp_path / "validation" / "labels.json", {"b": [entry("cat")], "c": None}, None)
    train = data.open(f"fiftyone:{tmp_path}", "train")
    assert train.classes == ("cat", "dog") and train[0].labels.tolist() == [1]
    both = data.open(f"fiftyone:{tmp_path}", "train+val")
    assert [e.image_id for e in both] == ["a", "b", "c"]
    assert len(data.open(f"fiftyone:{tmp_path}")) == 3
    dogs = data.open(f"fiftyone:{tmp_path}", classes="dog")
    assert [e.labels.tolist() for e in dogs] == [[0], [], []]
    assert data.open(f"fiftyone:{tmp_path}/train/labels.json").classes == ("dog",)


def test_classes_of_all_splits_count_and_ids_stay_unique(tmp_path):
    write_export(tmp_path / "train" / "labels.json", {"a": [entry(0)]})
    write_export(tmp_path / "test" / "labels.json", {"a": [entry("dog")]}, None)
    both = data.open(f"fiftyone:{tmp_path}", "train+test")
    assert both.classes == ("cat", "dog") and [e.labels.tolist() for e in both] == [[0], [1]]
    assert len({e.image_id for e in both}) == 2
    write_export(tmp_path / "test" / "labels.json", {"a": [entry(0)]}, ("dog", "cat"))
    write_export(tmp_path / "val" / "labels.json", {"b": [entry("1")]}, ("cat", "cow"))
    for split in ("train", "test", "val", "train+test"):
        dataset = data.open(f"fiftyone:{tmp_path}", split)
        assert dataset.classes == ("dog", "cat", "cow")  # whichever split is opened
        assert "list different classes" in dataset.notes[0][1]
    names = [dataset.classes[k] for e in data.open(f"fiftyone:{tmp_path}") for k in e.labels]
    assert sorted(names) == ["cat", "cow", "dog"]


@pytest.mark.parametrize(
    "classes, entries, reason",
    [
        (("cat", "dog"), [entry(2)], "object 1 has the unknown label 2; expected an index below 2"),
        (("cat", "dog"), [entry(0), entry(-1)], "object 2 has the unknown label -1"),
        (("cat", "dog"), [entry(True)], "unknown label True"),
        (("cat", "dog"), [entry(0, attributes=["x"])], "attributes must be an object, got .'x'."),
        (("cat", "dog"), [entry(None)], "unknown label None"),
        (("cat", "dog"), [entry("cow")], "unknown label 'cow'; .* one of cat, dog"),
        (None, [entry(0)], "classes is null, so a label must be a name; got 0"),
        (("cat",), [entry(0, None)], "bounding_box must be 4 numbers, got None"),
        (("cat",), [{"label": 0}], "bounding_box must be 4 numbers"),
        (("cat",), [entry(0, [0.1, 0.1, 0.2])], "bounding_box must be 4 numbers"),
        (("cat",), [entry(0, [0.1, "x", 0.2, 0.2])], "bounding_box must be 4 numbers"),
        (("cat",), [entry(0, "0011")], "bounding_box must be 4 numbers, got '0011'"),
        (("cat",), [entry(0, [False, False, True, True])], "bounding_box must be 4 numbers"),
        (("cat",), [entry(0, [0.1, float("nan"), 0.2, 0.2])], "must be finite"),
        (("cat",), [entry(0, [10, 10, 20, 20])], "fractions of the image, not pixels"),
        (("cat",), [entry(0, [0.5, 0.5, -0.2, 0.2])], "is inverted"),
        (("cat",), [entry(0, [1.2, 0.5, 0.2, 0.2])], "outside the image"),
        (("cat",), ["person"], "object 1 must have a label and a bounding_box, got 'person'"),
        (("cat",), 5, "must be a list or null, got 5"),
    ],
)
def test_bad_labels_are_refused(tmp_path, classes, entries, reason):
    labels = {"a": entries, "b": [entry("cat")]}
    root = write_export(tmp_path / "labels.json", labels, classes)
    with pytest.raises(data.BadExampleError, match=rf"labels\.json: a: .*{reason}"):
        data.open(f"fiftyone:{root}")
    dataset = data.open(f"fiftyone:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and len(dataset.skipped) == 1


def test_missing_damaged_and_unlisted_images(tmp_path):
    root = write_export(tmp_path / "labels.json", {"a": None, "b": None, "c": None})
    write_image(root / "data" / "d.jpg")
    (root / "data" / "a.jpg").unlink()
    (root / "data" / "b.jpg").write_bytes((root / "data" / "b.jpg").read_bytes()[:500])
    dataset = data.open(f"fiftyone:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["c"]
    missing, damaged = (reason for _, reason in dataset.skipped)
    assert "the image a is missing; looked in" in missing and "is damaged" in damaged
    assert dataset.notes == [
        (str(root / "data" / "d.jpg"), "labels.json does not list it; it is left out")
    ]


def test_a_second_image_of_one_id_is_noted(tmp_path):
    root = write_export(tmp_path / "labels.json", {"a": [entry(0)], "b": None})
    write_image(root / "data" / "a.png")
    dataset = data.open(f"fiftyone:{root}")
    assert [e.path.name for e in dataset] == ["a.jpg", "b.jpg"]
    ((file, note),) = dataset.notes
    assert file.endswith("a.png") and note == "left out: it has the id of another, a.jpg"
    # Whole paths say which is which: both are listed.
    labels = {str(root / "data" / name): [] for name in ("a.jpg", "a.png", "b.jpg")}
    (root / "labels.json").write_text(json.dumps({"classes": ["cat"], "labels": labels}))
    assert data.open(f"fiftyone:{root}").notes == []


def test_whole_paths_and_attributes(tmp_path):
    """FiftyOne writes whole paths with abs_paths=True."""
    image = tmp_path / "elsewhere" / "x.png"
    write_image(image)
    attributes = [{"difficult": True}, {"iscrowd": 1}, {"difficult": "0"}, {"IsGroupOf": True}, {}]
    boxes = [entry(0, [0.1 * k, 0.1, 0.2, 0.2], attributes=a) for k, a in enumerate(attributes)]
    labels = {str(image): boxes, str(tmp_path / "y"): []}
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"classes": ["cat"], "labels": labels}))
    dataset = data.open(f"fiftyone:{file}", bad_examples="skip")
    assert dataset[0].image_id == "x" and dataset[0].path == image
    assert dataset[0].difficult.tolist() == [True, True, False, False, False]
    assert "is missing" in dataset.skipped[0][1]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{", "is not JSON"),
        ("[]", "TypeError"),
        ("{}", "KeyError 'classes'"),
        ('{"classes": ["a"], "labels": {"x": [], "x": []}}', "has the key 'x' twice"),
        ('{"classes": 3, "labels": {}}', "classes must be a list of names or null, got 3"),
        ('{"classes": "Person", "labels": {}}', "a list of names or null, got 'Person'"),
        ('{"classes": {"0": "Person"}, "labels": {}}', "a list of names or null, got {"),
        ('{"classes": [null], "labels": {}}', r"a list of names or null, got \[None\]"),
        ('{"classes": [], "labels": [1]}', r"labels must be an object, got \[1\]"),
    ],
)
def test_not_a_labels_file(tmp_path, content, reason):
    (tmp_path / "labels.json").write_text(content)
    what = "not the labels file of a FiftyOneImageDetectionDataset"
    with pytest.raises(ValueError, match=f"{what} .*: .*{reason}"):
        data.open(f"fiftyone:{tmp_path}")


def test_class_names_that_do_not_do(tmp_path):
    write_export(tmp_path / "labels.json", {"a": None}, ("cat", "cat"))
    with pytest.raises(ValueError, match="two classes have one name"):
        data.open(f"fiftyone:{tmp_path}")
    write_export(tmp_path / "labels.json", {"a": None}, None)
    with pytest.raises(ValueError, match="no class names"):
        data.open(f"fiftyone:{tmp_path}")


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_images_are_trained_on(tmp_path, mode):
    """The post removes them by hand, and from its test images only."""
    images = tmp_path / "data"
    images.mkdir()
    colour = 60 if mode == "L" else (200, 100, 0, 128)
    Image.new(mode, (32, 32), colour).save(images / "a.png")
    Image.new("RGB", (32, 32), (10, 20, 30)).save(images / "b.png")
    content = {"classes": ["cat"], "labels": {"a": [entry(0)], "b": None}}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = data.open(f"fiftyone:{tmp_path}")
    data.write_yolo(dataset, tmp_path / "yolo", "train")
    grid = GridSpec(S=2, B=1, C=1, image_size=32)
    expected = [60, 60, 60] if mode == "L" else [227, 177, 127]  # on white, at half opacity
    for readable in (dataset, data.open(f"yolo:{tmp_path / 'yolo'}", "train")):
        batches = data.training_batches(readable, grid, 2, seed=0, steps=1, augmentation="none")
        images, targets, indices = (part.numpy() for part in next(iter(batches)))
        grey = images[list(indices).index(0)]
        assert images.shape == (2, 32, 32, 3)
        np.testing.assert_allclose(grey.reshape(-1, 3) * 255, [expected] * 1024, atol=1.01)
        assert targets[list(indices).index(0), ..., 1].sum() == 1
        assert targets[list(indices).index(1)].sum() == 0
