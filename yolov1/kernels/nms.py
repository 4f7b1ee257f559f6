"""Non-maximum suppression of NumPy arrays. `yolov1.ops.nms` has the rule."""

import functools
import operator

from yolov1.kernels._module import extension


@functools.lru_cache(maxsize=256)
def nms_config(score_threshold, iou_threshold, max_detections, clip) -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words.

    Raises:
        ValueError: a number is out of its range, or NaN.
    """
    score_threshold, iou_threshold = float(score_threshold), float(iou_threshold)
    max_detections = operator.index(max_detections)
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
        f"max_detections={max_detections} clip={bool(clip)}"
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
    return extension().non_max_suppression(config, boxes_xyxy, scores, threads)
