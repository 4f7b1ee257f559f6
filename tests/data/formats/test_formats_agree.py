"""The same ground truth of 100 images in five formats gives the same boxes, whoever reads it."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.shared import shared
from yolov1 import data


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The reference has no images; blank ones of the right size stand in."""
    source = shared("data", "formats100")
    root = tmp_path_factory.mktemp("formats100")
    content = json.loads((source / "coco_format_v1" / "instances_default.json").read_text())
    (root / "JPEGImages").mkdir()
    for entry in content["images"]:
        blank = Image.new("L", (entry["width"], entry["height"]))
        blank.save(root / "JPEGImages" / entry["file_name"], quality=10)
    (root / "voc").mkdir()
    os.symlink(root / "JPEGImages", root / "voc" / "JPEGImages")
    os.symlink(source / "pascalvoc_format", root / "voc" / "Annotations")
    (root / "yolo").mkdir()
    for name in ("obj.data", "obj.names", "train.txt"):
        os.symlink(source / "yolo_format" / name, root / "yolo" / name)
    (root / "yolo" / "obj_train_data").mkdir()
    for file in (source / "yolo_format" / "obj_train_data").iterdir():
        os.symlink(file, root / "yolo" / "obj_train_data" / file.name)
    for file in (root / "JPEGImages").iterdir():
        os.symlink(file, root / "yolo" / "obj_train_data" / file.name)
    for version, name in (("v1", "instances_default.json"), ("v2", "instances_v2.json")):
        folder = root / f"coco_{version}"
        folder.mkdir()
        os.symlink(source / f"coco_format_{version}" / name, folder / name)
        os.symlink(root / "JPEGImages", folder / "images")
    (root / "records").mkdir()
    for name in ("default.tfrecord", "label_map.pbtxt"):
        os.symlink(source / "tfrecord_format" / name, root / "records" / name)
    os.symlink(root / "JPEGImages", root / "records" / "images")
    return root


def boxes_by_image(dataset):
    """{image id: rows (class name, box), sorted}"""
    return {
        e.image_id: sorted(
            (dataset.classes[label], *box.tolist())
            for label, box in zip(e.labels, e.boxes_cxcywh, strict=True)
        )
        for e in dataset
    }


def test_every_reader_finds_the_same_boxes(folders):
    truth = boxes_by_image(data.open(f"voc:{folders / 'voc'}"))
    assert len(truth) == 100 and sum(map(len, truth.values())) == 273
    # YOLO text has six decimals, records have float32; the others hold the pixels themselves.
    others = {"yolo:yolo": 2e-6, "coco:coco_v1": 1e-7, "coco:coco_v2": 1e-7}
    others["records:records"] = 2e-7
    for spec, tolerance in others.items():
        kind, _, folder = spec.partition(":")
        split = "train" if kind == "yolo" else None
        dataset = data.open(f"{kind}:{folders / folder}", split)
        found = boxes_by_image(dataset)
        assert found.keys() == truth.keys()
        for image_id, rows in truth.items():
            assert [r[0] for r in found[image_id]] == [r[0] for r in rows], (spec, image_id)
            np.testing.assert_allclose(
                nearest_first(found[image_id], rows),
                np.array([r[1:] for r in rows]).reshape(-1, 4),
                atol=tolerance,
            )


def nearest_first(found, rows):
    """Rounding may change the order of two boxes of one class: match each to the nearest."""
    rest = list(found)
    matched = []
    for name, *box in rows:
        same = [r for r in rest if r[0] == name]
        best = min(same, key=lambda r: np.abs(np.subtract(r[1:], box)).max())
        rest.remove(best)
        matched.append(best[1:])
    return np.array(matched).reshape(-1, 4)


def test_class_order_is_each_formats_own(folders):
    yolo = data.open(f"yolo:{folders / 'yolo'}", "train")
    voc = data.open(f"voc:{folders / 'voc'}")
    records = data.open(f"records:{folders / 'records'}")
    assert yolo.classes[:3] == records.classes[:3] == ("person", "cat", "boat")
    assert voc.classes[0] == "aeroplane"
    again = data.open(f"yolo:{folders / 'yolo'}", "train", classes=voc.classes)
    for one, other in zip(sorted(again, key=lambda e: e.image_id), voc, strict=True):
        assert sorted(one.labels) == sorted(other.labels)
