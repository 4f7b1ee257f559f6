"""How well the boxes that the loss holds responsible fit their objects.

These are the numbers that Darknet's detection layer prints for each batch:

    Avg IOU   `iou`                      Pos Obj   `object_confidence`
    Pos Cat   `class_probability`        Any Obj   `any_confidence`
    All Cat   `any_class_probability`    count     the number of objects

They say which part of a detector is behind, where the loss says only that something is.
"""

from typing import NamedTuple

import tensorflow as tf

from yolov1 import kernels, ops
from yolov1.ops.reference.yolo_loss import boxes_cxcywh, encode, read_cells
from yolov1.semantics import LossSemantics


class BoxFit(NamedTuple):
    """Of each cell, 0 where it holds no object; of each image what counts every box."""

    has_object: tf.Tensor  # [N, L] bool
    iou: tf.Tensor  # [N, L], responsible box and object
    class_probability: tf.Tensor  # [N, L], output for the object's class
    any_class_probability: tf.Tensor  # [N, L], mean of the outputs for all classes
    object_confidence: tf.Tensor  # [N, L], of the responsible box
    any_confidence: tf.Tensor  # [N], mean over all boxes of the image


def responsible_boxes(
    predictions,
    targets,
    *,
    grid,
    semantics="paper",
    layout="cells",
    activations="linear",
    on_collision="first",
    impl="auto",
) -> BoxFit:
    """The `BoxFit` of a batch, in float32 (float64 for float64 predictions), without gradient.

    The responsible box is the loss's own choice, by every field of `semantics` that bears on it.
    Its IoU is always that of `yolov1.ops.aligned_iou`, in [0, 1] and in the frame of the image,
    also where the choice was made by another overlap (``iou_overlap="abs"``); a NaN counts as 0,
    as in that choice. Where equal boxes are all responsible (``ties="all"``), a cell has the mean
    over them. The probability for a soft class target is the mean weighted with it.

    Args:
        predictions, targets, grid, semantics, layout, activations, on_collision: as in
            `yolov1.ops.yolo_loss`.
        impl: of the IoU: ``"auto"``, ``"fused"`` or ``"reference"``.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    semantics = LossSemantics.of(semantics)
    if isinstance(targets, ops.Boxes):
        targets = encode(ops.Boxes(*map(tf.convert_to_tensor, targets)), grid, on_collision)
    predictions, targets = tf.convert_to_tensor(predictions), tf.convert_to_tensor(targets)
    if predictions.shape.rank is not None and targets.shape.rank is not None:
        kernels.check_shapes(predictions.shape, targets.shape, grid, layout)
    dtype = tf.float64 if predictions.dtype == tf.float64 else tf.float32
    predictions, targets = (
        tf.stop_gradient(tf.cast(tensor, dtype)) for tensor in (predictions, targets)
    )
    cells = read_cells(predictions, targets, grid, semantics, layout, activations)
    has_object = cells.flags != 0
    responsible = cells.responsible
    iou = ops.aligned_iou(
        boxes_cxcywh(cells.boxes, grid, semantics.wh),
        boxes_cxcywh(cells.target_boxes, grid, "plain")[:, :, None],
        box_format="cxcywh",
        valid_a=responsible,
        impl=impl,
    )
    iou = tf.where(tf.math.is_nan(iou), tf.zeros_like(iou), iou)
    return BoxFit(
        has_object,
        _mean(iou, responsible),
        _weighted_mean(cells.classes, tf.where(has_object[..., None], cells.target_classes, 0)),
        _mean(cells.classes, tf.broadcast_to(has_object[..., None], tf.shape(cells.classes))),
        _mean(cells.confidences, responsible),
        tf.reduce_mean(cells.confidences, axis=[1, 2]),
    )


def _mean(values, mask):
    """Over the last axis where the mask is true; 0 where it nowhere is."""
    return _weighted_mean(values, tf.cast(mask, values.dtype))


def _weighted_mean(values, weights):
    """Over the last axis; 0 for weights of 0, whose values are not read."""
    weighted = tf.where(weights != 0, values * weights, 0)
    return tf.math.divide_no_nan(tf.reduce_sum(weighted, -1), tf.reduce_sum(weights, -1))
