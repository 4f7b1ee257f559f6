"""Non-maximum suppression by TensorFlow's own op. `yolov1.ops.nms` has the rule."""

import tensorflow as tf


def non_max_suppression(boxes_xyxy, scores, score_threshold, iou_threshold, max_detections, clip):
    """Boxes, scores, labels and count of checked float32 tensors. Equal scores come in any order.

    TensorFlow's op runs on the CPU, and XLA does not compile it.
    """
    low, high = tf.split(tf.stop_gradient(boxes_xyxy), 2, axis=-1)
    # Inverted boxes are empty. TensorFlow's op would put their corners in order.
    boxes_xyxy = tf.concat([low, tf.where(high < low, low, high)], axis=-1)
    # It speaks of (y, x) corners; overlap and clipping are the same with the axes exchanged.
    found = tf.image.combined_non_max_suppression(
        boxes_xyxy[:, :, None, :],
        tf.stop_gradient(scores),
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
