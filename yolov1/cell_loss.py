"""The loss taken apart: what each cell adds to each term, and how the loss would have it move.

A sum over a batch says that something is wrong; this says in which image, which cell, which box and
which term.
"""

from typing import NamedTuple

import tensorflow as tf

from yolov1 import kernels, ops
from yolov1.ops.reference.yolo_loss import boxes_cxcywh, read_cells, terms_by_box, terms_by_cell
from yolov1.semantics import LossSemantics


class CellLoss(NamedTuple):
    """Of each of the L = S * S cells; cell (row, col) is number row * S + col."""

    terms: tf.Tensor  # [N, L, 5]: xy, wh, object, no_object, class, weighted
    gradient: tf.Tensor  # [N, L, D], of the image's loss by the predictions of layout "cells"
    has_object: tf.Tensor  # [N, L] bool
    responsible: tf.Tensor  # [N, L, B] bool: the boxes that the loss assigns to the cell's object
    iou: tf.Tensor  # [N, L, B], of each box with the cell's object, in [0, 1]; 0 without one
    confidences: tf.Tensor  # [N, L, B]
    box_terms: tf.Tensor  # [N, L, B, 4]: what of xy, wh, object and no_object is each box's


def cell_loss(predictions, targets, *, grid, semantics="paper", impl="auto") -> CellLoss:
    """The `CellLoss` of a batch, in float32 (float64 for float64 predictions).

    The sums of `terms` over the cells are the ``terms`` of `yolov1.ops.yolo_loss`, up to the order
    in which floats are added; `gradient` is that op's own.

    Args:
        predictions: ``[N, S, S, D]``, in layout "cells", activated.
        targets: ``[N, S, S, C + 5]``.
        grid, semantics, impl: as in `yolov1.ops.yolo_loss`.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    semantics = LossSemantics.of(semantics)
    predictions, targets = tf.convert_to_tensor(predictions), tf.convert_to_tensor(targets)
    kernels.check_shapes(predictions.shape, targets.shape, grid, "cells")
    dtype = tf.float64 if predictions.dtype == tf.float64 else tf.float32
    predictions, targets = tf.cast(predictions, dtype), tf.cast(targets, dtype)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        options = {"grid": grid, "semantics": semantics, "impl": impl}
        loss = ops.yolo_loss(predictions, targets, **options).loss
    gradient = tape.gradient(loss, predictions)
    cells = read_cells(predictions, targets, grid, semantics, "cells")
    has_object = tf.reduce_any(cells.responsible, axis=-1)
    iou = ops.aligned_iou(
        boxes_cxcywh(cells.boxes, grid, semantics.wh),
        boxes_cxcywh(cells.target_boxes, grid, "plain")[:, :, None],
        box_format="cxcywh",
        valid_a=tf.broadcast_to(has_object[..., None], tf.shape(cells.responsible)),
        impl=impl,
    )
    return CellLoss(
        terms_by_cell(cells, grid, semantics),
        tf.reshape(gradient, [-1, grid.cells, grid.channels]),
        has_object,
        cells.responsible,
        tf.where(tf.math.is_nan(iou), tf.zeros_like(iou), iou),
        cells.confidences,
        terms_by_box(cells, grid, semantics),
    )


def gradient_by_term(cells: CellLoss, grid, semantics="paper"):
    """How strongly each term would move each cell: norms ``[N, L, 5]`` of the parts of `gradient`
    that the terms xy, wh, object, no_object and class have made.

    No two terms read one output, so that the parts are channels: x and y; w and h (of a loss whose
    boxes are compared as a whole all four are the first term's); confidences of responsible boxes;
    those of the others; classes. Squares of the norms add up to that of the whole gradient.
    """
    semantics = LossSemantics.of(semantics)
    gradient, responsible = cells.gradient, cells.responsible
    boxes = tf.reshape(gradient[..., grid.box_channels], [-1, grid.cells, grid.B, 4])
    confidences = gradient[..., grid.confidence_channels]
    split = 2 if semantics.box == "squared" else 4
    parts = (
        boxes[..., :split],
        boxes[..., split:],
        tf.where(responsible, confidences, 0),
        tf.where(responsible, tf.zeros_like(confidences), confidences),
        gradient[..., grid.class_channels],
    )
    norms = [tf.sqrt(tf.reduce_sum(p * p, axis=list(range(2, p.shape.rank)))) for p in parts]
    return tf.stack(norms, axis=-1)
