"""Every face of our own ops through the same checks, in one table.

A face makes, for each op that it has, a function of NumPy arrays:

    loss  (predictions, targets, grid, layout, semantics) to loss, gradient, terms
    iou   (op, boxes_a, boxes_b, upstream, kind) to overlaps and both gradients
    nms   (boxes_xyxy, scores) to the four results

Faces of the CPU's kernels owe the bits of the first one, which is the kernel on NumPy arrays.
"""

import functools
import importlib.util
import itertools

import numpy as np

from benchmarks.conformance import loss as loss_checks
from benchmarks.gpu.verdicts import Checks
from tests.ops import iou_numpy, nms_numpy
from tests.ops.matrix import GRIDS
from yolov1 import kernels
from yolov1.semantics import PRESETS

OPS = ("loss", "iou", "nms")
# Boxes of either side, without their last axis.
BOXES = {"pairwise_iou": ((3, 30), (3, 131)), "aligned_iou": ((4, 70), (70,))}
IOU_NEAR = 4e-5  # of the largest value, float32 against float64


class NotHere(Exception):
    """A face that does not exist on this machine; says why."""


# ----------------------------------------------------------------------------------------- NumPy


def numpy_face(version=None, threads=1):
    options = {"version": version, "threads": threads}
    if version and version not in kernels.yolo_loss_versions():
        raise NotHere("this processor, or build, has no such level of SIMD")

    def loss(predictions, targets, grid, layout, semantics):
        value, terms, gradient = kernels.yolo_loss(
            predictions, targets, grid=grid, layout=layout, semantics=semantics, **options
        )
        return value, gradient, terms

    def iou(op, a, b, upstream, kind):
        gradients = getattr(kernels, f"{op}_gradient")(a, b, upstream, kind=kind, **options)
        return getattr(kernels, op)(a, b, kind=kind, **options), *gradients

    faces = {"loss": loss, "iou": iou}
    if version is None:
        faces["nms"] = functools.partial(kernels.non_max_suppression, threads=threads)
    return faces


# ------------------------------------------------------------------------------------ TensorFlow


def tensorflow_face(way, impl="fused"):
    import tensorflow as tf

    from yolov1 import ops

    tf.get_logger().setLevel("ERROR")  # it warns of many traced functions, which are meant here
    if way == "xla" and kernels.build_info()["xla"] != "ON":
        raise NotHere("built without XLA (YOLOV1_XLA=OFF)")

    def call(compute, *arrays):
        tensors = [tf.constant(array) for array in arrays]
        if way != "eager":
            compute = tf.function(compute, jit_compile=way == "xla", autograph=False)
        return [tensor.numpy() for tensor in compute(*tensors)]

    def loss(predictions, targets, grid, layout, semantics):
        def compute(p, t):
            with tf.GradientTape() as tape:
                tape.watch(p)
                out = ops.yolo_loss(p, t, grid=grid, layout=layout, semantics=semantics, impl=impl)
            return out.loss, tape.gradient(out.loss, p), out.terms

        return call(compute, predictions, targets)

    def iou(op, a, b, upstream, kind):
        def compute(a, b, upstream):
            with tf.GradientTape() as tape:
                tape.watch([a, b])
                value = getattr(ops, op)(a, b, kind=kind, impl=impl)
            return value, *tape.gradient(value, (a, b), output_gradients=upstream)

        return call(compute, a, b, upstream)

    def nms(boxes, scores):
        return call(lambda b, s: ops.non_max_suppression(b, s, impl=impl), boxes, scores)

    return {"loss": loss, "iou": iou, "nms": nms}


# ------------------------------------------------------------------------------------------- JAX


