"""IoU for `benchmarks.gpu`: calls, and checks against two others.

These are the CPU's kernel, and in float64 the second implementation in NumPy that the tests have
(`tests.ops.iou_numpy`), which shares no code with either.
"""

import dataclasses
import itertools

import numpy as np

from benchmarks.gpu.device import handed
from benchmarks.gpu.verdicts import DTYPES, NEAR_CPU, NEAR_FLOAT64
from tests.ops import iou_numpy
from yolov1 import kernels


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


def cases(versions, small):
    """Every shape with its masks; every kind, format and dtype, at addresses of all alignments."""
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
    """Random boxes ``[*shape, 4]`` in [0, 1], in the format and dtype of the case."""
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


def make_call(checks, case):
    """The call, what the CPU's kernel gives, and what NumPy gives in float64."""
    generator = checks.generator(dataclasses.replace(case, version=None, offset=0))
    a, b = boxes(generator, case.a, case), boxes(generator, case.b, case)
    valid = masks(generator, case)
    options = case.options() | dict(zip(("valid_a", "valid_b"), valid, strict=True))
    value = getattr(kernels, case.op)(a, b, **options)
    upstream = generator.uniform(-2, 2, value.shape).astype(a.dtype)
    cpu = value, *getattr(kernels, f"{case.op}_gradient")(a, b, upstream, **options)
    # Counts are masks by now: the device takes bool.
    valid = [
        None if mask is None else iou_numpy.as_mask(mask, x)
        for mask, x in zip(valid, (a, b), strict=True)
    ]
    call = IouCall(checks.device, case, a, b, valid, upstream)
    return call, cpu, iou_numpy.iou(case.op, a, b, upstream, **options)


def check(checks, case):
    """One call, against the CPU's kernel and against float64."""
    call, cpu, truth = make_call(checks, case)
    call(checks.device.stream())
    checks.device.synchronize()
    names = ("value", "gradient by a", "gradient by b")
    for name, got, theirs, true in zip(names, call.read(), cpu, truth, strict=True):
        group = f"IoU, {name}"
        checks.near(f"{group}, CPU, {case.dtype}", case, got, theirs, NEAR_CPU[case.dtype])
        checks.near(f"{group}, float64, {case.dtype}", case, got, true, NEAR_FLOAT64[case.dtype])
