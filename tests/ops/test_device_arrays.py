"""The framework-free kernels on arrays of a GPU: what is refused, and (slow) what is computed.

What computes runs in a build whose CUDA kernels run on the host (`-DYOLOV1_CUDA=HOST`), with NumPy
arrays that say they lie on a GPU. `python -m benchmarks.gpu --cuda=HOST` checks the values.
"""

import os
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu.host_device import HostArray
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.kernels import Pixels, _device

pytestmark = pytest.mark.on_cpu

GRID = GridSpec()
PREDICTIONS, TARGETS = np.ones((2, 7, 7, 30), np.float32), np.zeros((2, 7, 7, 25), np.float32)
BOXES = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
PIXELS = Pixels(*map(HostArray, (np.zeros(12, "u1"), np.zeros(1, "i8"), np.full((1, 2), 2, "i4"))))
DRAWS = [HostArray(np.zeros((1, 4), "f4")), HostArray(np.zeros((1, 2), bool))]
DRAWS += [HostArray(np.zeros(1, bool)), HostArray(np.ones((1, 3), "f4"))]
with_cuda = pytest.mark.skipif(
    not kernels.build_info()["cuda"], reason="built without CUDA (YOLOV1_CUDA=OFF)"
)


def test_arrays_of_the_host_are_no_device_arrays():
    assert not any(map(_device.is_device_array, (PREDICTIONS, [1.0], 1.0)))
    assert _device.is_device_array(HostArray(PREDICTIONS))


@pytest.mark.skipif(bool(kernels.build_info()["cuda"]), reason="built with CUDA")
def test_a_build_without_cuda_has_no_versions_there():
    for versions in (
        kernels.yolo_loss_versions,
        kernels.box_iou_versions,
        kernels.load_images_versions,
    ):
        assert versions("cuda") == []


@with_cuda
def test_versions():
    assert kernels.yolo_loss_versions("cuda") == ["staged", "direct"]
    assert kernels.box_iou_versions("cuda") == ["tiles", "direct"]
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'gpu'"):
        kernels.yolo_loss_versions("gpu")


def test_a_build_without_cuda_says_how_to_get_one(monkeypatch):
    class Without:
        pass

    monkeypatch.setattr(_device, "extension", Without)
    for call in (
        lambda: kernels.yolo_loss(HostArray(PREDICTIONS), HostArray(TARGETS), grid=GRID),
        lambda: kernels.pairwise_iou(HostArray(BOXES), HostArray(BOXES)),
        lambda: kernels.non_max_suppression(HostArray(BOXES[None]), HostArray(BOXES[None])),
        lambda: kernels.augment_images(PIXELS, *DRAWS, size=8),
    ):
        with pytest.raises(RuntimeError, match="no CUDA kernels.*YOLOV1_CUDA=ON pip install"):
            call()


@with_cuda
def test_memory_of_the_host_in_disguise_is_refused():
    with pytest.raises(TypeError, match="predictions must be in the memory of a CUDA device"):
        kernels.yolo_loss(HostArray(PREDICTIONS), HostArray(TARGETS), grid=GRID)


class Interface:
    """An array that lies on a GPU as ``__cuda_array_interface__`` tells it; never read."""

    def __init__(self, shape, typestr="<f4", strides=None, read_only=False, stream=None):
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": typestr, "strides": strides, "data": (4096, read_only),
            "version": 3, "stream": stream,
        }  # fmt: skip


@with_cuda
def test_the_cuda_array_interface():
    view = _device.read("op", "name", Interface((2, 3), "<f8", (24, 8)), 0)
    assert (view.shape, view.dtype) == ([2, 3], "float64")
    assert _device.read("op", "name", Interface((2, 1), "<f8", (8, 999)), 0).shape == [2, 1]
    assert _device.read("op", "name", Interface((2,), stream=9), 9).read_only is False
    with pytest.raises(ValueError, match="in use on stream 9, but 0 was asked for; pass stream=9"):
        _device.read("op", "name", Interface((2,), stream=9), 0)
    with pytest.raises(ValueError, match="op: name must be contiguous"):
        _device.read("op", "name", Interface((2, 3), "<f8", (8, 16)), 0)
    with pytest.raises(TypeError, match="op: name has the unknown dtype <c8"):
        _device.read("op", "name", Interface((2, 3), "<c8"), 0)


