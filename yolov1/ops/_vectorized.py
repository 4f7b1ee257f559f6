"""The fused ops in `tf.vectorized_map` and jacobians: one call for all iterations.

Registered when the library is loaded. What an iteration does to a batch of N images is done to one
of I N images; the leading dimensions of boxes are broadcast by the ops themselves.
"""

import functools

import tensorflow as tf

# Private: TensorFlow has no public way to register a converter.
from tensorflow.python.ops.parallel_for import pfor

from yolov1.ops._gradients import yolo_loss_op


def _wrapped(outputs):
    return [pfor.wrap(output, True) for output in outputs]


def _merge(stacked):
    """``[I, N, ...]`` to ``[I N, ...]``."""
    shape = tf.shape(stacked)
    return tf.reshape(stacked, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))


def _split(merged, like):
    """``[I N, ...]`` to ``[I, N, ...]``, with I and N those of `like`."""
    split = tf.reshape(merged, tf.concat([tf.shape(like)[:2], tf.shape(merged)[1:]], 0))
    split.set_shape([*like.shape[:2], *merged.shape[1:]])
    return split


def _yolo_loss(library, call):
    call.stack_inputs()
    inputs = [call.stacked_input(k) for k in range(call.num_inputs)]
    predictions = inputs[0]
    config, with_gradient = _config(call), call.get_attr("compute_gradient")
    reduction = next(word for word in config.split(" ") if word.startswith("reduction="))
    loss, terms, gradient = yolo_loss_op(library, inputs)(
        *map(_merge, inputs),
        config.replace(reduction, "reduction=none"),
        with_gradient,
        call.get_attr("Tloss"),
    )
    loss, terms = _split(loss, predictions), _split(terms, predictions)
    images = tf.shape(predictions)[1]
    if reduction != "reduction=none":
        loss = tf.math.divide_no_nan(tf.reduce_sum(loss, 1), tf.cast(images, loss.dtype))
    if not with_gradient:
        return [*_wrapped((loss, terms)), pfor.wrap(gradient, False)]
    if reduction == "reduction=mean":
        gradient = tf.math.divide_no_nan(gradient, tf.cast(images, gradient.dtype))
    return _wrapped((loss, terms, _split(gradient, predictions)))


def _yolo_loss_grad(library, call):
    call.stack_inputs([0, 1])
    upstream, gradient = call.stacked_input(0), call.stacked_input(1)
    if upstream.shape.rank == 1:  # one for a whole batch
        upstream = tf.broadcast_to(upstream[:, None], tf.shape(gradient)[:2])
    loss = call.input(2).t  # ties the product to the predictions, in whatever shape
    product = library.yolov1_yolo_loss_grad(_merge(upstream), _merge(gradient), loss)
    return _wrapped([_split(product, gradient)])


# ----------------------------------------------------------------------------------- box overlaps


def _is_mask(valid):
    """An empty one, ``[0]``, says that there is none; loop invariant, as a constant is."""
    return valid.is_stacked or valid.t.shape.as_list() != [0]


def _iou_sides(name, call, every=""):
    """Boxes and masks with I in front of the leading dimensions of both sides, where an iteration
    changes them and for the sides of `every`. A mask has the shape of its boxes, so that one is
    stacked with the other."""
    own = {"pairwise_iou": 2, "aligned_iou": 1}[name]
    for k, side in enumerate("ab"):
        both = [k, k + 2] if _is_mask(call.input(k + 2)) else [k]
        if side in every or any(call.input(index).is_stacked for index in both):
            call.stack_inputs(both)
    inputs = [call.input(k) for k in range(4)]
    leading = [side.t.shape.rank - own - side.is_stacked for side in inputs[:2]]
    return [
        pfor._expand_dims(x.t, 1, max(leading) - leading[k % 2]) if x.is_stacked else x.t
        for k, x in enumerate(inputs)
    ]


def _iou(name, library, call):
    return _wrapped([getattr(library, f"yolov1_{name}")(*_iou_sides(name, call), _config(call))])


def _iou_grad(name, library, call):
    """Gradients are sums over all that was broadcast, but not over iterations: boxes whose gradient
    is wanted are repeated for each."""
    config = _config(call)
    wanted = config.partition(" sides=")[2] or "ab"
    sides = _iou_sides(name, call, wanted)
    call.stack_inputs([4])
    grad = getattr(library, f"yolov1_{name}_grad")
    gradients = grad(*sides, call.stacked_input(4), config)
    outputs = []
    for k, (side, gradient) in enumerate(zip("ab", gradients, strict=True)):
        if side in wanted:
            boxes = call.stacked_input(k)
            gradient = tf.ensure_shape(tf.reshape(gradient, tf.shape(boxes)), boxes.shape)
        outputs.append(pfor.wrap(gradient, side in wanted))
    return outputs


def _config(call):
    return call.get_attr("config").decode()


# ------------------------------------------------------------------------------------- suppression


def _non_max_suppression(library, call):
    call.stack_inputs()
    boxes, scores = call.stacked_input(0), call.stacked_input(1)
    found = library.yolov1_non_max_suppression(
        _merge(boxes), _merge(scores), call.get_attr("config")
    )
    return _wrapped(_split(output, boxes) for output in found)


# ------------------------------------------------------------------------------------------ images


def _augment_images(library, call):
    """The buffer of all iterations, or one behind another."""
    rest = range(1, call.num_inputs)
    call.stack_inputs(rest)
    offsets, *others = (call.stacked_input(k) for k in rest)
    values, each = call.input(0).t, call.input(0).is_stacked
    if each:
        iterations, total = tf.unstack(tf.shape(values, tf.int64))
        offsets += total * tf.range(iterations)[:, None]
        values = tf.reshape(values, [-1])
    inputs = [values, *map(_merge, [offsets, *others])]
    images = library.yolov1_augment_images(*inputs, _config(call), T=call.get_attr("T"))
    return _wrapped([_split(images, offsets)])


def _draw_augmentation(library, call):
    call.stack_inputs()
    positions = call.stacked_input(0)
    drawn = library.yolov1_draw_augmentation(_merge(positions), _config(call))
    return _wrapped(_split(part, positions) for part in drawn)


def _encode_targets(library, call):
    """The boxes of the data set are those of all iterations."""
    own, rest = range(3), range(3, call.num_inputs)
    if any(call.input(k).is_stacked for k in own):
        raise NotImplementedError(
            "encode_targets: boxes, labels and splits must be the same in every iteration of a "
            "tf.vectorized_map; map over indices alone."
        )
    call.stack_inputs(rest)
    batch = [call.stacked_input(k) for k in rest]
    inputs = [*(call.input(k).t for k in own), *map(_merge, batch)]
    return _wrapped([_split(library.yolov1_encode_targets(*inputs, _config(call)), batch[0])])


CONVERTERS = {
    "YoloLoss": _yolo_loss,
    "YoloLossOfBoxes": _yolo_loss,
    "YoloLossGrad": _yolo_loss_grad,
    "PairwiseIou": functools.partial(_iou, "pairwise_iou"),
    "PairwiseIouGrad": functools.partial(_iou_grad, "pairwise_iou"),
    "AlignedIou": functools.partial(_iou, "aligned_iou"),
    "AlignedIouGrad": functools.partial(_iou_grad, "aligned_iou"),
    "NonMaxSuppression": _non_max_suppression,
    "AugmentImages": _augment_images,
    "DrawAugmentation": _draw_augmentation,
    "EncodeTargets": _encode_targets,
}