def jax_face():
    if importlib.util.find_spec("jax") is None:
        raise NotHere("JAX is not installed")
    import jax

    from benchmarks.gpu import formulas

    if not formulas.register_handlers():
        raise NotHere("the build has no handlers (YOLOV1_XLA=OFF)")

    def loss(predictions, targets, grid, layout, semantics):
        config = kernels.yolo_loss_config(grid, semantics, layout)
        images = len(predictions)
        results = (
            jax.ShapeDtypeStruct((images,), np.float32),
            jax.ShapeDtypeStruct((images, 5), np.float32),
            jax.ShapeDtypeStruct(predictions.shape, np.float32),
            jax.ShapeDtypeStruct((0,), np.float32),
        )
        call = jax.jit(jax.ffi.ffi_call("Yolov1>YoloLoss", results), static_argnames="config")
        value, terms, gradient, _ = call(predictions, targets, config=config)
        return [np.asarray(x) for x in (value, gradient, terms)]

    return {"loss": loss}


# ---------------------------------------------------------------------------------------- DLPack


def dlpack_face():
    """The CUDA kernels on arrays of a GPU, or of a build that runs them on the host."""
    if not kernels.yolo_loss_versions("cuda"):
        raise NotHere("built without CUDA; --build names a build by benchmarks.gpu")
    from benchmarks.gpu import box_iou as gpu_iou
    from benchmarks.gpu import device as gpu_device
    from benchmarks.gpu.device import handed

    on_host = "host" in kernels.build_info()["cuda"]
    try:
        device = gpu_device.make("HOST" if on_host else "ON")
    except Exception as error:  # no PyTorch, no GPU, no driver
        raise NotHere(f"no GPU: {type(error).__name__}: {str(error)[:80]}") from error

    def loss(predictions, targets, grid, layout, semantics):
        images = len(predictions)
        shapes = ((images,), (images, 5), predictions.shape)
        out = [device.poisoned(shape, np.dtype(np.float32)) for shape in shapes]
        kernels.yolo_loss(
            *(handed(device.put(array)) for array in (predictions, targets)),
            grid=grid,
            layout=layout,
            semantics=semantics,
            stream=device.stream(),
            out=(*(handed(x.array) for x in out), None),
        )
        device.synchronize()
        value, terms, gradient = (x.read() for x in out)
        return value, gradient, terms

    def iou(op, a, b, upstream, kind):
        case = gpu_iou.IouCase(op, a.shape[:-1], b.shape[:-1], kind)
        call = gpu_iou.IouCall(device, case, a, b, (None, None), upstream)
        call(device.stream())
        device.synchronize()
        return call.read()

    return {"loss": loss, "iou": iou}


# {name: (maker, whether it owes the bits of the first)}.
FACES = {
    "NumPy": (numpy_face, True),
    "NumPy, 2 threads": (lambda: numpy_face(threads=2), True),
    **{
        f"NumPy, {level}": (functools.partial(numpy_face, level), True)
        for level in ("baseline", "avx2", "avx512")
    },
    "TensorFlow, eager": (lambda: tensorflow_face("eager"), True),
    "TensorFlow, graph": (lambda: tensorflow_face("graph"), True),
    "TensorFlow, XLA": (lambda: tensorflow_face("xla"), True),
    "TensorFlow, reference": (lambda: tensorflow_face("eager", "reference"), False),
    "JAX": (jax_face, True),
    "DLPack": (dlpack_face, False),
}


# ------------------------------------------------------------------------------------- the checks


def check_loss(checks, run, owes):
    """`loss.check` in both layouts; and the bits of the first face, of ties and special values."""
    for layout in kernels.LAYOUTS:
        bound = functools.partial(run, semantics=PRESETS["paper"])
        loss_checks.check(checks, bound, PRESETS["paper"], layout)
    if not owes:
        return
    first = numpy_face()["loss"]
    grid = GRIDS["many boxes"]
    pair = loss_checks.random_case(checks.generator("bits"), grid, 5, 0.4, ties=True)
    cases = [(*pair, grid, "cells", semantics) for semantics in PRESETS.values()]
    for which in (0, 1):
        grid, *pair = loss_checks.special_case(which)
        cases.append((*pair, grid, "cells", PRESETS["paper"]))
    for k, arguments in enumerate(cases):
        checks.run("owed bits", k, lambda a=arguments: _owed(checks, run(*a), first(*a)))


