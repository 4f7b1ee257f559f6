"""The YOLO loss op: checks, choice of the implementation, gradients."""

import functools
from typing import NamedTuple

import tensorflow as tf

from yolov1 import kernels
from yolov1.kernels import Boxes
from yolov1.ops import _gradients, _library, _tape, reference
from yolov1.ops._arguments import as_tensor, device, saturating_cast
from yolov1.semantics import LossSemantics


class YoloLossOutput(NamedTuple):
    """Loss and terms, in float32 (float64 for float64 predictions).

    Attributes:
        loss: ``[N]``, or a scalar with ``reduction="mean"``. Differentiable in the predictions.
        terms: ``[N, 5]``: xy, wh, object, no_object, class, weighted; they sum to the image's loss.
            Not differentiable.
    """

    loss: tf.Tensor
    terms: tf.Tensor


def yolo_loss(
    predictions,
    targets,
    *,
    grid,
    semantics="paper",
    layout="cells",
    reduction="none",
    activations="linear",
    on_collision="first",
    impl="auto",
) -> YoloLossOutput:
    """The YOLOv1 loss of a batch (arXiv 1506.02640, equation 3, and its published variants).

    Args:
        predictions: ``[N, S, S, D]``, channels: C classes, B confidences, B boxes of x, y (of the
            cell), w, h (of the image, or its square root: `LossSemantics.wh`). In layout "planes"
            ``[N, S * S * D]`` as Darknet writes it. float32, float64, float16 or bfloat16; sums are
            taken in float32 (float64 for float64).
        targets: ``[N, S, S, C + 5]``: C classes, object flag (any number but 0 and the
            subnormal ones), x, y, w, h. No gradient flows to it. Of the dtype of the predictions,
            or float32 beside a 16-bit one; others are cast. Or `Boxes`, of which the op finds the
            cells: the same bits as of `yolov1.data.encode_targets`, with nothing to encode and a
            third of the bytes less to read.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        activations: what turns `predictions`, then the raw outputs of a network, into predictions:
            ``"softmax"`` (over the classes of a cell, sigmoid elsewhere), ``"sigmoid"``, or a
            mapping of blocks as `yolov1.activations` has it. The gradient is that by the raw
            outputs. Classes and boxes of empty cells are not activated at all. Cross-entropies
            (`LossSemantics.confidence_loss`, `class_loss`) expect probabilities: of predictions
            below 0 and above 1 they take the nearest one.
        on_collision: which of several `Boxes` a cell keeps: ``"first"``, ``"last"`` or
            ``"largest"``, as in `encode_targets`.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    The gradient takes the memory of the predictions where a graph on the CPU needs them no more.
    On a GPU boxes are encoded, and raw outputs activated, before the op.

    Inside ``tf.function(jit_compile=True)`` each batch size is compiled by itself, and the fused op
    refuses a batch whose size depends on values (as of `tf.boolean_mask`).

    A value that is not finite makes its image's loss not finite if the loss reads it, and has no
    effect if not; a NaN overlap counts as 0.

    Forward mode works, and the fused gradient has derivatives by what comes from above, as by
    weights of the images. By the predictions it cannot be differentiated again (`LookupError`):
    take ``impl="reference"`` for that. `pairwise_iou` says what else is refused.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        TypeError: the predictions are not floating, or the semantics are neither name nor instance.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    semantics = LossSemantics.of(semantics)
    predictions = as_tensor(predictions)
    if not predictions.dtype.is_floating:
        raise TypeError(
            f"yolo_loss: predictions must be floating, got {predictions.dtype.name}; cast them."
        )
    kernels.check_reduction(reduction)
    kernels.check_collision(on_collision)
    if isinstance(targets, Boxes):
        targets = _box_tensors(targets)
    else:
        targets = as_tensor(targets)
        fitting = _TARGET_DTYPES.get(predictions.dtype, ())
        if targets.dtype not in fitting:
            targets = tf.cast(targets, fitting[0] if fitting else tf.float32)
    _check(predictions, targets, grid, layout)

    activations = kernels.activation_key(activations)
    place = device(predictions)
    compiled = _tape.compiled_by_xla()
    chosen = _library.choose("yolo_loss", impl, place, predictions.dtype.name, compiled)
    if isinstance(targets, Boxes) and (chosen == "reference" or place == "GPU"):
        targets = reference.encode(targets, grid, on_collision)
        targets = tf.cast(targets, _loss_dtype(predictions))
    if chosen == "reference":
        return _reference(predictions, targets, grid, semantics, layout, reduction, activations)
    if place == "GPU" and activations != "linear":
        blocks = kernels.activations_of(activations)
        # In the precision of the sums, as the CPU's kernel and the reference do.
        predictions = tf.cast(predictions, _loss_dtype(predictions))
        targets = tf.cast(targets, predictions.dtype)
        predictions = reference.activate(predictions, targets, grid, layout, blocks)
        activations = "linear"
    if reduction == "mean" and predictions.dtype == tf.float16:
        reduction = _gradients.MEAN_LOSS
    config = kernels.yolo_loss_config(grid, semantics, layout, reduction, activations, on_collision)
    return _fused(predictions, targets, config)


def _box_tensors(boxes):
    boxes_cxcywh, labels, valid = map(as_tensor, boxes)
    valid = valid if valid.dtype == tf.bool else _int32("valid", valid)
    return Boxes(tf.cast(boxes_cxcywh, tf.float32), _int32("labels", labels), valid)


def _int32(name, integers):
    if not integers.dtype.is_integer:
        raise TypeError(
            f"yolo_loss: {name} of Boxes must be integers, got {integers.dtype.name}; cast them."
        )
    return saturating_cast(integers, tf.int32)


def _check(predictions, targets, grid, layout):
    of_boxes = isinstance(targets, Boxes)
    shapes = [tensor.shape for tensor in (predictions, *(targets if of_boxes else [targets]))]
    if any(shape.rank is None for shape in shapes):
        return
    predicted, *rest = map(tuple, shapes)
    if of_boxes:
        _check_boxes(predicted, Boxes(*rest), grid, layout)
    else:
        _check_shapes(predicted, *rest, grid, layout)


# What the op takes as targets beside predictions of a dtype; others are cast to the first.
_TARGET_DTYPES = {
    tf.float32: (tf.float32,),
    tf.float64: (tf.float64,),
    tf.float16: (tf.float32, tf.float16),
    tf.bfloat16: (tf.float32, tf.bfloat16),
}


# Eagerly the same shapes come again and again, and looking costs a quarter of the whole call.
_check_shapes = functools.lru_cache(maxsize=256)(kernels.check_shapes)
_check_boxes = functools.lru_cache(maxsize=256)(kernels.check_boxes)


def _reference(predictions, targets, grid, semantics, layout, reduction, activations):
    dtype = _loss_dtype(predictions)  # as in the fused op, 16-bit values are computed in float32
    targets = tf.cast(tf.stop_gradient(targets), dtype)
    loss, terms = reference.yolo_loss(
        tf.cast(predictions, dtype),
        targets,
        grid,
        semantics,
        layout,
        kernels.activations_of(activations),
    )
    if reduction == "mean":
        count = tf.cast(tf.shape(loss)[0], loss.dtype)
        loss = tf.math.divide_no_nan(tf.reduce_sum(loss), count)
    return YoloLossOutput(loss, tf.stop_gradient(terms))


def _loss_dtype(predictions):
    return tf.float64 if predictions.dtype == tf.float64 else tf.float32


def _fused(predictions, targets, config):
    library, dtype = _library.load(), _loss_dtype(predictions)
    inputs = [predictions, *(targets if isinstance(targets, Boxes) else [targets])]
    op = _gradients.yolo_loss_op(library, inputs)
    wanted = _tape.gradient_wanted(predictions)
    if not tf.executing_eagerly():
        loss, terms, _ = op(*inputs, config, wanted, dtype)
        return YoloLossOutput(loss, tf.stop_gradient(terms))
    if not wanted:
        loss, terms, _ = op(*inputs, config, False, dtype)
        return YoloLossOutput(loss, terms)
    with _tape.paused():
        loss, terms, gradient = op(*inputs, config, True, dtype)

    # Only the loss is recorded: for every further output the tape would make a gradient of zeros.
    def backward(upstream):
        return [_gradients.scale(library, upstream, gradient, loss, config)]

    _tape.record_gradient("Yolov1YoloLoss", [loss], [predictions], backward)
    return YoloLossOutput(loss, terms)
