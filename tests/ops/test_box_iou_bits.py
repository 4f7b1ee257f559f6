"""The same boxes give the same bits: run after run, for any threads, SIMD level and alignment."""

import hashlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from tests.ops.iou_cases import (
    DTYPES,
    FORMATS,
    KINDS,
    OPS,
    random_boxes,
    random_upstream,
    value_and_gradients,
)
from tests.ops.test_yolo_loss_bits import bits, shifted
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.ops import _library

THREADS = (1, 2, 4)
LEVELS = [name for name in kernels.box_iou_versions() if name != "naive"]
NO_MASK = np.zeros(0, bool)
# More than a tile each way, a batch that is broadcast on both sides, and few boxes in many batches.
PAIRWISE = (((150,), (530,)), ((2, 1, 7), (3, 19)), ((67, 5), (67, 3)))
ALIGNED = (((1003,), (1003,)), ((3, 1, 50), (4, 50)), ((4099,), ()))


def cases(op, dtype, box_format="xyxy", seed=0):
    """Boxes, an upstream gradient and masks: a few of each size."""
    for shape_a, shape_b in PAIRWISE if op == "pairwise_iou" else ALIGNED:
        options = dict(box_format=box_format, dtype=dtype)
        a, b = random_boxes(*shape_a, seed=1, **options), random_boxes(*shape_b, seed=2, **options)
        shape = getattr(kernels, op)(a, b).shape
        generator = np.random.default_rng(seed)
        valid = generator.random(shape_a) < 0.9, generator.random(shape_b) < 0.9
        yield a, b, random_upstream(shape, dtype), *valid


def run(op, a, b, upstream, valid_a=None, valid_b=None, **options):
    """Value and both gradients, by the kernel on NumPy arrays."""
    options |= dict(valid_a=valid_a, valid_b=valid_b)
    gradients = getattr(kernels, f"{op}_gradient")(a, b, upstream, **options)
    return getattr(kernels, op)(a, b, **options), *gradients


@pytest.mark.each_value
@pytest.mark.on_cpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", OPS)
def test_repeats_threads_levels_and_tensorflow(op, kind, dtype):
    box_format = FORMATS[KINDS.index(kind) % 2]
    options = dict(kind=kind, box_format=box_format)
    for k, case in enumerate(cases(op, dtype, box_format)):
        case = case if k else case[:3]  # the largest without masks
        first = bits(run(op, *case, **options))
        for threads in (*THREADS, *THREADS, 100):
            assert bits(run(op, *case, threads=threads, **options)) == first
        for level in LEVELS:
            assert bits(run(op, *case, version=level, **options)) == first
        assert bits(value_and_gradients(op, *case, impl="fused", **options)) == first


@pytest.mark.on_cpu
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_past_the_caches(past_caches, dtype, level):
    """Rows of whole cache lines, which alone go past the caches: each as it is when it is alone."""
    a, b = random_boxes(2, 150, seed=1, dtype=dtype), random_boxes(2, 544, seed=2, dtype=dtype)
    whole = shifted(np.zeros((2, 150, 544), dtype), 0)
    call = "Yolov1>PairwiseIou", kernels.box_iou_config("giou", "xyxy"), (a, b, NO_MASK, NO_MASK)
    kernels.call(*call, outputs=[whole], threads=2, version=level)
    for n, m in ((0, 0), (1, 149)):
        rows = kernels.pairwise_iou(a[n, m : m + 1], b[n, :541], kind="giou", version=level)
        assert whole[n, m, :541].tobytes() == rows[0].tobytes()


# Blocks of pairs, rows of them, runs where both sides walk, one box beside many, and many turns.
BROADCAST = (
    ((3, 9, 1), (3, 1, 21)),
    ((3, 1, 21), (3, 9, 1)),
    ((9, 1), (3, 1, 21)),
    ((), (150,)),
    ((150,), ()),
    ((5, 40), (5, 1)),
    ((3, 1, 50), (4, 50)),
    ((6, 5, 2), (6, 5, 1)),
    ((2, 1, 3, 1, 5), (1, 4, 3, 6, 1)),
    ((7, 1, 2, 1), (1, 70, 1, 3)),
)


