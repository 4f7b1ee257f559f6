"""What Darknet's scripts/voc_label.py made of VOC's XML is what our readers find in either."""

import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.shared import shared
from yolov1 import data
from yolov1.data.formats.voc import VOC_CLASSES


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The reference has no images; blank ones of the right size stand in."""
    root = tmp_path_factory.mktemp("voc_label")
    shutil.copytree(shared("golden", "darknet_full", "text", "voc_label"), root, dirs_exist_ok=True)
    for xml in root.glob("VOCdevkit/*/Annotations/*.xml"):
        folder = xml.parents[1] / "JPEGImages"
        folder.mkdir(exist_ok=True)
        size = ElementTree.parse(xml).find("size")
        sides = int(size.findtext("width")), int(size.findtext("height"))
        Image.new("L", sides).save(folder / f"{xml.stem}.jpg", quality=10)
    (root / "voc.names").write_text("".join(f"{name}\n" for name in VOC_CLASSES))
    return root


def lines(path):
    return [line.rpartition("/")[2] for line in path.read_text().split()]


@pytest.mark.parametrize("year", ["2007", "2012"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_labels_are_the_boxes_of_the_xml(tree, year, split):
    settings = tree / f"{year}_{split}.data"
    settings.write_text(f"classes = 20\ntrain = {year}_{split}.txt\nnames = voc.names\n")
    labels = data.open(f"yolo:{settings}", "train")
    xml = data.open(f"voc:{tree / 'VOCdevkit' / f'VOC{year}'}", split)
    assert labels.classes == xml.classes
    assert [e.path.name for e in labels] == lines(tree / f"{year}_{split}.txt")
    by_id = {e.path.name: e for e in xml}
    compared = 0
    for example in labels:
        other = by_id[example.path.name]
        boxes, classes = (a[~other.difficult] for a in (other.boxes_cxcywh, other.labels))
        assert example.labels.tolist() == classes.tolist()
        height, width = other.size
        # The 1 of VOC's pixels is taken off the centres since March 2017; not off the sizes.
        less = np.float32([1 / width, 1 / height, 0, 0])
        np.testing.assert_allclose(example.boxes_cxcywh, boxes - less, atol=2e-7)
        compared += len(boxes)
    assert compared