@pytest.mark.parametrize("library", ("torch", "cupy"))
def test_by_default_the_stream_is_the_current_one_of_the_library(library, monkeypatch):
    """Which PyTorch and CuPy keep for each device: stand-ins for both say what they were asked."""

    def current(device):
        return types.SimpleNamespace(cuda_stream=70 + device, ptr=70 + device)

    class Device(int):
        entered = []

        def __enter__(self):
            self.entered.append(self)

        def __exit__(self, *_):
            self.entered.pop()

    array = type("ndarray", (), {"__module__": f"{library}.core", "device": Device(3)})()
    cupy = types.SimpleNamespace(get_current_stream=lambda: current(Device.entered[-1]))
    stand_in = types.SimpleNamespace(cuda=cupy)
    if library == "torch":
        stand_in.cuda = types.SimpleNamespace(current_stream=current)
    monkeypatch.setitem(sys.modules, library, stand_in)
    assert _device.stream_of(array, None) == 73
    assert _device.stream_of(array, 0) == 0 and _device.stream_of(array, 9) == 9
    assert _device.stream_of(HostArray(PREDICTIONS), None) == 0


@with_cuda
@pytest.mark.parametrize(
    "call",
    (
        lambda p, t, b: kernels.yolo_loss(p, t, grid=GRID),
        lambda p, t, b: kernels.pairwise_iou(b, b),
        lambda p, t, b: kernels.aligned_iou_gradient(b, b, b),
    ),
)
def test_every_call_asks_for_the_stream(call, monkeypatch):
    arrays = [HostArray(x) for x in (PREDICTIONS, TARGETS, BOXES)]
    monkeypatch.setattr(_device, "stream_of", lambda array, stream: 77)
    with pytest.raises(TypeError, match="must be in the memory of a CUDA device"):
        call(*arrays)
    assert {stream for array in arrays for stream in array.asked} == {77}


