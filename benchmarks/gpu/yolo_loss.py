"""The YOLO loss for `benchmarks.gpu`: calls, and checks against two others.

These are the CPU's kernel, and in float64 the second implementation in NumPy that the tests have
(`tests.ops.loss_numpy`), which shares no code with either.
"""

import dataclasses
import importlib.util
import itertools

import numpy as np

from benchmarks.gpu import formulas as gpu_formulas
from benchmarks.gpu.device import handed
from benchmarks.gpu.verdicts import DTYPES, NEAR_CPU, NEAR_FLOAT64, arrays_of
from tests.ops import loss_numpy
from tests.ops.matrix import GRIDS, VARIANTS
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, LossSemantics

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
ALL_GRIDS = GRIDS | SIDES


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
        """The dtype of loss and terms."""
        return np.dtype("float64" if self.dtype == "float64" else "float32")

    def options(self):
        names = ("layout", "reduction", "gradient")
        options = {name: getattr(self, name) for name in names}
        return options | {"grid": ALL_GRIDS[self.grid], "semantics": SEMANTICS[self.semantics]}


def cases(versions, small):
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


def inputs(checks, case):
    """Random predictions and targets, without objects whose best box float32 cannot tell."""
    grid = ALL_GRIDS[case.grid]
    generator = checks.generator(dataclasses.replace(case, version=None, offset=0))
    predictions = generator.uniform(0.05, 0.95, (case.images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (case.images, *grid.target_shape))
    has_object = generator.random((case.images, grid.S, grid.S, 1)) < 0.3
    targets[..., grid.target_object_channel] = 1
    predictions = predictions.astype(DTYPES[case.dtype])
    targets = (targets * has_object).astype(DTYPES[case.targets])
    if case.layout == "planes":
        predictions = loss_numpy.join(*loss_numpy.split(predictions, grid), grid, "planes")
    semantics = SEMANTICS[case.semantics]
    doubtful = loss_numpy.undecided(predictions, targets, grid, semantics, case.layout)
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


def check(checks, case):
    """One call, against the CPU's kernel and against float64."""
    predictions, targets = inputs(checks, case)
    call = LossCall(checks.device, case, predictions, targets)
    call(checks.device.stream())
    checks.device.synchronize()
    got = call.read()
    cpu = kernels.yolo_loss(predictions, targets, **case.options())
    true = loss_numpy.yolo_loss(
        predictions, targets, ALL_GRIDS[case.grid], SEMANTICS[case.semantics], case.layout
    )
    mean = case.reduction == "mean"
    loss = true.loss.sum() / max(case.images, 1) if mean else true.loss
    gradient = true.gradient / (max(case.images, 1) if mean else 1)
    names, truth = ("loss", "terms", "gradient"), (loss, true.terms, gradient)
    for name, ours, of_cpu, wanted in zip(names, got, cpu, truth, strict=True):
        if ours is None:
            continue
        dtype = case.dtype if name == "gradient" else case.sums().name
        checks.near(f"loss, {name}, CPU, {dtype}", case, ours, of_cpu, NEAR_CPU[dtype])
        checks.near(f"loss, {name}, float64, {dtype}", case, ours, wanted, NEAR_FLOAT64[dtype])


def check_jax(checks):
    """The handler inside `jax.jit` on JAX's default device, where there are both."""
    if importlib.util.find_spec("jax") is None or not gpu_formulas.register_handlers():
        print("left out: the kernels inside JAX, which the build or this Python does not have")
        return
    import jax

    for name in ("float32", "bfloat16"):
        case = LossCase(images=33, dtype=name, targets=name)
        predictions, targets = inputs(checks, case)
        run = jax.jit(gpu_formulas.fused_jax_loss(GRIDS["paper"], name))
        loss, gradient = run(predictions, targets)
        want = kernels.yolo_loss(predictions, targets, **case.options())
        checks.near("loss, inside JAX", case, loss, want[0], NEAR_CPU["float32"])
        checks.near("loss, inside JAX", case, gradient, want[2], NEAR_CPU[name])


def check_alone(checks, case):
    """An image alone, and without a gradient, has the bits that it has within a batch."""
    predictions, targets = inputs(checks, case)

    def bits(case, image=slice(None)):
        call = LossCall(checks.device, case, predictions[image], targets[image])
        call(checks.device.stream())
        checks.device.synchronize()
        return arrays_of(call)

    together = bits(case)
    for image in range(case.images):
        alone = dataclasses.replace(case, images=1, offset=image)
        got = bits(alone, slice(image, image + 1))
        want = [array[image : image + 1] for array in together]
        checks.same("same bits, an image alone", case, got, want)
    without = bits(dataclasses.replace(case, gradient=False))
    checks.same("same bits, no gradient", case, without, together[:2])
