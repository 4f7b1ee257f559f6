import json

import numpy as np
import pytest

from tests.data.folders import write_image
from yolov1 import data


def instances(**changes):
    content = {
        "images": [
            {"id": 70, "file_name": "a.jpg", "height": 40, "width": 60},
            {"id": 3, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 18, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 70, "category_id": 90, "bbox": [6, 4, 24, 20], "iscrowd": 0},
            {"id": 2, "image_id": 70, "category_id": 18, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        ],
    }
    return {**content, **changes}


def write_coco(root, content, file="annotations/instances_train2017.json", images="train2017"):
    for k, name in enumerate(("a.jpg", "b.jpg")):
        write_image(root / images / name, seed=k)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content))
    return root


LAYOUTS = {
    "as downloaded": ("annotations/instances_train2017.json", "train2017"),
    "one folder of images": ("annotations/instances_train.json", "images"),
    "all in one": ("train.json", "."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    file, images = LAYOUTS[layout]
    root = write_coco(tmp_path, instances(), file, images)
    for spec, split in ((root, "train"), (root, None), (root / file, None)):
        dataset = data.open(f"coco:{spec}", split)
        assert dataset.classes == ("cat", "dog")  # by id, which need not begin at 1
        first, second = dataset
        np.testing.assert_allclose(
            first.boxes_cxcywh, [[0.3, 0.35, 0.4, 0.5], [0.5, 0.5, 1, 1]], rtol=1e-6
        )
        assert first.labels.tolist() == [1, 0] and first.difficult.tolist() == [False, True]
        assert len(second.labels) == 0 and second.size == (40, 60)
    with pytest.raises(FileNotFoundError, match="no split 'val'"):
        data.open(f"coco:{root}", "val")


@pytest.mark.parametrize(
    "entry, reason",
    [
        ({"category_id": 1}, "unknown category 1"),
        ({"bbox": [1, 2, 3]}, "bbox must be four numbers"),
        ({"bbox": [1, 2, None, 4]}, "bbox must be four numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox must be finite"),
        ({"bbox": [1, 2, -3, 4]}, "is inverted"),
        ({"bbox": [100, 2, 3, 4]}, "outside the image"),
    ],
)
def test_bad_annotations(tmp_path, entry, reason):
    content = instances()
    content["annotations"][0].update(entry)
    root = write_coco(tmp_path, content)
    with pytest.raises(data.BadExampleError, match=rf"a\.jpg: .*{reason}"):
        data.open(f"coco:{root}", "train")
    dataset = data.open(f"coco:{root}", "train", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and len(dataset.skipped) == 1


def test_missing_image_and_wrong_size(tmp_path):
    content = instances()
    content["images"][0]["width"] = 61
    root = write_coco(tmp_path, content)
    (root / "train2017" / "b.jpg").unlink()
    with pytest.raises(data.BadExampleError) as error:
        data.open(f"coco:{root}", "train")
    assert "image of 61 x 40 pixels" in str(error.value)
    assert "the image b.jpg is missing" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        [], {"images": []}, instances(annotations=[{"id": 5}]), instances(images=[3]),
        instances(categories=[{"name": "x"}]), instances(images={"id": 1}),
        instances(categories=[{"id": 1, "name": "a"}, {"id": "1", "name": "b"}]),
    ],
)  # fmt: skip
def test_not_an_instances_file(tmp_path, content):
    root = write_coco(tmp_path, content)
    with pytest.raises(ValueError, match="not a COCO instances file"):
        data.open(f"coco:{root}", "train")
    (root / "annotations" / "instances_train2017.json").write_text("{")
    with pytest.raises(ValueError, match="not a COCO instances file"):
        data.open(f"coco:{root}", "train")


def test_classes_are_those_of_all_splits(tmp_path):
    write_coco(tmp_path, instances())
    write_coco(tmp_path, instances(), "annotations/instances_val2017.json", "val2017")
    assert len(data.open(f"coco:{tmp_path}", "train+val")) == 4
    other = instances(categories=[{"id": 90, "name": "dog"}, {"id": 18, "name": "cow"}])
    write_coco(tmp_path, other, "annotations/instances_val2017.json", "val2017")
    for split in ("train", "val", "train+val"):
        dataset = data.open(f"coco:{tmp_path}", split, bad_examples="skip")
        assert dataset.classes == ("cat", "cow", "dog")


# ------------------------------------------------------------------------------- what people bring


def reasons(root, content, **options):
    (root / "train.json").write_text(json.dumps(content))
    dataset = data.open(f"coco:{root / 'train.json'}", bad_examples="skip", **options)
    return dataset, dict(dataset.skipped), [why for _, why in dataset.notes]


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path, instances(), "train.json", ".")