@with_cuda
def test_what_does_not_fit_is_refused():
    predictions, targets = Interface(PREDICTIONS.shape), Interface(TARGETS.shape)
    loss = lambda *arrays, **options: kernels.yolo_loss(*arrays, grid=GRID, **options)  # noqa: E731
    nms = kernels.non_max_suppression
    boxes, scores = Interface((2, 3, 4)), Interface((2, 3, 5))
    pixels = Pixels(Interface((12,), "|u1"), Interface((1,), "<i8"), Interface((1, 2), "<i4"))
    draws = [Interface((1, 4)), Interface((1, 2), "|b1"), Interface((1,), "|u1"), Interface((1, 3))]
    images = lambda *arrays, **options: kernels.augment_images(*arrays, size=8, **options)  # noqa: E731
    refusals = [
        (TypeError, "targets must be on the GPU as the others are, got ndarray on the host; copy",
         lambda: loss(predictions, TARGETS)),
        (ValueError, r"targets must be \[N, 7, 7, 25\]",
         lambda: loss(predictions, Interface((2, 7, 7, 24)))),
        (TypeError, "targets of the same dtype.*got float32 and float64",
         lambda: loss(predictions, Interface(TARGETS.shape, "<f8"))),
        (TypeError, "made for arrays of torch and cupy.*pass arrays to write into as out=",
         lambda: loss(predictions, targets)),
        (ValueError, r"out must be \(loss, terms, gradient, mean\), got 1 arrays",
         lambda: loss(predictions, targets, out=(Interface((2,)),))),
        (ValueError, r"out: loss must be float32 \[2\], got float64 \[3\]",
         lambda: loss(predictions, targets, out=(Interface((3,), "<f8"), None, None, None))),
        (ValueError, "out: loss must not be read-only",
         lambda: loss(predictions, targets, out=(Interface((2,), read_only=True), *[None] * 3))),
        (TypeError, "targets is on the GPU, but the first array is not",
         lambda: loss(PREDICTIONS, targets)),
        (TypeError, "out is for arrays on a GPU, got NumPy arrays; leave it out",
         lambda: loss(PREDICTIONS, TARGETS, out=(PREDICTIONS,))),
        (TypeError, "stream is for arrays on a GPU",
         lambda: kernels.aligned_iou(BOXES, BOXES, stream=1)),
        (TypeError, "upstream is on the GPU, but the first array is not",
         lambda: kernels.aligned_iou_gradient(BOXES, BOXES, Interface((2,)))),
        (TypeError, "boxes_b must be on the GPU",
         lambda: kernels.pairwise_iou(Interface((3, 4)), BOXES)),
        (TypeError, "boxes_a must be on the GPU",
         lambda: kernels.pairwise_iou(BOXES, Interface((3, 4)))),
        (TypeError, "one dtype of .*got float32 and float64",
         lambda: kernels.pairwise_iou(Interface((3, 4)), Interface((3, 4), "<f8"))),
        (ValueError, r"valid_a must be \[3\] for boxes_a \[3, 4\], got \[2\]",
         lambda: kernels.pairwise_iou(
             Interface((3, 4)), Interface((3, 4)), valid_a=Interface((2,), "|b1"))),
        (ValueError, r"upstream must be float32 \[3, 2\], got float32 \[3\]",
         lambda: kernels.pairwise_iou_gradient(
             Interface((3, 4)), Interface((2, 4)), Interface((3,)))),
        (TypeError, "scores must be on the GPU as the others are", lambda: nms(boxes, TARGETS)),
        (TypeError, "boxes_xyxy must be on the GPU", lambda: nms(BOXES[None], scores)),
        (TypeError, "must be float32, got float32 and float64; convert",
         lambda: nms(boxes, Interface((2, 3, 5), "<f8"))),
        (ValueError, r"boxes_xyxy must be \[N, K, 4\] and scores \[N, K, C\], got \[2, 3, 4\] and",
         lambda: nms(boxes, Interface((2, 4, 5)))),
        (ValueError, r"out must be \(boxes_xyxy, scores, labels, count, workspace\), got 1 arrays",
         lambda: nms(boxes, scores, out=(boxes,))),
        (ValueError, r"out: scores must be float32 \[2, 7\], got float32 \[2, 8\]",
         lambda: nms(boxes, scores, max_detections=7,
                     out=(Interface((2, 7, 4)), Interface((2, 8)), *[boxes] * 3))),
        (TypeError, "stream is for arrays on a GPU",
         lambda: nms(BOXES[None], BOXES[None], stream=1)),
        (TypeError, r"on a GPU pixels must be Pixels.* no argument None, got flips of None",
         lambda: images(pixels, draws[0], None, *draws[2:])),
        (TypeError, r"on a GPU pixels must be Pixels \(values, offsets, sizes\).*got one array",
         lambda: images(Interface((1, 2, 2, 3), "|u1"), *draws)),
        (TypeError, "sizes must be on the GPU as the others are",
         lambda: images(pixels._replace(sizes=np.full((1, 2), 2, "i4")), *draws)),
        (TypeError, "windows is on the GPU, but the first array is not",
         lambda: images(np.zeros((1, 2, 2, 3), "u1"), draws[0])),
        (ValueError, r"windows must be \[n, 4\].* got \[1, 3\]",
         lambda: images(pixels, draws[3], *draws[1:])),
        (TypeError, "windows and colours must be float32, .*, got float64",
         lambda: images(pixels, Interface((1, 4), "<f8"), *draws[1:])),
        (ValueError, r"out: images must be float16 \[1, 8, 8, 3\], got float32 \[1, 8, 8, 3\]",
         lambda: images(pixels, *draws, dtype="float16", out=Interface((1, 8, 8, 3)))),
        (TypeError, "contents is on the GPU",
         lambda: kernels.load_images(draws[0], size=8)),
    ]  # fmt: skip
    for kind, message, call in refusals:
        with pytest.raises(kind, match=message):
            call()


