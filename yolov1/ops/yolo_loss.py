"""The YOLO loss op: checks, choice of the implementation, gradients."""

import functools
from typing import NamedTuple

import tensorflow as tf

from yolov1.kernels import check_shapes
from yolov1.ops import _library, _tape, reference
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics


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
            ``[N, S * S * D]`` as Darknet writes it. Any floating dtype; half precision is computed
            in float32.
        targets: ``[N, S, S, C + 5]``: C classes, object flag, x, y, w, h. No gradient flows to it.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    A value that is not finite makes its image's loss not finite if the loss reads it, and has no
    effect if not; a NaN overlap counts as 0. The fused gradient cannot be differentiated again
    (`LookupError`): take ``impl="reference"`` for that.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        TypeError: the predictions are not floating, or the semantics are neither name nor instance.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    semantics = LossSemantics.of(semantics)
    predictions = tf.convert_to_tensor(predictions)
    if not predictions.dtype.is_floating:
        raise TypeError(
            f"yolo_loss: predictions must be floating, got {predictions.dtype.name}; cast them."
        )
    dtype = tf.float64 if predictions.dtype == tf.float64 else tf.float32
    if predictions.dtype != dtype:
        predictions = tf.cast(predictions, dtype)
    targets = tf.convert_to_tensor(targets)
    if targets.dtype != dtype:
        targets = tf.cast(targets, dtype)
    if reduction not in ("none", "mean"):
        raise ValueError(f"yolo_loss: reduction must be 'none' or 'mean', got {reduction!r}.")
    if predictions.shape.rank is not None and targets.shape.rank is not None:
        check_shapes(tuple(predictions.shape), tuple(targets.shape), grid, layout)

    compiled = not tf.executing_eagerly() and _tape.compiled_by_xla()
    chosen = _library.choose("yolo_loss", impl, _device(predictions), dtype.name, compiled)
    if chosen == "fused":
        return _fused(predictions, targets, _attributes(grid, semantics, layout, reduction))
    return _reference(predictions, targets, grid, semantics, layout, reduction)


def _device(tensor) -> str:
    """``"CPU"`` or ``"GPU"``: where the tensor lies, or where a graph's op would be placed."""
    place = tensor.device
    if not place:
        return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return "GPU" if "GPU" in place.upper() else "CPU"


def _reference(predictions, targets, grid, semantics, layout, reduction):
    targets = tf.stop_gradient(targets)
    loss, terms = reference.yolo_loss(predictions, targets, grid, semantics, layout)
    if reduction == "mean":
        count = tf.cast(tf.shape(loss)[0], loss.dtype)
        loss = tf.math.divide_no_nan(tf.reduce_sum(loss), count)
    return YoloLossOutput(loss, tf.stop_gradient(terms))


@functools.lru_cache(maxsize=64)
def _attributes(grid, semantics, layout, reduction):
    """The op's attributes, as a tuple so that it can be cached."""
    return (
        ("S", grid.S),
        ("B", grid.B),
        ("C", grid.C),
        ("layout", layout),
        ("reduction", reduction),
        ("weights", " ".join(repr(getattr(semantics, name)) for name in WEIGHTS)),
        *((field, getattr(semantics, field)) for field in CHOICES),
    )


def _fused(predictions, targets, attributes):
    _register_gradients()
    op = _library.load().yolov1_yolo_loss
    wanted = _tape.gradient_wanted(predictions)
    attributes = dict(attributes, Tloss=predictions.dtype)
    if not tf.executing_eagerly():
        loss, terms, _ = op(predictions, targets, compute_gradient=wanted, **attributes)
        return YoloLossOutput(loss, tf.stop_gradient(terms))
    with _tape.paused():
        loss, terms, gradient = op(predictions, targets, compute_gradient=wanted, **attributes)
    if wanted:
        # Only the loss is recorded: for every further output the tape would make a gradient of
        # zeros.
        def backward(upstream):
            return [_scale(upstream, gradient, predictions)]

        _tape.record_gradient("Yolov1YoloLoss", [loss], [predictions], backward)
    return YoloLossOutput(loss, terms)


def _scale(upstream, gradient, predictions):
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
    gradient = op.outputs[2]
    if not op.get_attr("compute_gradient"):
        # Traced while no tape was in sight (say, the tape is outside the function): once more, with
        # the gradient.
        names = ("S", "B", "C", "layout", "reduction", "weights", "Tloss", *CHOICES)
        attributes = {name: op.get_attr(name) for name in names}
        again = _library.load().yolov1_yolo_loss(
            predictions, targets, compute_gradient=True, **attributes
        )
        gradient = again[2]
    return _scale(upstream, gradient, predictions), None


def _no_second_gradient(op, *_):
    raise LookupError(
        "yolo_loss: the fused op has no second derivative; use impl='reference' to differentiate "
        "its gradient."
    )
