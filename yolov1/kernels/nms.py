"""Non-maximum suppression of NumPy arrays, or of arrays on a GPU. `yolov1.ops.nms` has the rule."""

import functools
import numbers

import numpy as np

from yolov1.kernels import _device
from yolov1.kernels._module import extension


def nms_config(score_threshold, iou_threshold, max_detections, clip) -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words.

    Raises:
        TypeError: something is no Python number; a tensor, say, which a configuration cannot hold.
        ValueError: a number is out of its range, or NaN.
    """
    for name, value, kind, expected in (
        ("score_threshold", score_threshold, numbers.Real, "a Python number"),
        ("iou_threshold", iou_threshold, numbers.Real, "a Python number"),
        ("max_detections", max_detections, numbers.Integral, "a Python integer"),
        ("clip", clip, (bool, np.bool_), "True or False"),
    ):
        if not isinstance(value, kind):
            raise TypeError(
                f"non_max_suppression: {name} must be {expected}, got {type(value).__name__}."
            )
    return _config(float(score_threshold), float(iou_threshold), int(max_detections), bool(clip))


@functools.lru_cache(maxsize=256)
def _config(score_threshold, iou_threshold, max_detections, clip):
    for name, value, fits, expected in (
        ("score_threshold", score_threshold, score_threshold == score_threshold, "a number"),
        ("iou_threshold", iou_threshold, 0 <= iou_threshold <= 1, "from 0 to 1"),
        ("max_detections", max_detections, 1 <= max_detections < 2**31, "from 1 to 2^31 - 1"),
    ):
        if not fits:
            raise ValueError(f"non_max_suppression: {name} must be {expected}, got {value}.")
    # Decimals of floats read back exactly.
    return (
        f"score_threshold={score_threshold!r} iou_threshold={iou_threshold!r} "
        f"max_detections={max_detections} clip={clip}"
    )


def non_max_suppression(
    boxes_xyxy,
    scores,
    *,
    score_threshold=0.001,
    iou_threshold=0.5,
    max_detections=300,
    clip=True,
    threads=1,
    stream=None,
    out=None,
):
    """The same kernel as `yolov1.ops.non_max_suppression`, which has the arguments and results.

    Args:
        threads: images are shared out among this many; the result does not depend on it.
        stream: for arrays on a GPU (float32; CuPy, PyTorch, JAX: kernels/_device.py), which must be
            the current device: the number of the cudaStream_t that the kernels are queued on; None:
            the default stream.
        out: for arrays on a GPU: where to write, the results and a workspace of uint8
            ``[nms_workspace(boxes_xyxy, scores)]`` at a multiple of 16 bytes. The call then neither
            allocates nor waits, and a CUDA graph may record it. None: new arrays, of PyTorch or
            CuPy.

    Raises:
        ValueError: a shape does not fit, or a number is out of its range.
        TypeError: one array is on a GPU and another is not, or not of float32.
        MemoryError: there is none to work in.
        ImportError: the native module is missing.
        RuntimeError: CUDA refuses the launch, or this build has no CUDA kernels.
    """
    config = nms_config(score_threshold, iou_threshold, max_detections, clip)
    if any(map(_device.is_device_array, (boxes_xyxy, scores))):
        return _on_device(config, boxes_xyxy, scores, max_detections, stream or 0, out)
    _device.refuse_on_host("non_max_suppression", stream=stream, out=out)
    return extension().non_max_suppression(config, boxes_xyxy, scores, threads)


def nms_workspace(boxes_xyxy, scores) -> int:
    """Bytes that `non_max_suppression` works in on a GPU, for arrays there: the size of `out`'s
    workspace, whose address must be a multiple of 16."""
    views = _inputs(boxes_xyxy, scores, 0)
    return extension().non_max_suppression_cuda_workspace(nms_config(0, 0, 1, True), *views)


# --------------------------------------------------------------------------------------- on a GPU


def _inputs(boxes_xyxy, scores, stream):
    op = "non_max_suppression"
    _device.check_cuda(op)
    views = [
        _device.read(op, name, array, stream)
        for name, array in (("boxes_xyxy", boxes_xyxy), ("scores", scores))
    ]
    if {view.dtype for view in views} != {"float32"}:
        raise TypeError(
            f"{op}: boxes_xyxy and scores must be float32 on a GPU, got {views[0].dtype} and "
            f"{views[1].dtype}; convert them first."
        )
    return views


def _on_device(config, boxes_xyxy, scores, most, stream, out):
    op = "non_max_suppression"
    inputs = _inputs(boxes_xyxy, scores, stream)
    size = extension().non_max_suppression_cuda_workspace(config, *inputs)  # checks the shapes
    images, most = inputs[0].shape[0], int(most)
    wanted = (
        ("boxes_xyxy", (images, most, 4), "float32"),
        ("scores", (images, most), "float32"),
        ("labels", (images, most), "int32"),
        ("count", (images,), "int32"),
        ("workspace", (size,), "uint8"),
    )
    if out is None:
        out = [_device.empty_like(op, boxes_xyxy, *of) for _, *of in wanted]
    if len(out) != len(wanted):
        raise ValueError(
            f"{op}: out must be ({', '.join(name for name, *_ in wanted)}), got {len(out)} arrays."
        )
    views = [
        _device.output(op, name, array, *of, stream)
        for (name, *of), array in zip(wanted, out, strict=True)
    ]
    _device.check_one_gpu(op, *inputs, *views)
    if views[-1].pointer % 16:
        raise ValueError(
            f"{op}: out: workspace must begin at a multiple of 16 bytes, got "
            f"{views[-1].pointer:#x}."
        )
    extension().non_max_suppression_cuda(config, *inputs, *views, stream)
    return tuple(out[:-1])
