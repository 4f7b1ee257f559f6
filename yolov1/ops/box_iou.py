"""The batched IoU ops: formulas, checks, choice of the implementation, gradients.

For boxes A and B with overlap I (area of the intersection), union U = |A| + |B| - I and smallest
enclosing box C:

    iou  = I / U
    giou = iou - (|C| - U) / |C|                   Rezatofighi et al. 2019, arXiv 1902.09630
    diou = iou - distance^2 / diagonal^2           Zheng et al. 2020, arXiv 1911.08287
    ciou = diou - alpha v                          the same paper
      v     = 4 / pi^2 (atan(w_A / h_A) - atan(w_B / h_B))^2
      alpha = v / (1 - iou + v), constant in the gradient

with the distance of the centres and the diagonal of C. For boxes whose corners are in order iou is
in [0, 1], giou and diou in [-1, 1], and ciou in [-2, 1].

Degenerate boxes. No formula has an epsilon in it; instead this is defined, for both
implementations:

- A side of negative length counts as 0: a box with its corners exchanged is empty, and so is one
  with a negative width or height. Its centre stays that of its corners.
- 0 / 0 is 0 with gradient 0: the iou of two boxes without area, the penalty of giou for an
  enclosing box without area and that of diou for one without diagonal, alpha of boxes that are
  alike. The angle of a box without sides is 0, with gradient 0.
- Identical boxes with an area have iou, giou, diou and ciou 1 and gradient 0, exactly, also as
  centre boxes: those are turned into corners first, and their area is that of the corners.
- At a tie of a minimum or maximum (shared edges, boxes that touch, sides of length 0) its
  derivative is the mean of those from either side. So is then the derivative of the whole, as a
  central difference sees it, unless ties are nested (an empty box on another's edge).
- A NaN coordinate makes all pairs of its box NaN. Infinite coordinates, and areas beyond the range
  of the dtype, follow the arithmetic of floats: NaN, infinite or 0, never a crash, and there the
  implementations may differ. Areas that underflow count as 0 (subnormal ones in TensorFlow alone,
  whose threads flush them), and so do the sides of a box for its angle if their squares do.
"""

import functools

import tensorflow as tf

from yolov1 import kernels
from yolov1.kernels import shape_text
from yolov1.ops import _gradients, _library, _tape, reference
from yolov1.ops._arguments import as_tensor, device, static_shape


