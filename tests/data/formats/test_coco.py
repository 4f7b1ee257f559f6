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
