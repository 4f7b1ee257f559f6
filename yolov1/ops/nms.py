"""Non-maximum suppression per class: checks, choice of the implementation."""

import functools

import tensorflow as tf

from yolov1 import kernels
from yolov1.ops import _library, _tape, reference
from yolov1.ops._arguments import device, static_shape


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
    impl="auto",
):
    """Keeps, class by class, the boxes that no better box of the class overlaps, or takes from the
    scores of those that overlap one.

    In order of falling score a box goes when its IoU with one that was kept is greater than
    `iou_threshold`, and boxes with a score that is not greater than `score_threshold` go at once:
    the rule of Darknet's do_nms_sort, which keeps as many boxes of a class as there are. One box
    may be kept for several classes. The IoU is that of the boxes before they are clipped. Of equal
    scores the earlier box comes first, then the lower class; in any order with the reference.

    That is the hard suppression. The soft ones (Soft-NMS, Bodla et al., ICCV 2017, arXiv
    1704.04503) take from the scores in the place of the boxes: of a box of the same class as one
    that was kept, ``"linear"`` multiplies the score by 1 - IoU if the IoU is greater than
    `iou_threshold`, ``"gaussian"`` by exp(-IoU^2 / `sigma`) whatever it is. The next one is that of
    the highest score then, of equal ones as above, with the reference too; what no longer scores
    more than `score_threshold` goes. The time grows with what is kept times what is left.

    Degenerate boxes: a side of negative length counts as 0, and is found as that, its high end
    moved to the low one. A box with a NaN coordinate, or with an area of 0 or infinity, overlaps
    nothing. A NaN score passes no threshold.

    Args:
        boxes_xyxy: ``[N, K, 4]`` fractions of the image, or any other unit without `clip`. Boxes
            and scores are cast to float32.
        scores: ``[N, K, C]``.
        score_threshold: a Python number; ``-inf`` for all scores but that. Not below 0 where
            suppression is soft: what takes from a positive score would raise a negative one.
        iou_threshold: a Python number in [0, 1].
        max_detections: most boxes kept for an image, over all classes; the best ones.
        clip: move the corners of the kept boxes into [0, 1].
        suppression: ``"hard"``, ``"linear"`` or ``"gaussian"``.
        sigma: of the last, a Python number in [1e-30, 1e30].
        impl: ``"auto"``, ``"fused"`` or ``"reference"``: TensorFlow's own op, or, of what is soft,
            a loop of its operations.

    Returns:
        boxes_xyxy ``[N, max_detections, 4]``, scores ``[N, max_detections]``, labels int32
        ``[N, max_detections]``, by falling score (what is left of it) and padded with zeros; count
        int32 ``[N]``.
        No gradient flows through any of them.

    The fused one has a kernel for the CPU and one for a GPU, of the same bits; TensorFlow's runs on
    the CPU. XLA compiles the fused one alone. The reference has the fused one's bits, but for
    ``"gaussian"``: TensorFlow's exponential differs from ours in the last bits.

    Raises:
        ValueError: a shape does not fit, or a number is out of its range; an unknown `impl`.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    rule = score_threshold, iou_threshold, max_detections, clip, suppression, sigma
    config = kernels.nms_config(*rule)
    boxes_xyxy, scores = tf.cast(boxes_xyxy, tf.float32), tf.cast(scores, tf.float32)
    _check_shapes(static_shape(boxes_xyxy), static_shape(scores))

    compiled = _tape.compiled_by_xla()
    place = device(boxes_xyxy)
    chosen = _library.choose("non_max_suppression", impl, place, "float32", compiled)
    if chosen == "fused":
        return _fused(boxes_xyxy, scores, config)
    if impl == "auto" and place == "GPU" and not compiled:  # TensorFlow's op would leave it as well
        if _library.choose("non_max_suppression", impl, "CPU", "float32", compiled) == "fused":
            with tf.device("CPU:0"):
                return _fused(boxes_xyxy, scores, config)
    return reference.non_max_suppression(boxes_xyxy, scores, *rule)


def _fused(boxes_xyxy, scores, config):
    return tuple(_library.load().yolov1_non_max_suppression(boxes_xyxy, scores, config))


@functools.lru_cache(maxsize=256)  # eagerly the same shapes come again and again
def _check_shapes(boxes_xyxy, scores):
    """Refuses static shapes that do not fit; None (unknown) fits anything."""
    boxes, classes = tf.TensorShape(boxes_xyxy), tf.TensorShape(scores)
    fit = classes.is_compatible_with([None] * 3) and boxes.is_compatible_with([None, None, 4])
    if not (fit and classes[:2].is_compatible_with(boxes[:2])):
        raise ValueError(
            "non_max_suppression: boxes_xyxy must be [N, K, 4] and scores [N, K, C], got "
            f"{boxes} and {classes}."
        )