def pairwise_iou(
    boxes_a, boxes_b, *, kind="iou", box_format="xyxy", valid_a=None, valid_b=None, impl="auto"
):
    """The overlap of each of M boxes with each of K; see `yolov1.ops.box_iou` for the formulas.

    Args:
        boxes_a: ``[..., M, 4]``, float32, float64, float16 or bfloat16. 16-bit values are computed
            in float32. Differentiable, as `boxes_b`.
        boxes_b: ``[..., K, 4]`` of the same dtype. The leading dimensions of both are broadcast
            against each other. A Python list takes the dtype of the other boxes.
        kind: ``"iou"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        box_format: of both: ``"xyxy"`` (low and high corner) or ``"cxcywh"`` (centre and size), in
            any unit.
        valid_a: which boxes count: bool ``[..., M]`` in the shape of `boxes_a` without the
            coordinates; or how many, integers ``[...]``: the first so many of each M (all of them
            beyond M, none below 0). None: all.
        valid_b: the same of `boxes_b`.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    Returns:
        ``[..., M, K]`` in the dtype of the boxes. A pair with a box that does not count is 0, with
        gradient 0, whatever stands in that box.

    For a few boxes in each of many elements, such as those of a cell, `aligned_iou` of boxes that
    are broadcast is faster.

    Forward mode works (`tf.autodiff.ForwardAccumulator`), and the fused gradient has derivatives by
    what comes from above, as by a weight of the overlap. By the boxes it cannot be differentiated
    again (`LookupError`): take ``impl="reference"`` for that. What cannot be told from it is
    refused as well: an outer tape that watches the boxes, too (as one watches what hangs on
    variables, unless ``watch_accessed_variables=False``); a tape around a `tf.function` that takes
    the gradient inside; a forward accumulator around a `tf.function`, inside of which it works.

    Raises:
        ValueError: a shape does not fit, or an unknown choice.
        TypeError: the boxes are not floating or of two dtypes; a mask is neither bool nor integers.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    return _iou("pairwise_iou", boxes_a, boxes_b, kind, box_format, (valid_a, valid_b), impl)


def aligned_iou(
    boxes_a, boxes_b, *, kind="iou", box_format="xyxy", valid_a=None, valid_b=None, impl="auto"
):
    """The overlap of boxes one by one: ``[..., 4]`` with ``[..., 4]`` to ``[...]``, broadcast.

    Masks are bool ``[...]``, each in the shape of its boxes without the coordinates. All else is as
    in `pairwise_iou`. Boxes ``[..., M, 1, 4]`` with ``[..., 1, K, 4]`` take the time of
    `pairwise_iou`, but their gradients several times that, as each pair's are made first: take
    that one for many boxes with many.
    """
    return _iou("aligned_iou", boxes_a, boxes_b, kind, box_format, (valid_a, valid_b), impl)


def _iou(op, boxes_a, boxes_b, kind, box_format, valid, impl):
    config = _config(op, kind, box_format)
    boxes = _boxes(op, boxes_a, boxes_b)
    _check_shapes(op, *map(static_shape, boxes))
    valid = [_mask(op, side, *pair) for side, *pair in zip("ab", valid, boxes, strict=True)]

    compiled = _tape.compiled_by_xla()
    dtype = boxes[0].dtype
    if _library.choose(op, impl, device(boxes[0]), dtype.name, compiled) == "fused":
        valid = [_no_mask() if mask is None else mask for mask in valid]
        return _gradients.iou(_library.load(), op, [*boxes, *valid], config)
    # As in the fused op, 16-bit values are computed in float32.
    boxes = [tf.cast(x, tf.float64 if dtype == tf.float64 else tf.float32) for x in boxes]
    return tf.cast(getattr(reference, op)(*boxes, *valid, kind, box_format), dtype)


def _no_mask():
    return _eager_no_mask() if tf.executing_eagerly() else tf.zeros(0, tf.bool)


@functools.cache
def _eager_no_mask():
    """Made once: making it takes as long as the op."""
    return tf.zeros(0, tf.bool)


# ---------------------------------------------------------------------------------------- checks


# Eagerly the same choices and shapes come again and again, and looking costs as much as the op.
@functools.lru_cache(maxsize=256)
def _config(op, kind, box_format):
    kernels.check_box_iou(op, kind, box_format)
    return kernels.box_iou_config(kind, box_format)


def _boxes(op, boxes_a, boxes_b):
    boxes_a = as_tensor(boxes_a, getattr(boxes_b, "dtype", None))
    boxes_b = as_tensor(boxes_b, boxes_a.dtype)
    if boxes_a.dtype != boxes_b.dtype:
        raise TypeError(
            f"{op}: boxes_a and boxes_b must have one dtype, got {boxes_a.dtype.name} and "
            f"{boxes_b.dtype.name}; cast one of them."
        )
    if not boxes_a.dtype.is_floating:
        raise TypeError(f"{op}: boxes must be floating, got {boxes_a.dtype.name}; cast them.")
    return boxes_a, boxes_b


@functools.lru_cache(maxsize=256)
def _check_shapes(op, boxes_a, boxes_b):
    """Refuses static shapes that do not fit; None (unknown) fits anything."""
    names, own = (("M, 4", "K, 4"), 2) if op == "pairwise_iou" else (("4", "4"), 1)
    for side, boxes, name in zip("ab", (boxes_a, boxes_b), names, strict=True):
        if boxes is not None and (len(boxes) < own or boxes[-1] not in (4, None)):
            raise ValueError(f"{op}: boxes_{side} must be [..., {name}], got {shape_text(boxes)}.")
    if boxes_a is None or boxes_b is None:
        return
    leading = (reversed(boxes[:-own]) for boxes in (boxes_a, boxes_b))
    if not all(a == b or {a, b} & {1, None} for a, b in zip(*leading, strict=False)):
        raise ValueError(
            f"{op}: the leading dimensions of boxes_a and boxes_b must be equal or 1 (they are "
            f"broadcast), got {shape_text(boxes_a)} and {shape_text(boxes_b)}."
        )


_check_mask = functools.lru_cache(maxsize=256)(kernels.check_mask)


def _mask(op, side, valid, boxes):
    """A bool mask of a mask, of counts or of None."""
    if valid is None:
        return None
    valid = as_tensor(valid)
    counts = op == "pairwise_iou" and valid.dtype.is_integer
    if not counts and valid.dtype != tf.bool:
        expected = "bool" if op == "aligned_iou" else "bool, or integers that count"
        raise TypeError(
            f"{op}: valid_{side} must be {expected}, got {valid.dtype.name}; cast it, or compare."
        )
    shape = static_shape(boxes)
    if shape is not None and valid.shape.rank is not None:
        _check_mask(op, side, tuple(valid.shape), shape, counts)
    if not counts:
        return _not_none(op, side, valid, boxes)
    most = None if shape is None else shape[-2]
    # 64 bits, or a count of 2^32 would be one of 0.
    most = tf.shape(boxes, tf.int64)[-2] if most is None else tf.constant(most, tf.int64)
    return tf.sequence_mask(valid, most)


def _not_none(op, side, valid, boxes):
    """`valid`; refused when it runs if it turns out as the [0] by which the op means no mask."""
    if valid.shape.rank not in (None, 1) or valid.shape.is_fully_defined():
        return valid
    fits = tf.debugging.assert_equal(
        tf.size(valid) == 0,
        tf.size(boxes) == 0,
        message=f"{op}: valid_{side} is empty, but boxes_{side} is not.",
    )
    with tf.control_dependencies([fits] if fits is not None else []):
        return tf.identity(valid)
