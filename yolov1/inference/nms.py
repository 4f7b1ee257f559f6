"""Non-maximum suppression per class, by TensorFlow's own op."""

import tensorflow as tf


def non_max_suppression(
    boxes_xyxy, scores, *, score_threshold=0.001, iou_threshold=0.5, max_detections=300, clip=True
):
    """Keeps, class by class, the boxes that no better box of the class overlaps.

    In order of falling score a box goes when its IoU with one that was kept is greater than
    `iou_threshold`, and boxes with a score that is not greater than `score_threshold` go at once:
    the rule of Darknet's do_nms_sort, which keeps as many boxes of a class as there are. One box
    may be kept for several classes. The IoU is that of the boxes before they are clipped.

    Args:
        boxes_xyxy: ``[N, K, 4]`` fractions of the image.
        scores: ``[N, K, C]``.
        max_detections: most boxes kept for an image, over all classes; the best ones.
        clip: move the corners of the kept boxes into [0, 1].

    Returns:
        boxes_xyxy ``[N, max_detections, 4]``, scores ``[N, max_detections]``, labels int32
        ``[N, max_detections]``, by falling score and padded with zeros; count int32 ``[N]``.
    """
    boxes_xyxy, scores = tf.convert_to_tensor(boxes_xyxy), tf.convert_to_tensor(scores)
    # The op speaks of (y, x) corners; overlap and clipping are the same with the axes exchanged.
    found = tf.image.combined_non_max_suppression(
        tf.cast(boxes_xyxy, tf.float32)[:, :, None, :],
        tf.cast(scores, tf.float32),
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=clip,
    )
    return (
        found.nmsed_boxes,
        found.nmsed_scores,
        tf.cast(found.nmsed_classes, tf.int32),
        found.valid_detections,
    )
