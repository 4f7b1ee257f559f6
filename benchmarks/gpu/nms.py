"""Non-maximum suppression for `benchmarks.gpu`: calls, and checks of their bits.

These must be those of the CPU's kernel and of the rule written plainly in NumPy
(`tests.ops.nms_numpy`).
"""

import dataclasses

import numpy as np

from benchmarks.gpu.device import handed
from tests.ops import nms_numpy
from tests.ops.nms_numpy import random_case
from yolov1 import kernels

RULES = (
    {},
    dict(score_threshold=0.4, iou_threshold=0.3, max_detections=7),
    dict(score_threshold=0.0, iou_threshold=0.0, clip=False),
    dict(score_threshold=-np.inf, iou_threshold=1, max_detections=3000),
    dict(score_threshold=-np.inf, iou_threshold=0.1, max_detections=1),
    dict(score_threshold=2.0),
    dict(suppression="linear"),
    dict(suppression="linear", score_threshold=0.0, iou_threshold=0.1, max_detections=3000),
    dict(suppression="gaussian"),
    dict(suppression="gaussian", score_threshold=0.0, sigma=0.1, clip=False, max_detections=40),
)
SOFT = (6, 8)  # of RULES
SHAPES = (  # images, boxes, classes
    (2, 98, 20), (3, 40, 1), (2, 1, 3), (1, 1, 1), (2, 0, 3), (2, 3, 0), (0, 5, 2), (1, 31, 70),
    (1, 127, 2), (1, 128, 2), (1, 129, 2), (2, 300, 3), (1, 1000, 1),
)  # fmt: skip
LARGE = (64, 98, 20), (3, 1024, 20), (1, 5000, 3), (1, 20000, 1)
NUMPY_UP_TO = 1000  # scores: the rule in NumPy is slow


@dataclasses.dataclass(frozen=True)
class NmsCase:
    images: int = 2
    boxes: int = 98
    classes: int = 20
    values: str = "plain"
    rule: int = 0  # of RULES
    offset: int = 0  # of every array, in elements


def _ties(rng, boxes, scores):
    return boxes, np.round(scores * 8) / 8


def _equal(rng, boxes, scores):
    zero = np.where(rng.random(scores.shape) < 0.5, np.float32(-0.0), np.float32(0))
    return boxes, zero + np.float32(0.5) * (np.arange(len(scores)) % 2)[:, None, None]


def _special(rng, boxes, scores):
    scores = scores.copy()
    scores[:, ::5, :1] = np.nan
    scores[:, 1::7, 1:2] = -np.inf
    scores[:, 3:4, 2:3] = np.inf
    return nms_numpy.degenerate(boxes, int(rng.integers(1 << 20))), scores


def _chain(rng, boxes, scores):
    """Each box overlaps its neighbours alone, in the order of the scores: every other one stays."""
    k = np.arange(boxes.shape[1], dtype=np.float32)
    row = np.stack([k, 0 * k, k + 1.8, 0 * k + 1], -1) / 64
    falling = 1 - k / max(len(k), 1) / 2
    return np.broadcast_to(row, boxes.shape), np.broadcast_to(falling[:, None], scores.shape)


def _one_place(rng, boxes, scores):
    return np.broadcast_to(boxes[:, :1], boxes.shape), scores


VALUES = {
    "plain": lambda rng, boxes, scores: (boxes, scores),
    "ties": _ties,
    "equal": _equal,
    "special": _special,
    "chain": _chain,
    "one place": _one_place,
}


def cases(small):
    """Every shape, every kind of values by every rule, and what depends on addresses."""
    for shape in SHAPES if small else SHAPES + LARGE:
        for rule in (0, 3, *SOFT) if small else (*range(4), *SOFT):
            yield NmsCase(*shape, rule=rule)
    for values in VALUES:
        for rule in range(len(RULES)):
            yield NmsCase(values=values, rule=rule, offset=rule % 2)
            yield NmsCase(1, 400, 2, values, rule, offset=rule % 4)


def inputs(checks, case):
    generator = checks.generator(dataclasses.replace(case, rule=0, offset=0))
    shape = case.images, case.boxes, case.classes
    random = random_case(int(generator.integers(1 << 30)), *shape)
    with np.errstate(invalid="ignore"):
        values = VALUES[case.values](generator, *random)
    return [np.ascontiguousarray(x, np.float32) for x in values]


class NmsCall:
    """One call on the device, its inputs there and its outputs poisoned."""

    def __init__(self, device, case, boxes, scores):
        self._rule = RULES[case.rule]
        self._inputs = [device.put(x, case.offset) for x in (boxes, scores)]
        found = len(boxes), self._rule.get("max_detections", 300)
        shapes = (*found, 4), found, found, found[:1]
        kinds = np.float32, np.float32, np.int32, np.int32
        self._outputs = [
            device.poisoned(*of, case.offset) for of in zip(shapes, kinds, strict=True)
        ]
        size = kernels.nms_workspace(*map(handed, self._inputs))
        self._workspace = device.put(np.full(size, 0xA5, np.uint8))

    def __call__(self, stream):
        out = [x.array for x in self._outputs] + [self._workspace]
        inputs = map(handed, self._inputs)
        kernels.non_max_suppression(
            *inputs, **self._rule, stream=stream, out=tuple(map(handed, out))
        )

    def read(self):
        return [x.read() for x in self._outputs]


def check(checks, case):
    arrays = inputs(checks, case)
    call = NmsCall(checks.device, case, *arrays)
    call(checks.device.stream())
    checks.device.synchronize()
    got, rule = call.read(), RULES[case.rule]
    checks.same("NMS, CPU", case, got, kernels.non_max_suppression(*arrays, **rule))
    # NumPy's exponential has other last bits.
    if arrays[1].size <= NUMPY_UP_TO and rule.get("suppression") != "gaussian":
        checks.same("NMS, plain rule", case, got, nms_numpy.suppress(*arrays, **rule))
