"""Non-maximum suppression in plain TensorFlow. `yolov1.ops.nms` has the rules."""

import numpy as np
import tensorflow as tf

_TINY = np.finfo(np.float32).tiny


def non_max_suppression(
    boxes_xyxy,
    scores,
    score_threshold,
    iou_threshold,
    max_detections,
    clip,
    suppression="hard",
    sigma=0.5,
):
    """Boxes, scores, labels and count of checked float32 tensors.

    The hard rule is TensorFlow's own op: equal scores come in any order, it runs on the CPU, and
    XLA does not compile it. The soft rules are a loop over what is kept, of all images at once.
    """
    low, high = tf.split(tf.stop_gradient(boxes_xyxy), 2, axis=-1)
    # Inverted boxes are empty. TensorFlow's op would put their corners in order.
    boxes_xyxy = tf.concat([low, tf.where(high < low, low, high)], axis=-1)
    scores = tf.stop_gradient(scores)
    if suppression != "hard":
        rule = score_threshold, iou_threshold, max_detections, suppression, sigma
        found, *others = _soft(boxes_xyxy, scores, *rule)
        inside = tf.where(found == found, tf.clip_by_value(found, 0.0, 1.0), found)
        return inside if clip else found, *others
    # It speaks of (y, x) corners; overlap and clipping are the same with the axes exchanged.
    found = tf.image.combined_non_max_suppression(
        boxes_xyxy[:, :, None, :],
        scores,
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


def _soft(boxes_xyxy, scores, score_threshold, iou_threshold, most, suppression, sigma):
    """Keeps in every image the best that is left, and takes from the scores of its class, until
    nothing scores enough."""
    known = zip(scores.shape, tf.unstack(tf.shape(scores)), strict=True)
    images, boxes, classes = (size if static is None else static for static, size in known)
    areas = tf.reduce_prod(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], axis=-1)
    rows = tf.range(images)

    def candidates(scores):
        """0 for what scores too little: less than any candidate, as the threshold is at least 0."""
        return tf.where((scores > score_threshold) & (scores >= _TINY), scores, 0.0)

    def left(k, scores, *found):
        return tf.reduce_any(scores > 0)

    def keep(k, scores, found, found_scores, labels, count):
        flat = tf.reshape(scores, [images, -1])
        place = tf.argmax(flat, axis=1, output_type=tf.int32)  # of equal ones the first
        score = tf.gather(flat, place, batch_dims=1)
        number, label = place // classes, place % classes
        box = tf.gather(boxes_xyxy, number, batch_dims=1)
        iou = _iou(boxes_xyxy, areas, box[:, None], tf.gather(areas, number, batch_dims=1)[:, None])
        if suppression == "linear":
            factor = tf.where(iou > iou_threshold, 1 - iou, 1.0)
        else:
            factor = tf.where(iou > 0, tf.exp(-(iou * iou) / sigma), 1.0)
        of_class = (tf.range(classes) == label[:, None])[:, None]
        itself = of_class & (tf.range(boxes) == number[:, None])[..., None]
        scores = tf.where(of_class, scores * factor[..., None], scores)
        scores = candidates(tf.where(itself, 0.0, scores))
        is_one = score > 0
        at = tf.stack([rows, tf.fill([images], k)], axis=1)
        found = tf.tensor_scatter_nd_update(found, at, tf.where(is_one[:, None], box, 0.0))
        found_scores = tf.tensor_scatter_nd_update(found_scores, at, score)
        labels = tf.tensor_scatter_nd_update(labels, at, tf.where(is_one, label, 0))
        return k + 1, scores, found, found_scores, labels, count + tf.cast(is_one, tf.int32)

    shape = tf.stack([images, most])
    nothing = (
        tf.zeros(tf.concat([shape, [4]], axis=0)),
        tf.zeros(shape),
        tf.zeros(shape, tf.int32),
        tf.zeros([images], tf.int32),
    )
    start = tf.constant(0), candidates(scores), *nothing
    _, _, *found = tf.while_loop(left, keep, start, maximum_iterations=most)
    return found


def _iou(boxes_xyxy, areas, others_xyxy, other_areas):
    """Of boxes that are not inverted, by the operations of the kernels, in their order."""
    low = tf.maximum(boxes_xyxy[..., :2], others_xyxy[..., :2])
    high = tf.minimum(boxes_xyxy[..., 2:], others_xyxy[..., 2:])
    common = tf.reduce_prod(tf.maximum(high - low, 0), axis=-1)
    union = areas + other_areas - common
    return tf.where(union == 0, 0.0, common / union)
