"""Values and gradients of the CUDA kernels, against the CPU's and against the twins in float64.

Nothing here imports TensorFlow: the twins of the tests are NumPy. What a check compares is drawn
anew for each seed; what a kernel writes is poisoned before, and guarded on both sides.
"""

import dataclasses
import importlib.util
import itertools

import ml_dtypes
import numpy as np

from benchmarks.gpu import formulas as gpu_formulas
from benchmarks.gpu import load_images as gpu_images
from benchmarks.gpu import nms as gpu_nms
from benchmarks.gpu.device import handed
from benchmarks.gpu.verdicts import Checks
from tests.ops import iou_twin, numpy_twin
from tests.ops.matrix import GRIDS, VARIANTS
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, LossSemantics

DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
SEMANTICS = VARIANTS | {
    f"{wh}, {box}": LossSemantics(wh=wh, box=box)
    for wh in ("sqrt_in_loss", "plain")
    for box in ("giou", "ciou")
}
SEMANTICS |= {
    f"cross-entropies, {box}, {no_object}": LossSemantics(
        box=box,
        no_object=no_object,
        confidence_loss="cross_entropy",
        class_loss="cross_entropy",
    )
    for box in ("squared", "ciou")
    for no_object in CHOICES["no_object"]
}
# By cells: fewer than a warp has lanes and than a block has threads, as many, and more: then in
# tiles, the last of which may be smaller.
SIDES = {f"{S * S} cells": GridSpec(S=S, B=2, C=3) for S in (1, 5, 6, 7, 8, 9, 14)}
LOSS_GRIDS = GRIDS | SIDES
# Of the largest value of an array: what an array of this dtype may be off by. Of the CPU's kernel,
# which rounds in the same places but in sums, and of float64, where the paper's own arithmetic is
# float32 (for a 16-bit dtype the rounding of the result is what counts).
NEAR_CPU = {"float32": 4e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}
NEAR_TWIN = {"float32": 4e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 1.6e-2}


# -------------------------------------------------------------------------------------- the loss


@dataclasses.dataclass(frozen=True)
class LossCase:
    grid: str = "paper"
    images: int = 5
    semantics: str = "paper"
    layout: str = "cells"
    reduction: str = "none"
    dtype: str = "float32"
    targets: str = "float32"
    gradient: bool = True
    offset: int = 0  # of every array, in elements
    version: str | None = None

    def sums(self):
        return np.dtype("float64" if self.dtype == "float64" else "float32")

    def options(self):
        names = ("layout", "reduction", "gradient")
        options = {name: getattr(self, name) for name in names}
        return options | {"grid": LOSS_GRIDS[self.grid], "semantics": SEMANTICS[self.semantics]}


def loss_cases(versions, small):
    """The matrix: every choice with every version, and what depends on addresses and types."""
    pairs = [(dtype, dtype) for dtype in DTYPES]
    pairs += [("float16", "float32"), ("bfloat16", "float32")]
    for version in versions:
        for semantics, layout in itertools.product(SEMANTICS, kernels.LAYOUTS):
            for grid in ("many boxes",) if small else ("paper", "many boxes"):
                reduction = "mean" if layout == "cells" else "none"
                yield LossCase(grid, 4, semantics, layout, reduction, version=version)
        for (dtype, targets), layout, offset in itertools.product(
            pairs, kernels.LAYOUTS, (0, 1) if small else (0, 1, 3, 5)
        ):
            for grid, reduction in itertools.product(GRIDS, ("none", "mean")):
                case = LossCase(grid, 3, "paper", layout, reduction, dtype, targets)
                yield dataclasses.replace(case, offset=offset, version=version)
        for images, reduction, gradient in itertools.product(
            (0, 1, 2, 33) if small else (0, 1, 2, 33, 257, 1500), ("none", "mean"), (True, False)
        ):
            case = LossCase("odd", images, reduction=reduction, gradient=gradient)
            yield dataclasses.replace(case, version=version)
        for grid, layout in itertools.product(SIDES, kernels.LAYOUTS):
            yield LossCase(grid, layout=layout, offset=1, version=version)


