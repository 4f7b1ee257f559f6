"""All checks of the CUDA kernels: values and gradients of each op, and the same bits every time.

Nothing here imports TensorFlow. What a check compares is drawn anew for each seed; what a kernel
writes is filled with a pattern before, and guarded on both sides (`device.Output`).
"""

import functools
import itertools

from benchmarks.gpu import box_iou as gpu_iou
from benchmarks.gpu import load_images as gpu_images
from benchmarks.gpu import nms as gpu_nms
from benchmarks.gpu import yolo_loss as gpu_loss
from benchmarks.gpu.verdicts import Checks, arrays_of
from yolov1 import kernels


def check_bits(checks, make_call, case):
    """The same bits again, on two streams at once, and from a replayed graph."""
    device = checks.device
    first = make_call()
    first(device.stream())
    device.synchronize()
    want = arrays_of(first)
    two = make_call(), make_call()
    for call, stream in zip(two, (device.stream(), device.stream()), strict=True):
        for _ in range(3):
            call(stream)
    device.synchronize()
    for call in two:
        checks.same("same bits, runs and two streams", case, arrays_of(call), want)
    again = make_call()
    device.captured(again, 3)
    checks.same("same bits, replays", case, arrays_of(again), want)


def repeated(checks, loss_versions, iou_versions):
    """(case, function that makes a call of it) for `check_bits`, of every op."""

    def calls(op, make, cases):
        for case in cases:
            yield case, functools.partial(make, checks.device, case, *op.inputs(checks, case))

    reductions = itertools.product(loss_versions, ("none", "mean"))
    cases = [gpu_loss.LossCase(images=9, reduction=r, offset=1, version=v) for v, r in reductions]
    yield from calls(gpu_loss, gpu_loss.LossCall, cases)
    for version, shape in itertools.product(iou_versions, gpu_iou.SHAPES["pairwise_iou"][2:]):
        case = gpu_iou.IouCase("pairwise_iou", *shape, version=version)
        yield case, lambda case=case: gpu_iou.make_call(checks, case)[0]
    shapes = (5, 98, 20, "ties", 0, 1), (2, 400, 2, "ties", 3), (2, 400, 2, "ties", gpu_nms.SOFT[1])
    yield from calls(gpu_nms, gpu_nms.NmsCall, [gpu_nms.NmsCase(*shape) for shape in shapes])
    cases = gpu_images.ImagesCase(5, 33), gpu_images.ImagesCase(3, 64, "float16", "large")
    yield from calls(gpu_images, gpu_images.ImagesCall, cases)


def run(device, seed, small=False, say=print):
    """All checks; the `Checks` they went into."""
    checks = Checks(device, seed)
    loss_versions = kernels.yolo_loss_versions("cuda")
    iou_versions = kernels.box_iou_versions("cuda")
    say(f"seed {seed}; loss {', '.join(loss_versions)}; IoU {', '.join(iou_versions)}")
    for group, op, cases in (
        ("loss", gpu_loss, gpu_loss.cases(loss_versions, small)),
        ("IoU", gpu_iou, gpu_iou.cases(iou_versions, small)),
        ("NMS", gpu_nms, gpu_nms.cases(small)),
        ("images", gpu_images, gpu_images.cases(small)),
    ):
        for case in cases:
            checks.run(group, case, lambda op=op, case=case: op.check(checks, case))
    for case, make in repeated(checks, loss_versions, iou_versions):
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    grids = gpu_loss.ALL_GRIDS
    for version, grid, layout in itertools.product(loss_versions, grids, kernels.LAYOUTS):
        for dtype in ("float32", "bfloat16"):
            case = gpu_loss.LossCase(grid, 3, layout=layout, dtype=dtype, version=version)
            checks.run("same bits", case, lambda case=case: gpu_loss.check_alone(checks, case))
    return checks
