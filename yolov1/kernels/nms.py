"""Non-maximum suppression of NumPy arrays. `yolov1.ops.nms` has the rule."""

import functools
import numbers

import numpy as np

from yolov1.kernels._module import call


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
):
    """The same kernel as `yolov1.ops.non_max_suppression`, which has the arguments and results.

    Args:
        threads: images are shared out among this many; the result does not depend on it.

    Raises:
        ValueError: a shape does not fit, or a number is out of its range.
        MemoryError: there is none to work in.
        ImportError: the native module is missing.
    """
    config = nms_config(score_threshold, iou_threshold, max_detections, clip)
    inputs = [np.asarray(x, np.float32, order="C") for x in (boxes_xyxy, scores)]
    return tuple(call("Yolov1>NonMaxSuppression", config, inputs, threads=threads))