def loss_inputs(checks, case):
    """Random predictions and targets, without objects whose best box float32 cannot tell."""
    grid = LOSS_GRIDS[case.grid]
    generator = checks.generator(dataclasses.replace(case, version=None, offset=0))
    predictions = generator.uniform(0.05, 0.95, (case.images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (case.images, *grid.target_shape))
    has_object = generator.random((case.images, grid.S, grid.S, 1)) < 0.3
    targets[..., grid.target_object_channel] = 1
    predictions = predictions.astype(DTYPES[case.dtype])
    targets = (targets * has_object).astype(DTYPES[case.targets])
    if case.layout == "planes":
        predictions = numpy_twin.join(*numpy_twin.split(predictions, grid), grid, "planes")
    semantics = SEMANTICS[case.semantics]
    doubtful = numpy_twin.undecided(predictions, targets, grid, semantics, case.layout)
    kept = ~doubtful.reshape(*targets.shape[:3], 1)
    return predictions, np.where(kept, targets, targets.dtype.type(0))


class LossCall:
    """One call on the device, its inputs there and its outputs poisoned."""

    def __init__(self, device, case, predictions, targets):
        self.case = case
        self.inputs = [device.put(x, case.offset) for x in (predictions, targets)]
        shapes = [((case.images,), case.sums()), ((case.images, 5), case.sums())]
        shapes.append((predictions.shape, predictions.dtype) if case.gradient else None)
        shapes.append(((), case.sums()) if case.reduction == "mean" else None)
        self.outputs = [s and device.poisoned(*s, case.offset) for s in shapes]

    def __call__(self, stream):
        out = tuple(x and handed(x.array) for x in self.outputs)
        inputs = map(handed, self.inputs)
        version = {"version": self.case.version} if self.case.version else {}
        kernels.yolo_loss(*inputs, **self.case.options(), **version, stream=stream, out=out)

    def read(self):
        """Loss (or its mean), terms, gradient or None, as the CPU's kernel returns them."""
        loss, terms, gradient, mean = [x and x.read() for x in self.outputs]
        return mean if mean is not None else loss, terms, gradient


def check_loss(checks, case):
    predictions, targets = loss_inputs(checks, case)
    call = LossCall(checks.device, case, predictions, targets)
    call(checks.device.stream())
    checks.device.synchronize()
    got = call.read()
    cpu = kernels.yolo_loss(predictions, targets, **case.options())
    twin = numpy_twin.yolo_loss(
        predictions, targets, LOSS_GRIDS[case.grid], SEMANTICS[case.semantics], case.layout
    )
    mean = case.reduction == "mean"
    loss = twin.loss.sum() / max(case.images, 1) if mean else twin.loss
    gradient = twin.gradient / (max(case.images, 1) if mean else 1)
    truth = (loss, twin.terms, gradient)
    for name, ours, theirs, true in zip(
        ("loss", "terms", "gradient"), got, cpu, truth, strict=True
    ):
        if ours is None:
            continue
        dtype = case.dtype if name == "gradient" else case.sums().name
        checks.near(f"loss, {name}, CPU, {dtype}", case, ours, theirs, NEAR_CPU[dtype])
        checks.near(f"loss, {name}, float64, {dtype}", case, ours, true, NEAR_TWIN[dtype])


def check_jax(checks):
    """The handler inside `jax.jit` on JAX's default device, where there are both."""
    if importlib.util.find_spec("jax") is None or not gpu_formulas.register_handlers():
        print("left out: the kernels inside JAX, which the build or this Python does not have")
        return
    import jax

    for name in ("float32", "bfloat16"):
        case = LossCase(images=33, dtype=name, targets=name)
        predictions, targets = loss_inputs(checks, case)
        run = jax.jit(gpu_formulas.fused_jax_loss(GRIDS["paper"], name))
        loss, gradient = run(predictions, targets)
        want = kernels.yolo_loss(predictions, targets, **case.options())
        checks.near("loss, inside JAX", case, loss, want[0], NEAR_CPU["float32"])
        checks.near("loss, inside JAX", case, gradient, want[2], NEAR_CPU[name])


# ------------------------------------------------------------------------------------------ IoU


@dataclasses.dataclass(frozen=True)
class IouCase:
    op: str = "pairwise_iou"
    a: tuple = (98,)
    b: tuple = (20,)
    kind: str = "iou"
    box_format: str = "xyxy"
    masks: str = ""  # "", "bool", "counts"
    dtype: str = "float32"
    offset: int = 0
    version: str | None = None

    def options(self):
        return {"kind": self.kind, "box_format": self.box_format}


SHAPES = {
    "pairwise_iou": (
        ((1,), (1,)),
        ((65,), (3,)),
        ((3, 30), (3, 131)),
        ((2, 1, 5), (3, 7)),
        ((1, 9), (4, 9)),
        ((0,), (3,)),
        ((3,), (0,)),
        ((2, 200), (2, 300)),
    ),
    "aligned_iou": (((), ()), ((7,), (7,)), ((3, 1, 5), (4, 1)), ((0, 3), (3,)), ((1000,), (1,))),
}


def iou_cases(versions, small):
    for version, op in itertools.product(versions, SHAPES):
        first = IouCase(op, *SHAPES[op][2], version=version)
        for a, b in SHAPES[op]:
            for masks in ("", "bool", "counts") if op == "pairwise_iou" else ("", "bool"):
                yield dataclasses.replace(first, a=a, b=b, masks=masks)
        for kind, box_format, dtype in itertools.product(
            kernels.KINDS, kernels.BOX_FORMATS, DTYPES
        ):
            for offset in (1,) if small else (0, 1, 3):
                case = dataclasses.replace(first, kind=kind, box_format=box_format, dtype=dtype)
                yield dataclasses.replace(case, offset=offset)


def boxes(generator, shape, case):
    sizes = generator.uniform(0.1, 0.6, (*shape, 2))
    low = generator.uniform(0, 1 - sizes)
    high = low + sizes
    parts = (low, high) if case.box_format == "xyxy" else ((low + high) / 2, sizes)
    return np.concatenate(parts, -1).astype(DTYPES[case.dtype])


def masks(generator, case):
    """valid_a and valid_b, or None twice."""
    if case.masks == "bool":
        return [generator.random(shape) < 0.7 for shape in (case.a, case.b)]
    if case.masks == "counts":
        return [
            np.asarray(generator.integers(0, shape[-1] + 1, shape[:-1]))
            for shape in (case.a, case.b)
        ]
    return [None, None]


class IouCall:
    """Value and gradient on the device; ``call(stream)`` queues both."""

    def __init__(self, device, case, a, b, valid, upstream):
        self.case = case
        self._valid = {
            name: None if mask is None else device.put(mask)
            for name, mask in zip(("valid_a", "valid_b"), valid, strict=True)
        }
        self._inputs = [device.put(x, case.offset) for x in (a, b, upstream)]
        self.outputs = [device.poisoned(x.shape, a.dtype, case.offset) for x in (upstream, a, b)]
        size = kernels.box_iou_workspace(*map(handed, self._inputs[:2]), op=case.op)
        self._workspace = device.put(np.full(size, 0xA5, np.uint8))

    def __call__(self, stream):
        self.forward(stream)
        self.backward(stream)

    def forward(self, stream):
        self._run(self.case.op, stream, self._inputs[:2], handed(self.outputs[0].array))

    def backward(self, stream):
        out = [x.array for x in self.outputs[1:]] + [self._workspace]
        self._run(f"{self.case.op}_gradient", stream, self._inputs, tuple(map(handed, out)))

    def _run(self, name, stream, inputs, out):
        options = self.case.options() | {"version": self.case.version, "stream": stream}
        options |= {side: handed(mask) for side, mask in self._valid.items()}
        getattr(kernels, name)(*map(handed, inputs), **options, out=out)

    def read(self):
        return [x.read() for x in self.outputs]


def make_iou_call(checks, case):
    """The call, what the CPU's kernel gives, and what the twin gives."""
    generator = checks.generator(dataclasses.replace(case, version=None, offset=0))
    a, b = boxes(generator, case.a, case), boxes(generator, case.b, case)
    valid = masks(generator, case)
    options = case.options() | dict(zip(("valid_a", "valid_b"), valid, strict=True))
    value = getattr(kernels, case.op)(a, b, **options)
    upstream = generator.uniform(-2, 2, value.shape).astype(a.dtype)
    cpu = value, *getattr(kernels, f"{case.op}_gradient")(a, b, upstream, **options)
    # Counts are masks by now: the device takes bool.
    valid = [
        None if mask is None else iou_twin.as_mask(mask, x)
        for mask, x in zip(valid, (a, b), strict=True)
    ]
    call = IouCall(checks.device, case, a, b, valid, upstream)
    return call, cpu, iou_twin.iou(case.op, a, b, upstream, **options)


def check_iou(checks, case):
    call, cpu, twin = make_iou_call(checks, case)
    call(checks.device.stream())
    checks.device.synchronize()
    names = ("value", "gradient by a", "gradient by b")
    for name, got, theirs, true in zip(names, call.read(), cpu, twin, strict=True):
        group = f"IoU, {name}"
        checks.near(f"{group}, CPU, {case.dtype}", case, got, theirs, NEAR_CPU[case.dtype])
        checks.near(f"{group}, float64, {case.dtype}", case, got, true, NEAR_TWIN[case.dtype])


# ----------------------------------------------------------------------------------- same bits


def check_bits(checks, make_call, case):
    """The same bits again, on two streams at once, and from a replayed graph."""
    device = checks.device
    first = make_call()
    first(device.stream())
    device.synchronize()
    want = [x for x in first.read() if x is not None]
    twins = make_call(), make_call()
    for call, stream in zip(twins, (device.stream(), device.stream()), strict=True):
        for _ in range(3):
            call(stream)
    device.synchronize()
    for call in twins:
        checks.same("same bits, runs and two streams", case, _arrays(call), want)
    again = make_call()
    device.captured(again, 3)
    checks.same("same bits, replays", case, _arrays(again), want)


def check_places(checks, case):
    """An image alone, and without a gradient, has the bits that it has within a batch."""
    predictions, targets = loss_inputs(checks, case)

    def bits(case, image=slice(None)):
        call = LossCall(checks.device, case, predictions[image], targets[image])
        call(checks.device.stream())
        checks.device.synchronize()
        return _arrays(call)

    together = bits(case)
    for image in range(case.images):
        alone = dataclasses.replace(case, images=1, offset=image)
        got = bits(alone, slice(image, image + 1))
        want = [array[image : image + 1] for array in together]
        checks.same("same bits, an image alone", case, got, want)
    without = bits(dataclasses.replace(case, gradient=False))
    checks.same("same bits, no gradient", case, without, together[:2])


def _arrays(call):
    return [x for x in call.read() if x is not None]


def run(device, seed, small=False, say=print):
    """All checks; the `Checks` they went into."""
    checks = Checks(device, seed)
    loss_versions = kernels.yolo_loss_versions("cuda")
    iou_versions = kernels.box_iou_versions("cuda")
    say(f"seed {seed}; loss {', '.join(loss_versions)}; IoU {', '.join(iou_versions)}")
    for case in loss_cases(loss_versions, small):
        checks.run("loss", case, lambda case=case: check_loss(checks, case))
    for case in iou_cases(iou_versions, small):
        checks.run("IoU", case, lambda case=case: check_iou(checks, case))
    for case in gpu_nms.cases(small):
        checks.run("NMS", case, lambda case=case: gpu_nms.check(checks, case))
    for case in gpu_images.cases(small):
        checks.run("images", case, lambda case=case: gpu_images.check(checks, case))
    for version, reduction in itertools.product(loss_versions, ("none", "mean")):
        case = LossCase(images=9, reduction=reduction, offset=1, version=version)
        inputs = loss_inputs(checks, case)
        make = lambda case=case, inputs=inputs: LossCall(device, case, *inputs)  # noqa: E731
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    for version, grid, layout in itertools.product(loss_versions, LOSS_GRIDS, kernels.LAYOUTS):
        for dtype in ("float32", "bfloat16"):
            case = LossCase(grid, 3, layout=layout, dtype=dtype, version=version)
            checks.run("same bits", case, lambda case=case: check_places(checks, case))
    for version, shape in itertools.product(iou_versions, SHAPES["pairwise_iou"][2:]):
        case = IouCase("pairwise_iou", *shape, version=version)
        make = lambda case=case: make_iou_call(checks, case)[0]  # noqa: E731
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    shapes = (
        (5, 98, 20, "ties", 0, 1),
        (2, 400, 2, "ties", 3),
        (2, 400, 2, "ties", gpu_nms.SOFT[1]),
    )
    for case in (gpu_nms.NmsCase(*shape) for shape in shapes):
        arrays = gpu_nms.inputs(checks, case)
        make = lambda case=case, arrays=arrays: gpu_nms.NmsCall(device, case, *arrays)  # noqa: E731
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    for case in (gpu_images.ImagesCase(5, 33), gpu_images.ImagesCase(3, 64, "float16", "large")):
        arrays = gpu_images.inputs(checks, case)
        make = lambda case=case, arrays=arrays: gpu_images.ImagesCall(device, case, *arrays)  # noqa: E731
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    return checks
