"""Predictions of the grid to boxes of the image and class scores."""

import tensorflow as tf

from yolov1 import boxes as box_formats
from yolov1.semantics import CHOICES

# The network predicts the square root of a side, or the side itself. The other members of
# LossSemantics.wh differ in the loss alone. An inverted box (a predicted size below zero) is empty:
# non-maximum suppression would otherwise read its corners the other way round.
_SIZE = {"predict_sqrt": tf.square}


def decode(predictions, grid, wh="predict_sqrt"):
    """Boxes and class scores of every box of every cell (Darknet's get_detection_detections).

    With o the outputs of box j in cell (row, col): centre x = (o_x + col) / S, y = (o_y + row) / S,
    sides o_w^2, o_h^2 for ``wh="predict_sqrt"`` and max(o_w, 0), max(o_h, 0) for the other modes.
    Class score = confidence * class output; neither it nor the box is clipped.

    Args:
        predictions: ``[N, S, S, D]``.
        grid: the `GridSpec`.
        wh: a mode of `LossSemantics.wh`.

    Returns:
        boxes_xyxy ``[N, S*S*B, 4]``, fractions of the image, cells in row-major order, then box j;
        scores ``[N, S*S*B, C]``.

    Raises:
        ValueError: an unknown mode, or a shape that does not fit the grid.
    """
    S, B, C = grid.S, grid.B, grid.C
    if wh not in CHOICES["wh"]:
        raise ValueError(f"decode: wh must be one of {', '.join(CHOICES['wh'])}, got {wh!r}.")
    predictions = tf.convert_to_tensor(predictions)
    if not predictions.shape.is_compatible_with((None, *grid.prediction_shape)):
        raise ValueError(
            f"decode: predictions must be [N, {S}, {S}, {grid.channels}] for "
            f"GridSpec(S={S}, B={B}, C={C}) (D = C + 5B), got {predictions.shape}."
        )
    classes = predictions[..., grid.class_channels][..., None, :]
    confidences = predictions[..., grid.confidence_channels][..., None]
    outputs = tf.reshape(predictions[..., grid.box_channels], [-1, S, S, B, 4])

    steps = tf.range(S)
    col, row = tf.meshgrid(steps, steps)
    corner = tf.cast(tf.stack([col, row], axis=-1), outputs.dtype)[:, :, None, :]
    centre = (outputs[..., :2] + corner) / S
    size = _SIZE.get(wh, tf.nn.relu)(outputs[..., 2:])
    boxes_xyxy = box_formats.cxcywh_to_xyxy(tf.concat([centre, size], axis=-1))
    return (
        tf.reshape(boxes_xyxy, [-1, grid.predicted_boxes, 4]),
        tf.reshape(confidences * classes, [-1, grid.predicted_boxes, C]),
    )