@pytest.mark.on_cpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", (False, True))
def test_broadcast_is_the_same_as_repeated_boxes(masked, dtype):
    sums = np.float64 if dtype == np.float64 else np.float32
    for k, (shape_a, shape_b) in enumerate(BROADCAST):
        options = dict(kind=KINDS[k % 4], box_format=FORMATS[k % 3 % 2])
        sides, masks = [], []
        for seed, shape in enumerate((shape_a, shape_b)):
            sides.append(
                random_boxes(*shape, seed=seed, dtype=dtype, box_format=options["box_format"])
            )
            sides[-1].reshape(-1)[:3] = -0.0  # on the edge of another box's, it may be 0.0
            generator = np.random.default_rng(seed + 2)
            masks.append(generator.random(shape) < 0.8 if masked else None)
        result = np.broadcast_shapes(shape_a, shape_b)
        upstream = random_upstream(result, dtype)
        repeated = [np.broadcast_to(x, (*result, 4)).copy() for x in sides]
        valid = [x if x is None else np.broadcast_to(x, result).copy() for x in masks]
        value, *_ = run("aligned_iou", *repeated, upstream, *valid, **options)
        # What each pair gives its boxes, not rounded to 16 bits, added up in order.
        wide = [x.astype(sums) for x in (*repeated, upstream)]
        _, *pairs = run("aligned_iou", *wide, *valid, **options)
        want = [value]
        for side, by_pair in zip(sides, pairs, strict=True):
            numbers = np.broadcast_to(np.arange(side.size // 4).reshape(side.shape[:-1]), result)
            total = np.zeros((side.size // 4, 4))
            np.add.at(total, numbers.reshape(-1), by_pair.reshape(-1, 4).astype(np.float64))
            want.append(total.astype(sums).astype(dtype).reshape(side.shape))
        for version in LEVELS:
            for threads in (1, 3):
                got = run(
                    "aligned_iou",
                    *sides,
                    upstream,
                    *masks,
                    version=version,
                    threads=threads,
                    **options,
                )
                assert bits(got) == bits(want), (shape_a, shape_b, version)


@pytest.mark.on_cpu
@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("op", OPS)
def test_graph(op, graph):
    *_, case = cases(op, np.float32)
    assert bits(value_and_gradients(op, *case, impl="fused", graph=graph)) == bits(run(op, *case))


@pytest.mark.on_cpu
@pytest.mark.parametrize("op", OPS)
def test_naive_is_the_same_but_for_the_order_of_its_sums(op):
    for kind in KINDS:
        for case in cases(op, np.float64):
            got, naive = (run(op, *case, kind=kind, version=v) for v in (None, "naive"))
            assert got[0].tobytes() == naive[0].tobytes()
            for one, other in zip(got[1:], naive[1:], strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.on_cpu
@pytest.mark.parametrize("op", OPS)
def test_a_pair_does_not_depend_on_its_neighbours(op):
    a, b, *_ = next(cases(op, np.float32))
    for kind in KINDS:
        whole = getattr(kernels, op)(a, b, kind=kind)
        for at in (0, 17, 131):
            one = (a[at : at + 1], b[at + 3 : at + 4] if op == "pairwise_iou" else b[at : at + 1])
            part = getattr(kernels, op)(*one, kind=kind)
            same = whole[at, at + 3] if op == "pairwise_iou" else whole[at]
            assert part.item() == same


@pytest.mark.on_cpu
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", (np.float32, ml_dtypes.bfloat16))
@pytest.mark.parametrize("op", OPS)
def test_alignment_of_every_buffer(op, dtype, level):
    native = _library.OPS[op]
    config = kernels.box_iou_config("ciou", "xyxy")
    for case in cases(op, dtype):
        value, *gradients = run(op, *case, kind="ciou")
        for threads, offset in zip((*THREADS, 3), (1, 3, 5, 16), strict=True):
            a, b, upstream, *valid = (shifted(array, offset + k) for k, array in enumerate(case))
            outputs = [
                shifted(np.full_like(array, np.nan), offset) for array in (value, *gradients)
            ]
            options = dict(threads=threads, version=level)
            kernels.call(native, config, (a, b, *valid), outputs=outputs[:1], **options)
            inputs = a, b, *valid, upstream
            kernels.call(f"{native}Grad", config, inputs, outputs=[*outputs[1:], None], **options)
            assert bits(outputs) == bits((value, *gradients)), (threads, offset)


# Value and gradients of eager op and graph as one hash, with so many intra-op threads.
IN_TENSORFLOW = """
import hashlib, sys
import numpy as np
import tensorflow as tf
from tests.ops.iou_cases import value_and_gradients
from tests.ops.test_box_iou_bits import cases

tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
case = next(cases("pairwise_iou", np.float32))
for graph in (False, True):
    with tf.device("CPU:0"):
        out = value_and_gradients("pairwise_iou", *case, kind="giou", impl="fused", graph=graph)
    print(hashlib.sha256(b"".join(array.tobytes() for array in out)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.on_cpu
def test_tensorflow_threads():
    """Here TensorFlow has as many as there are cores, there four."""
    answer = subprocess.run(
        [sys.executable, "-c", IN_TENSORFLOW, "4"], cwd=ROOT, capture_output=True, text=True
    )
    case = next(cases("pairwise_iou", np.float32))
    want = hashlib.sha256(b"".join(bits(run("pairwise_iou", *case, kind="giou")))).hexdigest()
    assert answer.stdout.split() == [want, want], answer.stderr