COMPUTED = """
import sys
import numpy as np
from benchmarks import gpu
gpu.load(sys.argv[1])
from benchmarks.gpu.host_device import HostArray
from yolov1 import kernels
from yolov1.grid import GridSpec

grid, generator = GridSpec(S=3, B=2, C=4, image_size=96), np.random.default_rng(0)
predictions = generator.uniform(0, 1, (5, *grid.prediction_shape)).astype(np.float32)
targets = generator.uniform(0, 1, (5, *grid.target_shape)).astype(np.float32)
out = np.empty(5, "f4"), np.empty((5, 5), "f4"), np.empty_like(predictions), np.empty((), "f4")
arrays = [HostArray(x) for x in (predictions, targets)]
got = kernels.yolo_loss(*arrays, grid=grid, reduction="mean", stream=7, out=[*map(HostArray, out)])
want = kernels.yolo_loss(predictions, targets, grid=grid, reduction="mean")
assert [x.asked[0] for x in arrays] == [7, 7]  # the library hears which stream will read
assert got[0].array is out[3] and got[2].array is out[2]
np.testing.assert_allclose(out[3], want[0], rtol=1e-6)
np.testing.assert_array_equal(out[2], want[2])
try:
    kernels.yolo_loss(HostArray(predictions[:, ::-1]), arrays[1], grid=grid)
except ValueError as error:
    assert "predictions must be contiguous in C order" in str(error), error
try:
    kernels.yolo_loss(*arrays, grid=grid, version="fast", out=[*map(HostArray, out[:3]), None])
except ValueError as error:
    assert "versions are staged, direct, got fast" in str(error), error
boxes = generator.uniform(0, 1, (3, 4)).astype("f4")
size = kernels.box_iou_workspace(HostArray(boxes), HostArray(boxes))
memory, results = np.empty(size + 16, np.uint8), (np.empty_like(boxes), np.empty_like(boxes))
begin, ones = -memory.ctypes.data % 16, np.ones((3, 3), "f4")
for offset in (begin, begin + 8 if begin < 8 else begin - 8):
    out = [*map(HostArray, results), HostArray(memory[offset : offset + size])]
    try:
        kernels.pairwise_iou_gradient(*map(HostArray, (boxes, boxes, ones)), out=out)
        assert offset == begin
    except ValueError as error:
        assert offset != begin and "workspace must begin at a multiple of 16" in str(error), error
for got, want in zip(results, kernels.pairwise_iou_gradient(boxes, boxes, ones), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
case = np.tile(boxes[None], (2, 1, 1)), generator.uniform(0, 1, (2, 3, 5)).astype("f4")
want = kernels.non_max_suppression(*case, max_detections=4)
out = *map(np.empty_like, want), np.empty(kernels.nms_workspace(*map(HostArray, case)) + 15, "u1")
begin = -out[-1].ctypes.data % 16
out = [*out[:-1], out[-1][begin : len(out[-1]) - 15 + begin]]
got = kernels.non_max_suppression(
    *map(HostArray, case), max_detections=4, stream=7, out=[*map(HostArray, out)]
)
for a, b, c in zip(got, out, want, strict=False):
    assert a.array is b and b.tobytes() == c.tobytes()
assert len(got) == 4
images = kernels.Pixels(
    generator.integers(0, 256, 3000).astype("u1"), np.array([5, 0]), np.int32([[20, 30], [9, 50]])
)
draws = np.float32([[-0.2, 0.1, 0.9, 1.3], [0, 0, 1, 1]]), np.array([[True, False]] * 2)
draws += np.array([False, True]), np.float32([[0.1, 1.2, 0.8], [0, 1, 1]])
for dtype in kernels.IMAGE_DTYPES:
    want = kernels.augment_images(images, *draws, size=16, dtype=dtype)
    out = np.empty_like(want)
    arrays = [HostArray(x) for x in (*images, *draws)]
    options = dict(size=16, dtype=dtype, stream=7, out=HostArray(out))
    got = kernels.augment_images(kernels.Pixels(*arrays[:3]), *arrays[3:], **options)
    assert got.array is out and out.tobytes() == want.tobytes()
    assert {stream for array in arrays for stream in array.asked} == {7}
assert kernels.load_images_versions("cuda") == ["only"]
print("done")
"""


@pytest.mark.slow
def test_results_are_written_where_they_were_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", COMPUTED, str(gpu.build("HOST"))],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "done\n", done.stdout + done.stderr
