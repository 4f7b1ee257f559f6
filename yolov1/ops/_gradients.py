"""The gradients of the fused ops, for tapes and graphs; registered when the library is loaded.

The gradient of each loss is a product of what comes from above and of what the forward pass has
computed, so it is linear in what comes from above: that derivative there is, and forward mode,
which takes it, too. The second derivative by predictions or boxes is refused.
"""

import functools

import tensorflow as tf

from yolov1.ops import _tape

# For float16: the gradient of a mean, divided by N, would underflow before the factor of a loss
# scaling optimizer reaches it. So the op leaves it undivided, and `scale` divides what comes from
# above.
MEAN_LOSS = "mean_loss"


def _refuse(name, op, *inputs):
    """Unless none of `inputs`, by index, is to be differentiated by.

    A tape says which are not. An op of a graph does not know: so a tape around a function that
    takes a gradient inside is refused, and so is a forward accumulator around any function (inside
    of one it is not).
    """
    if not set(inputs) <= set(getattr(op, "skip_input_indices", None) or ()):
        raise LookupError(
            f"{name}: the fused op has no second derivative; use impl='reference' to differentiate "
            "its gradient."
        )


def _linear(name, compute, upstream, fixed, by_upstream):
    """`compute()`, recorded as a function of `upstream` alone where nothing watches `fixed`.

    By hand, since forward mode asks a registered gradient for that of every input, so that it would
    always be refused. Where `fixed` is watched, the registered one finds out.
    """
    if not _tape.recording() or any(map(_tape.gradient_wanted, fixed)):
        return compute()
    with _tape.paused():
        outputs = compute()
    _tape.record_gradient(name, outputs, [upstream], lambda *above: [by_upstream(*above)])
    return outputs


# -------------------------------------------------------------------------------------- the loss


def yolo_loss_op(library, inputs):
    """The op of (predictions, targets), or of (predictions, *boxes)."""
    return library.yolov1_yolo_loss if len(inputs) == 2 else library.yolov1_yolo_loss_of_boxes


def scale(library, upstream, gradient, loss, config):
    """The gradient that the forward pass computed, times the one that comes from above.

    `loss` ties the product to the predictions. Not they themselves: what nothing needs behind the
    forward pass, the gradient may be written over.
    """
    if f"reduction={MEAN_LOSS} " in config:
        images = tf.cast(tf.shape(gradient)[0], upstream.dtype)
        upstream = tf.math.divide_no_nan(upstream, images)
    (product,) = _linear(
        "Yolov1YoloLossGrad",
        lambda: [library.yolov1_yolo_loss_grad(upstream, gradient, loss)],
        upstream,
        [loss],
        lambda above: _sum_of_products(above, upstream, gradient),
    )
    return product


def _sum_of_products(above, upstream, gradient):
    """By an upstream gradient: the sum over an image's numbers, or over all for a scalar."""
    products = tf.cast(above, upstream.dtype) * tf.cast(gradient, upstream.dtype)
    return tf.reduce_sum(products, tf.range(tf.rank(upstream), tf.rank(gradient)))


def _yolo_loss(library, op, upstream, *_):
    """`upstream` is that of the loss; terms carry none."""
    inputs = list(op.inputs)
    gradient, config = op.outputs[2], _text(op.get_attr("config"))
    if not op.get_attr("compute_gradient"):
        # Traced while no tape was in sight (say, the tape is outside the function): once more, with
        # the gradient.
        again = yolo_loss_op(library, inputs)(*inputs, config, True, op.get_attr("Tloss"))
        gradient = again[2]
    by_predictions = scale(library, upstream, gradient, op.outputs[0], config)
    return by_predictions, *[None] * (len(inputs) - 1)


def _yolo_loss_grad(library, op, above):
    _refuse("yolo_loss", op, 1, 2)
    return _sum_of_products(above, *op.inputs[:2]), None, None


def _text(attribute):
    return attribute.decode() if isinstance(attribute, bytes) else attribute


# ----------------------------------------------------------------------------------- box overlaps