def test_texts_that_are_numbers(root):
    content = instances(
        images=[{"id": "70", "file_name": "a.jpg", "height": "40", "width": 60.0}],
        categories=[{"id": "10", "name": "ten"}, {"id": 9.0, "name": "nine"}],
    )
    changes = ({"category_id": 10, "iscrowd": "0"}, {"category_id": "9", "iscrowd": "1"})
    for entry, change in zip(content["annotations"], changes, strict=True):
        entry.update(image_id=70.0, bbox=["6", 4, "24", 20.0], **change)
    dataset, skipped, _ = reasons(root, content)
    assert dataset.classes == ("nine", "ten") and not skipped
    assert dataset[0].labels.tolist() == [1, 0]
    assert dataset[0].difficult.tolist() == [False, True]


def test_ids_that_do_not_tell_images_apart(root):
    content = instances()
    content["images"][1]["id"] = 70
    with pytest.raises(data.BadExampleError, match="the id 70 is that of a.jpg and b.jpg"):
        reasons(root, content)
    content = instances()
    content["images"].append({"id": 4, "file_name": "a.jpg"})
    dataset, skipped, _ = reasons(root, content)
    assert [e.image_id for e in dataset] == ["b"] and "listed as 70 and 4" in str(skipped)
    assert dataset.notes == []  # it is listed, if badly


def test_annotations_of_no_image_and_images_of_no_annotation(root):
    content = instances()
    content["annotations"].append(
        {"id": 9, "image_id": 17, "category_id": 90, "bbox": [0, 0, 1, 1]}
    )
    write_image(root / "c.jpg")
    dataset, skipped, notes = reasons(root, content)
    assert len(dataset) == 2 and not skipped
    assert notes[0] == "annotation 9 is of the image 17, which is not listed; it is left out"
    assert notes[1] == "the file does not list it; it is left out"


def test_names_that_are_none(root):
    content = instances()
    content["images"][0]["file_name"] = 1
    content["images"][1]["height"] = "x"
    with pytest.raises(data.BadExampleError) as error:
        reasons(root, content)
    assert "image 70: file_name must be a text, got 1" in str(error.value)
    assert "image 3: height must be a number, got 'x'" in str(error.value)


def test_categories_that_only_group_others(root):
    content = instances()
    content["categories"] = [
        {"id": 0, "name": "dog", "supercategory": "none"},
        {"id": 90, "name": "dog", "supercategory": "dog"},
        {"id": 18, "name": "cat", "supercategory": "dog"},
    ]
    dataset, _, notes = reasons(root, content)
    assert dataset.classes == ("cat", "dog") and "'dog' only groups others" in notes[0]
    content["annotations"][0]["category_id"] = 0  # then it is a class
    with pytest.raises(ValueError, match="two categories have one name: dog"):
        reasons(root, content)
    content["categories"][0]["name"] = "animal"
    content["categories"][1]["supercategory"] = "animal"
    assert reasons(root, content)[0].classes == ("animal", "cat", "dog")


def test_names_of_windows(root):
    write_image(root / "images" / "x.jpg")
    write_image(root / "images" / "y" / "x.jpg")
    content = instances(annotations=[])
    for image, name in zip(content["images"], ("images\\x.jpg", "images\\y\\x.jpg"), strict=True):
        image["file_name"] = name
        image.pop("height", None)
    dataset, skipped, _ = reasons(root, content)
    assert [e.path for e in dataset] == [root / "images/x.jpg", root / "images/y/x.jpg"]
    assert len({e.image_id for e in dataset}) == 2 and not skipped


def test_roboflow_folders(tmp_path):
    for split, name in (("train", "a"), ("valid", "b")):
        content = instances(images=[{"id": 70, "file_name": f"{name}.jpg"}])
        write_image(tmp_path / split / f"{name}.jpg")
        write_image(tmp_path / split / "more.jpg")
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    for split, ids in (("train", ["a"]), ("val", ["b"]), ("validation", ["b"]), (None, ["a", "b"])):
        dataset = data.open(f"coco:{tmp_path}", split)
        assert [e.image_id for e in dataset] == ids
        assert len([why for _, why in dataset.notes if "does not list it" in why]) == len(ids)
