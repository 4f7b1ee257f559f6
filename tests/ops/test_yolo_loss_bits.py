"""The same input gives the same bits: run after run, for any threads, SIMD level and alignment."""

import hashlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from tests.ops.loss_cases import GRIDS, random_case, to_planes, value_and_gradient
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.semantics import PRESETS

THREADS = (1, 2, 4)
DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
GRID = GRIDS["paper"]
LEVELS = [name for name in kernels.yolo_loss_versions() if name != "naive"]


def bits(arrays):
    return [array.tobytes() for array in arrays]


@pytest.mark.on_cpu
@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeats_threads_and_neighbours(dtype, layout):
    predictions, targets = random_case(GRID, 67, 0.3, dtype=dtype)
    if layout == "planes":
        predictions = to_planes(predictions, GRID)
    options = dict(grid=GRID, layout=layout)
    first = kernels.yolo_loss(predictions, targets, **options)
    for threads in (*THREADS, *THREADS, 67, 100):
        again = kernels.yolo_loss(predictions, targets, threads=threads, **options)
        assert bits(again) == bits(first)
    for graph in (False, True):
        op = value_and_gradient(predictions, targets, impl="fused", graph=graph, **options)
        assert bits(op) == bits(first)
    for level in LEVELS:
        assert bits(kernels.yolo_loss(predictions, targets, version=level, **options)) == bits(
            first
        )
    alone = kernels.yolo_loss(predictions[5:6], targets[5:6], **options)
    assert bits(alone) == bits(array[5:6] for array in first)


def shifted(array, elements):
    """A copy of `array` that begins `elements` elements after an address divisible by 64."""
    size = array.dtype.itemsize
    memory = np.empty(array.nbytes + 64 + elements * size, np.uint8)
    begin = -memory.ctypes.data % 64 + elements * size
    out = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


@pytest.mark.on_cpu
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", (np.float32, ml_dtypes.bfloat16))
@pytest.mark.parametrize("images", (9, 2048))  # 2048: past the caches, with another way of storing
def test_alignment_of_every_buffer(images, dtype, level):
    predictions, targets = random_case(GRID, images, 0.06, dtype=dtype)
    want = bits(kernels.yolo_loss(predictions, targets, grid=GRID))
    config = kernels.yolo_loss_config(GRID, PRESETS["paper"])
    sums = np.zeros(images, np.float32), np.zeros((images, 5), np.float32)
    for threads, offset in zip((*THREADS, 3), (1, 3, 5, 16), strict=True):
        inputs = shifted(predictions, offset + 1), shifted(targets, offset + 2)
        out = [shifted(np.full_like(array, np.nan), offset) for array in (*sums, predictions)]
        kernels.call(
            "Yolov1>YoloLoss", config, inputs, outputs=[*out, None], threads=threads, version=level
        )
        assert bits(out) == want, (threads, offset)


# Loss, terms and gradient of eager op and graph as one hash, with so many intra-op threads.
IN_TENSORFLOW = """
import hashlib, sys
import tensorflow as tf
from tests.ops.loss_cases import GRIDS, random_case, value_and_gradient

tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
case = random_case(GRIDS["paper"], 2048, 0.06)
for graph in (False, True):
    out = value_and_gradient(*case, grid=GRIDS["paper"], impl="fused", graph=graph)
    print(hashlib.sha256(b"".join(array.tobytes() for array in out)).hexdigest())
"""


@pytest.mark.on_cpu
def test_tensorflow_threads():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", IN_TENSORFLOW, str(threads)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in THREADS
    ]
    out = kernels.yolo_loss(*random_case(GRID, 2048, 0.06), grid=GRID)
    want = hashlib.sha256(b"".join(bits(out))).hexdigest()
    for run in runs:
        answer, _ = run.communicate()
        assert run.returncode == 0 and answer.split() == [want, want]
