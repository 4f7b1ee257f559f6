"""The same input gives the same bits: run after run, for any threads, SIMD level and alignment."""

import hashlib
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.ops.loss_cases import GRIDS, random_case, to_planes, value_and_gradient
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.ops import _library
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
def test_alignment_of_every_buffer(past_caches, dtype, level):
    images = 67
    predictions, targets = random_case(GRID, images, 0.06, dtype=dtype)
    alone = [
        kernels.yolo_loss(predictions[k : k + 1], targets[k : k + 1], grid=GRID, version=level)
        for k in range(images)
    ]
    want = bits(np.concatenate(parts) for parts in zip(*alone, strict=True))
    config = kernels.yolo_loss_config(GRID, PRESETS["paper"])
    sums = np.zeros(images, np.float32), np.zeros((images, 5), np.float32)
    for threads, offset in zip((*THREADS, 3), (1, 3, 5, 16), strict=True):
        inputs = shifted(predictions, offset + 1), shifted(targets, offset + 2)
        out = [shifted(np.full_like(array, np.nan), offset) for array in (*sums, predictions)]
        kernels.call(
            "Yolov1>YoloLoss", config, inputs, outputs=[*out, None], threads=threads, version=level
        )
        assert bits(out) == want, (threads, offset)


@pytest.mark.on_cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ways_of_writing_have_the_same_bits(dtype):
    predictions, targets = random_case(GRID, 67, 0.06, dtype=dtype)
    native, options = kernels.extension(), dict(grid=GRID, threads=2)
    usual, results = native.streaming_bound(), []
    try:
        for bound in (0, 2**60):
            native.set_streaming_bound(bound)
            for level in LEVELS:
                results.append(
                    bits(kernels.yolo_loss(predictions, targets, version=level, **options))
                )
    finally:
        native.set_streaming_bound(usual)
    assert all(result == results[0] for result in results)


def test_the_bound_of_streaming_follows_the_cache():
    size = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    if not size.exists():
        pytest.skip("this system does not tell the size of its third-level cache there")
    want = int(size.read_text().strip().removesuffix("K")) * 1024 // 4 * 3
    assert kernels.extension().streaming_bound() == want


SCALES = {"scalar": (), "by image": (5,)}


@pytest.mark.on_cpu
@pytest.mark.parametrize("in_place", (False, True))
@pytest.mark.parametrize("shape", SCALES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_times_upstream(dtype, shape, in_place):
    """The rounded product of each number, at every level of SIMD and in the op: sizes that lanes do
    not divide, numbers that become subnormal halves, infinities and NaN."""
    sums = np.float64 if dtype == np.float64 else np.float32
    generator = np.random.default_rng(3)
    for size in (1, 15, 30, 1470):
        exponents = generator.integers(-20, 14, (5, size))
        gradient = (generator.uniform(-1, 1, (5, size)) * 2.0**exponents).astype(dtype)
        gradient.reshape(-1)[:4] = np.inf, -np.inf, np.nan, -0.0
        upstream = np.asarray(generator.uniform(-9, 9, SCALES[shape]), sums)
        with np.errstate(over="ignore"):
            want = (upstream.reshape(-1, 1) * gradient.astype(sums)).astype(dtype)
        for version in kernels.yolo_loss_versions():
            given = shifted(gradient, 1)
            product = given if in_place else shifted(np.zeros_like(gradient), 3)
            inputs = upstream, given, upstream
            kernels.call("Yolov1>YoloLossGrad", "", inputs, outputs=[product], version=version)
            assert_same(product, want)
        op = _library.load().yolov1_yolo_loss_grad(upstream, gradient, upstream)
        assert_same(op.numpy(), want)


def assert_same(got, want):
    """To the bit, but for which NaN a NaN is."""
    missing = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), missing)
    assert got[~missing].tobytes() == want[~missing].tobytes()


# Loss, terms and gradient of eager op and graph as one hash, with so many intra-op threads.
IN_TENSORFLOW = """
import hashlib, sys
import tensorflow as tf
from tests.ops.loss_cases import GRIDS, random_case, value_and_gradient

tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
case = random_case(GRIDS["paper"], 2048, 0.06)
for graph in (False, True):
    with tf.device("CPU:0"):
        out = value_and_gradient(*case, grid=GRIDS["paper"], impl="fused", graph=graph)
    print(hashlib.sha256(b"".join(array.tobytes() for array in out)).hexdigest())
"""


@pytest.mark.slow
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


# The processor time of the calling thread and of all others, for many calls of the op: by a thread
# that may use one alone, as tf.data's with max_intra_op_parallelism=1, and by one that may use
# four, with little and with much to do.
IN_FEW_THREADS = """
import ctypes, os
from pathlib import Path
import tensorflow as tf
from tests.ops.loss_cases import GRIDS, random_case
from yolov1 import ops

def nanoseconds():
    every = {}
    for task in Path("/proc/self/task").iterdir():
        every[task.name] = int((task / "schedstat").read_text().split()[0])
    return every.pop(str(os.getpid())), sum(every.values())

tf.config.threading.set_intra_op_parallelism_threads(4)
name = next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.*"))
limit = ctypes.CDLL(str(name))._ZN10tensorflow26SetPerThreadMaxParallelismEi
for most, images in ((1, 2048), (4, 64), (4, 2048)):
    predictions, targets = map(tf.constant, random_case(GRIDS["paper"], images, 0.06))
    limit(most)
    ops.yolo_loss(predictions, targets, grid=GRIDS["paper"], impl="fused")
    before = nanoseconds()
    for _ in range(120000 // images):
        ops.yolo_loss(predictions, targets, grid=GRIDS["paper"], impl="fused")
    print(*(int(b - a) for a, b in zip(before, nanoseconds())))
"""


@pytest.mark.slow
@pytest.mark.on_cpu
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux' /proc")
def test_no_thread_is_woken_that_may_not_work_or_has_too_little_to_do():
    answer = subprocess.run(
        [sys.executable, "-c", IN_FEW_THREADS], cwd=ROOT, capture_output=True, text=True
    )
    shares = [int(x.split()[1]) / int(x.split()[0]) for x in answer.stdout.splitlines()]
    assert len(shares) == 3, answer.stderr
    limited, little, much = shares
    assert max(limited, little) < 0.05 < 0.1 < much, answer.stdout
