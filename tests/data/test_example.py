import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared import ROOT
from yolov1 import data
from yolov1.data.example import Annotation, usable_boxes

coordinate = st.integers(-30, 130) | st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(*[coordinate] * 4), max_size=5), st.integers(1, 100), st.integers(1, 100))
def test_a_box_is_kept_inside_the_image_or_named(boxes, height, width):
    annotation = Annotation(np.array(boxes).reshape(-1, 4), ["cat"] * len(boxes), [], None)
    try:
        cxcywh, kept, remarks = usable_boxes(annotation, (height, width))
    except data.BadExampleError as error:
        assert "(cat)" in str(error)
        return
    assert len(cxcywh) == len(kept)
    left_out = [remark for remark in remarks if "left out" in remark]
    assert len(kept) + len(left_out) == len(boxes)
    corners = np.concatenate([cxcywh[:, :2] - cxcywh[:, 2:] / 2, cxcywh[:, :2] + cxcywh[:, 2:] / 2])
    assert (cxcywh[:, 2:] > 0).all() and (np.abs(corners - 0.5) <= 0.5 + 1e-9).all()
    # What lies inside is not touched.
    for row, k in zip(cxcywh, kept, strict=True):
        x0, y0, x1, y1 = boxes[k]
        if min(x0, y0) >= 0 and x1 <= width and y1 <= height:
            exact = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height]
            np.testing.assert_array_equal(row[:2], exact)


def test_slices_are_data_sets():
    dataset = data.open("shapes:count=6,classes=2", image_size=32)
    part = dataset[2:5]
    assert isinstance(part, data.Dataset) and part.classes == dataset.classes
    assert [e.image_id for e in part] == [e.image_id for e in dataset][2:5]
    assert dataset[-1] is list(dataset)[-1] and "6 images" in repr(dataset)
    with pytest.raises(IndexError):
        dataset[6]


def test_examples_must_fit_together():
    with pytest.raises(ValueError, match="one length, got 1, 2 and 0"):
        data.Example("a", [[0.5, 0.5, 1, 1]], [0, 1], [], (4, 4), path="a.jpg")
    with pytest.raises(ValueError, match="either a path or a draw function"):
        data.Example("a", [], [], [], (4, 4))


@pytest.mark.parametrize("spec", ["voc", "voc:", "imagenet:x", ""])
def test_unknown_kinds(spec):
    with pytest.raises(ValueError, match="spec must be 'shapes', 'voc:PATH', 'yolo:PATH', "):
        data.open(spec)


def test_opening_needs_no_tensorflow():
    code = "import sys; from yolov1 import data; data.open('shapes:count=2')[0].image; "
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        data.close  # noqa: B018
