"""Batched IoU against torchvision and Shapely, where their values are defined.

    pip install torch torchvision shapely
    pytest -m slow tests/ops/test_box_iou_peers.py

Either may be missing, and builds for the CPU do. torchvision adds 1e-7 to the denominators of diou
and ciou, which is the tolerance there; where it divides 0 by 0 its value is NaN, and ours is what
`yolov1.ops.box_iou` says.
"""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from tests.ops.iou_cases import IMPLS, KINDS, degenerate_pairs, random_boxes
from yolov1 import ops

pytestmark = pytest.mark.slow

# In a process of its own: PyTorch and TensorFlow do not always load into one.
TORCHVISION = """
import sys
import numpy as np
import torch
from torchvision import ops

boxes = torch.from_numpy(np.load(sys.argv[1] + "/boxes.npy"))
for kind, iou in (
    ("iou", ops.box_iou),
    ("giou", ops.generalized_box_iou),
    ("diou", ops.distance_box_iou),
    ("ciou", ops.complete_box_iou),
):
    np.save(f"{sys.argv[1]}/{kind}.npy", iou(boxes, boxes).numpy())
"""


def corner_boxes():
    """``[P, 4]``, ordered: random ones, and the zero-area, touching, identical and nested ones."""
    boxes = np.concatenate([random_boxes(200), *degenerate_pairs()])
    return boxes[(boxes[:, 2:] >= boxes[:, :2]).all(-1)]


@pytest.fixture(scope="module")
def torchvision(tmp_path_factory):
    """Boxes, and the values of each kind for each of them with each."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    folder, boxes = tmp_path_factory.mktemp("torchvision"), corner_boxes()
    np.save(folder / "boxes.npy", boxes)
    subprocess.run([sys.executable, "-c", TORCHVISION, str(folder)], check=True)
    return boxes, {kind: np.load(folder / f"{kind}.npy") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("impl", IMPLS)
def test_torchvision(impl, kind, torchvision):
    boxes, values = torchvision
    got, want = ops.pairwise_iou(boxes, boxes, kind=kind, impl=impl).numpy(), values[kind]
    finite = np.isfinite(want)
    # 1e-7 beside the square of the smallest diagonal here, 1 / 8, and beside alpha's 1 - iou.
    tolerance = {"iou": 1e-14, "giou": 1e-14, "diou": 1e-5, "ciou": 1e-5}[kind]
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=tolerance)
    assert finite.mean() > 0.9


@pytest.mark.parametrize("kind", ("iou", "giou"))
@pytest.mark.parametrize("impl", IMPLS)
def test_shapely(impl, kind):
    shapely = pytest.importorskip("shapely")
    boxes = corner_boxes()
    shapes = shapely.box(*boxes.T)
    a, b = shapes[:, None], shapes[None]
    overlap, union = shapely.area(shapely.intersection(a, b)), shapely.area(shapely.union(a, b))
    enclosing = shapely.area(shapely.envelope(shapely.union(a, b)))
    with np.errstate(invalid="ignore"):
        want = overlap / union
        if kind == "giou":
            want = want - (enclosing - union) / enclosing
    finite = np.isfinite(want)
    got = ops.pairwise_iou(boxes, boxes, kind=kind, impl=impl).numpy()
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=1e-12)
    assert finite.mean() > 0.9
