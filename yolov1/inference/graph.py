"""The computation of a detector: images to predictions, boxes, and what suppression leaves."""

import tensorflow as tf

from yolov1.inference.decode import decode
from yolov1.ops import non_max_suppression

NETWORK = "network"  # the scope of the names of the network's operations; the rest has none of it


def look_at(images, model, grid, wh, *, nms="inside", impl="auto", **options) -> dict:
    """What a detector sees, all float32 but for the counts.

    Args:
        images: float32 ``[N, image_size, image_size, 3]`` in [0, 1], or uint8.
        model, grid, wh, impl, options: as `Detector` has them.
        nms: ``"inside"``, or ``"outside"``: decoded only.

    Returns:
        ``predictions [N, S, S, D]``, and outside ``boxes_xyxy [N, S*S*B, 4]`` and ``scores
        [N, S*S*B, C]``; inside what `Detector` gives.
    """
    if images.dtype == tf.uint8:
        images = tf.cast(images, tf.float32) / 255
    with tf.name_scope(NETWORK):
        predictions = tf.cast(model(images, training=False), tf.float32)
    boxes_xyxy, scores = decode(predictions, grid, wh)
    if nms == "outside":
        return {"predictions": predictions, "boxes_xyxy": boxes_xyxy, "scores": scores}
    axes = tuple(range(1, predictions.shape.rank))
    return {
        "predictions": predictions,
        **suppressed(boxes_xyxy, scores, impl=impl, **options),
        "finite": tf.reduce_all(tf.math.is_finite(predictions), axis=axes),
    }


def suppressed(boxes_xyxy, scores, **options) -> dict:
    """The results of `non_max_suppression`, by name."""
    found = non_max_suppression(boxes_xyxy, scores, **options)
    return dict(zip(("boxes_xyxy", "scores", "labels", "count"), found, strict=True))
