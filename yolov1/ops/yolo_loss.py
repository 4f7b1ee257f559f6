"""The YOLO loss op: checks, choice of the implementation, gradients."""

import functools
from typing import NamedTuple

import tensorflow as tf

from yolov1 import kernels
from yolov1.ops import _library, _tape, reference
from yolov1.ops._arguments import as_tensor, device
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
            or float32 beside a 16-bit one; others are cast.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    Inside ``tf.function(jit_compile=True)`` each batch size is compiled by itself, and the fused op
    refuses a batch whose size depends on values (as of `tf.boolean_mask`).

    A value that is not finite makes its image's loss not finite if the loss reads it, and has no
    effect if not; a NaN overlap counts as 0. The fused gradient cannot be differentiated again
    (`LookupError`): take ``impl="reference"`` for that.

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
    targets = as_tensor(targets)
    fitting = _TARGET_DTYPES.get(predictions.dtype, ())
    if targets.dtype not in fitting:
        targets = tf.cast(targets, fitting[0] if fitting else tf.float32)
    kernels.check_reduction(reduction)
    if predictions.shape.rank is not None and targets.shape.rank is not None:
        _check_shapes(tuple(predictions.shape), tuple(targets.shape), grid, layout)

    compiled = not tf.executing_eagerly() and _tape.compiled_by_xla()
    chosen = _library.choose(
        "yolo_loss", impl, device(predictions), predictions.dtype.name, compiled
    )
    if chosen == "fused":
        if reduction == "mean" and predictions.dtype == tf.float16:
            reduction = _MEAN_LOSS
        config = kernels.yolo_loss_config(grid, semantics, layout, reduction)
        return _fused(predictions, targets, config)
    return _reference(predictions, targets, grid, semantics, layout, reduction)


# For float16: its gradient, divided by N, would underflow before the factor of a loss scaling
# optimizer reaches it. So the op leaves it undivided, and `_scale` divides what comes from above.
_MEAN_LOSS = "mean_loss"

# What the op takes as targets beside predictions of a dtype; others are cast to the first.
_TARGET_DTYPES = {
    tf.float32: (tf.float32,),
    tf.float64: (tf.float64,),
    tf.float16: (tf.float32, tf.float16),
    tf.bfloat16: (tf.float32, tf.bfloat16),
}


# Eagerly the same shapes come again and again, and looking costs a quarter of the whole call.
_check_shapes = functools.lru_cache(maxsize=256)(kernels.check_shapes)


def _reference(predictions, targets, grid, semantics, layout, reduction):
    dtype = _loss_dtype(predictions)  # as in the fused op, 16-bit values are computed in float32
    targets = tf.cast(tf.stop_gradient(targets), dtype)
    loss, terms = reference.yolo_loss(tf.cast(predictions, dtype), targets, grid, semantics, layout)
    if reduction == "mean":
        count = tf.cast(tf.shape(loss)[0], loss.dtype)
        loss = tf.math.divide_no_nan(tf.reduce_sum(loss), count)
    return YoloLossOutput(loss, tf.stop_gradient(terms))


def _loss_dtype(predictions):
    return tf.float64 if predictions.dtype == tf.float64 else tf.float32


def _fused(predictions, targets, config):
    _register_gradients()
    op, dtype = _library.load().yolov1_yolo_loss, _loss_dtype(predictions)
    wanted = _tape.gradient_wanted(predictions)
    if not tf.executing_eagerly():
        loss, terms, _ = op(predictions, targets, config, wanted, dtype)
        return YoloLossOutput(loss, tf.stop_gradient(terms))
    if not wanted:
        loss, terms, _ = op(predictions, targets, config, False, dtype)
        return YoloLossOutput(loss, terms)
    with _tape.paused():
        loss, terms, gradient = op(predictions, targets, config, True, dtype)

    # Only the loss is recorded: for every further output the tape would make a gradient of zeros.
    def backward(upstream):
        return [_scale(upstream, gradient, predictions, config)]

    _tape.record_gradient("Yolov1YoloLoss", [loss], [predictions], backward)
    return YoloLossOutput(loss, terms)


def _scale(upstream, gradient, predictions, config):
    if f"reduction={_MEAN_LOSS} " in config:
        images = tf.cast(tf.shape(predictions)[0], upstream.dtype)
        upstream = tf.math.divide_no_nan(upstream, images)
    return _library.load().yolov1_yolo_loss_grad(upstream, gradient, predictions)


@functools.cache
def _register_gradients():
    for name, function in (
        ("Yolov1>YoloLoss", _gradient_in_graph),
        ("Yolov1>YoloLossGrad", _no_second_gradient),
    ):
        try:
            tf.RegisterGradient(name)(function)
        except KeyError:
            pass  # registered before this module was reloaded


def _gradient_in_graph(op, upstream, *_):
    """The gradient of a graph's op. `upstream` is that of the loss; terms carry none."""
    predictions, targets = op.inputs
    gradient, config = op.outputs[2], op.get_attr("config").decode()
    if not op.get_attr("compute_gradient"):
        # Traced while no tape was in sight (say, the tape is outside the function): once more, with
        # the gradient.
        gradient = _library.load().yolov1_yolo_loss(
            predictions, targets, config, True, op.get_attr("Tloss")
        )[2]
    return _scale(upstream, gradient, predictions, config), None


def _no_second_gradient(op, *_):
    raise LookupError(
        "yolo_loss: the fused op has no second derivative; use impl='reference' to differentiate "
        "its gradient."
    )
