"""Values and gradients of the CUDA kernels, against the CPU's and against the twins in float64.

Nothing here imports TensorFlow: the twins of the tests are NumPy. What a check compares is drawn
anew for each seed; what a kernel writes is poisoned before, and guarded on both sides.
"""

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
    want = [x for x in first.read() if x is not None]
    twins = make_call(), make_call()
    for call, stream in zip(twins, (device.stream(), device.stream()), strict=True):
        for _ in range(3):
            call(stream)
    device.synchronize()
    for call in twins:
        checks.same("same bits, runs and two streams", case, arrays_of(call), want)
    again = make_call()
    device.captured(again, 3)
    checks.same("same bits, replays", case, arrays_of(again), want)


def run(device, seed, small=False, say=print):
    """All checks; the `Checks` they went into."""
    checks = Checks(device, seed)
    loss_versions = kernels.yolo_loss_versions("cuda")
    iou_versions = kernels.box_iou_versions("cuda")
    say(f"seed {seed}; loss {', '.join(loss_versions)}; IoU {', '.join(iou_versions)}")
    for case in gpu_loss.loss_cases(loss_versions, small):
        checks.run("loss", case, lambda case=case: gpu_loss.check_loss(checks, case))
    for case in gpu_iou.iou_cases(iou_versions, small):
        checks.run("IoU", case, lambda case=case: gpu_iou.check_iou(checks, case))
    for case in gpu_nms.cases(small):
        checks.run("NMS", case, lambda case=case: gpu_nms.check(checks, case))
    for case in gpu_images.cases(small):
        checks.run("images", case, lambda case=case: gpu_images.check(checks, case))
    for version, reduction in itertools.product(loss_versions, ("none", "mean")):
        case = gpu_loss.LossCase(images=9, reduction=reduction, offset=1, version=version)
        inputs = gpu_loss.loss_inputs(checks, case)
        make = lambda case=case, inputs=inputs: gpu_loss.LossCall(device, case, *inputs)  # noqa: E731
        checks.run("same bits", case, lambda m=make, c=case: check_bits(checks, m, c))
    grids = gpu_loss.LOSS_GRIDS
    for version, grid, layout in itertools.product(loss_versions, grids, kernels.LAYOUTS):
        for dtype in ("float32", "bfloat16"):
            case = gpu_loss.LossCase(grid, 3, layout=layout, dtype=dtype, version=version)
            checks.run("same bits", case, lambda case=case: gpu_loss.check_places(checks, case))
    for version, shape in itertools.product(iou_versions, gpu_iou.SHAPES["pairwise_iou"][2:]):
        case = gpu_iou.IouCase("pairwise_iou", *shape, version=version)
        make = lambda case=case: gpu_iou.make_iou_call(checks, case)[0]  # noqa: E731
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
