"""Non-maximum suppression of NumPy arrays, or of arrays on a GPU. `yolov1.ops.nms` has the rule."""

import functools
import numbers

import numpy as np

from yolov1.kernels import _device
from yolov1.kernels._module import call, extension

_FACE, _OP = "non_max_suppression", "Yolov1>NonMaxSuppression"
_RESULTS = ("boxes_xyxy", "scores", "labels", "count", "workspace")

SUPPRESSIONS = ("hard", "linear", "gaussian")
_NAMES = ", ".join(SUPPRESSIONS)


def nms_config(
    score_threshold, iou_threshold, max_detections, clip, suppression="hard", sigma=0.5
) -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words.

    Raises:
        TypeError: something is no Python number; a tensor, say, which a configuration cannot hold.
        ValueError: a number is out of its range, or NaN; or there is no such `suppression`.
    """
    rule = score_threshold, iou_threshold, max_detections, clip, suppression, sigma
    try:
        return _config(*rule)
    except TypeError:  # what cannot be hashed, as a tensor, is no number either
        return _config.__wrapped__(*rule)


@functools.lru_cache(maxsize=256, typed=True)  # clip=1 is refused, and equals True
def _config(score_threshold, iou_threshold, max_detections, clip, suppression, sigma):
    for name, value, kind, expected in (
        ("score_threshold", score_threshold, numbers.Real, "a Python number"),
        ("iou_threshold", iou_threshold, numbers.Real, "a Python number"),
        ("max_detections", max_detections, numbers.Integral, "a Python integer"),
        ("clip", clip, (bool, np.bool_), "True or False"),
        ("suppression", suppression, str, "a string"),
        ("sigma", sigma, numbers.Real, "a Python number"),
    ):
        if not isinstance(value, kind):
            raise TypeError(
                f"non_max_suppression: {name} must be {expected}, got {type(value).__name__}."
            )
    score_threshold, iou_threshold, sigma = map(float, (score_threshold, iou_threshold, sigma))
    hard = suppression == "hard"
    for name, value, fits, expected in (
        ("suppression", suppression, suppression in SUPPRESSIONS, f"one of {_NAMES}"),
        ("score_threshold", score_threshold, score_threshold == score_threshold, "a number"),
        (
            "score_threshold",
            score_threshold,
            hard or score_threshold >= 0,
            f"at least 0 with suppression={suppression!r}, which would raise a negative score",
        ),
        ("iou_threshold", iou_threshold, 0 <= iou_threshold <= 1, "from 0 to 1"),
        ("max_detections", max_detections, 1 <= max_detections < 2**31, "from 1 to 2^31 - 1"),
        ("sigma", sigma, 1e-30 <= sigma <= 1e30, "from 1e-30 to 1e30"),
    ):
        if not fits:
            raise ValueError(f"non_max_suppression: {name} must be {expected}, got {value}.")
    # Decimals of floats read back exactly.
    return (
        f"score_threshold={score_threshold!r} iou_threshold={iou_threshold!r} "
        f"max_detections={int(max_detections)} clip={bool(clip)}"
        + ("" if hard else f" suppression={suppression} sigma={sigma!r}")
    )


def non_max_suppression(
    boxes_xyxy,
    scores,
    *,
    score_threshold=0.001,
    iou_threshold=0.5,
    max_detections=300,
    clip=True,
    suppression="hard",
    sigma=0.5,
    threads=1,
    stream=None,
    out=None,
):
    """The same kernel as `yolov1.ops.non_max_suppression`, which has the arguments and results.

    Args:
        threads: images are shared out among this many; the result does not depend on it.
        stream: for arrays on a GPU, of float32: as in `yolo_loss`.
        out: for arrays on a GPU, as in `yolo_loss`: the results, and a workspace of uint8
            ``[nms_workspace(boxes_xyxy, scores)]`` at a multiple of 16 bytes.

    Raises:
        ValueError: a shape does not fit, or a number is out of its range.
        TypeError: one array is on a GPU and another is not, or not of float32.
        MemoryError: there is none to work in.
        ImportError: the native module is missing.
        RuntimeError: CUDA refuses the launch, or this build has no CUDA kernels.
    """
    rule = score_threshold, iou_threshold, max_detections, clip, suppression, sigma
    config = nms_config(*rule)
    if any(map(_device.is_device_array, (boxes_xyxy, scores))):
        stream = _device.stream_of(boxes_xyxy, stream)
        inputs = _device.views(_FACE, {"boxes_xyxy": boxes_xyxy, "scores": scores}, stream)
        options = dict(results=_RESULTS, stream=stream, version=None)
        found = _device.call(_FACE, _OP, config, inputs, boxes_xyxy, out, **options)
        return tuple(found[name] for name in _RESULTS[:-1])
    _device.refuse_on_host(_FACE, stream=stream, out=out)
    inputs = [np.asarray(x, np.float32, order="C") for x in (boxes_xyxy, scores)]
    return tuple(call(_OP, config, inputs, threads=threads)[:-1])


def nms_workspace(boxes_xyxy, scores) -> int:
    """Bytes that `non_max_suppression` works in on a GPU, for arrays there: the size of `out`'s
    workspace, whose address must be a multiple of 16."""
    inputs = _device.views(_FACE, {"boxes_xyxy": boxes_xyxy, "scores": scores}, 0)
    config = nms_config(0, 0, 1, True)
    *_, workspace = extension().results_on_gpu(_OP, config, [*inputs.values()], 0)
    return workspace[0][0] if workspace else 0