def iou(library, name, inputs, config):
    """The fused op on boxes and masks. Where a tape is inside of a forward accumulator it is
    recorded by hand: TensorFlow would make a function of its forward mode, which the tape sees."""
    op = getattr(library, f"yolov1_{name}")
    if not tf.executing_eagerly() or not _tape.several_watch(inputs[:2]):
        return op(*inputs, config)
    wanted = [k for k in (0, 1) if _tape.gradient_wanted(inputs[k])]
    with _tape.paused():
        overlaps = op(*inputs, config)

    def backward(upstream):
        gradients = _iou_gradients(name, library, inputs, config, upstream, wanted)
        return [gradients[k] for k in wanted]

    _tape.record_gradient(f"Yolov1{name}", [overlaps], [inputs[k] for k in wanted], backward)
    return overlaps


def _iou(name, library, op, upstream):
    skipped = getattr(op, "skip_input_indices", None) or ()
    wanted = [k for k in (0, 1) if k not in skipped]
    config = _text(op.get_attr("config"))
    gradients = _iou_gradients(name, library, op.inputs, config, upstream, wanted)
    return [gradients[k] if k in wanted else None for k in (0, 1)] + [None, None]


def _iou_gradients(name, library, inputs, config, upstream, wanted):
    """Of both sides; that of a side which is not `wanted` (constant boxes) need not be computed."""
    sides = f" sides={'ab'[wanted[0]]}" if len(wanted) == 1 else ""
    return _linear(
        f"Yolov1{name}Grad",
        lambda: getattr(library, f"yolov1_{name}_grad")(*inputs, upstream, config + sides),
        upstream,
        inputs[:2],
        lambda *above: _iou_slope(name, library, inputs, config, upstream, above, wanted),
    )


def _iou_grad(name, library, op, *above):
    _refuse(name, op, 0, 1)
    *inputs, upstream = op.inputs
    config, _, side = _text(op.get_attr("config")).partition(" sides=")
    wanted = ["ab".index(side)] if side else [0, 1]
    return [None] * 4 + [_iou_slope(name, library, inputs, config, upstream, above, wanted)]


def _iou_slope(name, library, inputs, config, upstream, above, wanted):
    """How each overlap changes as the boxes of the `wanted` sides move by `above`, in the shape and
    dtype of `upstream`.

    Gradients are sums over pairs, but not those of aligned boxes that are repeated: one a pair.
    """
    dtype = tf.float64 if upstream.dtype == tf.float64 else tf.float32
    pairs = tf.shape(upstream)

    def by_pair(side, boxes):  # of pairwise boxes [..., M, 1, 4] or [..., 1, K, 4]
        boxes = tf.cast(boxes, dtype)
        return tf.expand_dims(boxes, -2 - side) if name == "pairwise_iou" else boxes

    boxes, masks = [], []
    for side, valid in enumerate(inputs[2:]):
        boxes.append(tf.broadcast_to(by_pair(side, inputs[side]), tf.concat([pairs, [4]], 0)))
        if valid.shape.as_list() != [0]:
            valid = tf.expand_dims(valid, -1 - side) if name == "pairwise_iou" else valid
            valid = tf.broadcast_to(valid, pairs)
        masks.append(valid)
    slopes = library.yolov1_aligned_iou_grad(*boxes, *masks, tf.ones(pairs, dtype), config)
    # What a mask hides is not read: there 0 times NaN is 0.
    change = sum(tf.math.multiply_no_nan(by_pair(k, above[k]), slopes[k]) for k in wanted)
    return tf.cast(tf.reduce_sum(change, -1), upstream.dtype)


FUNCTIONS = {  # of each op; None: there is no gradient
    "YoloLoss": _yolo_loss,
    "YoloLossOfBoxes": _yolo_loss,
    "YoloLossGrad": _yolo_loss_grad,
    "PairwiseIou": functools.partial(_iou, "pairwise_iou"),
    "PairwiseIouGrad": functools.partial(_iou_grad, "pairwise_iou"),
    "AlignedIou": functools.partial(_iou, "aligned_iou"),
    "AlignedIouGrad": functools.partial(_iou_grad, "aligned_iou"),
    "NonMaxSuppression": None,
    "LoadImages": None,
    "AugmentImages": None,
    "DrawAugmentation": None,
    "EncodeTargets": None,
}