def _owed(checks, got, want):
    checks.same("owed bits", "of the first face", *map(_one_nan, (got, want)))


def _one_nan(arrays):
    """Arrays whose NaNs are all the same: which operand lends its sign differs with the level."""
    arrays = [np.array(array) for array in arrays]
    for array in arrays:
        if array.dtype.kind == "f":
            array[np.isnan(array)] = np.nan
    return arrays


def check_iou(checks, run, owes):
    """Every kind, of all pairs and of boxes one by one; bits of degenerate boxes among them too."""
    first = numpy_face()["iou"]
    for op, kind in itertools.product(BOXES, kernels.KINDS):
        generator = checks.generator(op)
        a, b = (_boxes(generator, shape) for shape in BOXES[op])
        shape = getattr(kernels, op)(a, b).shape
        arguments = op, a, b, generator.uniform(-1, 1, shape).astype(np.float32), kind
        checks.run("values", arguments[::4], lambda x=arguments: _iou(checks, run, *x))
        if owes:
            other = op, _degenerate(a), b, *arguments[3:]
            for x in (arguments, other):
                checks.run("owed bits", x[::4], lambda x=x: _owed(checks, run(*x), first(*x)))


def _boxes(generator, shape):
    low = generator.uniform(0, 0.5, (*shape, 2))
    return np.concatenate([low, low + generator.uniform(0.1, 0.5, low.shape)], -1).astype("f4")


def _degenerate(boxes):
    """A copy whose first boxes have no area, are inverted, infinite or not numbers."""
    boxes = boxes.copy()
    boxes[:, 0, 2:] = boxes[:, 0, :2]
    boxes[:, 1] = boxes[:, 1, [2, 3, 0, 1]]
    boxes[:, 2, 3], boxes[:, 3, 0] = np.inf, np.nan
    return boxes


def _iou(checks, run, op, a, b, upstream, kind):
    want = iou_numpy.iou(op, a, b, upstream, kind=kind)
    got = run(op, a, b, upstream, kind)
    for name, mine, true in zip(("overlap", "by a", "by b"), got, want, strict=True):
        checks.near("values", f"{op}, {kind}, {name}", mine, true, IOU_NEAR)


def check_nms(checks, run, owes):
    """Bits of the plain rule in NumPy: suppression computes in float32 and rounds nothing after."""
    del owes
    for seed in range(3):
        pair = nms_numpy.random_case(seed)
        checks.run("owed bits", seed, lambda p=pair: _owed(checks, run(*p), nms_numpy.suppress(*p)))


CHECKS = {"loss": check_loss, "iou": check_iou, "nms": check_nms}


def table(names, seed):
    """Lines of a table, faces by ops, and the failures behind it."""
    lines, failures = [f"{'face':24}" + "".join(f"{op:>26}" for op in OPS)], []
    for name in names:
        maker, owes = FACES[name]
        try:
            face = maker()
        except NotHere as why:
            lines.append(f"{name:24}  left out: {why}")
            continue
        cells = []
        for op in OPS:
            if op not in face:
                cells.append("-")
                continue
            checks = Checks(None, seed)
            CHECKS[op](checks, face[op], owes)
            cells.append(_cell(checks))
            failures += [f"{name}, {op}: {failure}" for failure in checks.failures]
        lines.append(f"{name:24}" + "".join(f"{cell:>26}" for cell in cells))
    lines.append("in brackets: the largest deviation from float64, as a share of the largest value")
    return lines, failures


def _cell(checks):
    if checks.failures:
        return f"{len(checks.failures)} FAILED"
    deviations = [w for group, w in checks.worst.items() if group.startswith("values")]
    bits = ", bits" if "owed bits" in checks.count else ""
    return f"ok{bits}" + (f" ({max(deviations):.0e})" if deviations else "")
