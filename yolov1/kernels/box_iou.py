"""Batched IoU of NumPy arrays. `yolov1.ops.box_iou` has the formulas and the special cases."""

import numpy as np

from yolov1.kernels._module import DTYPES, extension

KINDS = ("iou", "giou", "diou", "ciou")
BOX_FORMATS = ("xyxy", "cxcywh")


def pairwise_iou(
    boxes_a,
    boxes_b,
    *,
    kind="iou",
    box_format="xyxy",
    valid_a=None,
    valid_b=None,
    threads=1,
    version=None,
):
    """The overlap of each of M boxes with each of K; the same kernel as `yolov1.ops.pairwise_iou`.

    Args:
        boxes_a: ``[..., M, 4]``, float32, float64, float16 or bfloat16 (of ml_dtypes).
        boxes_b: ``[..., K, 4]`` of the same dtype. The leading dimensions of both are broadcast.
        kind: ``"iou"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        box_format: ``"xyxy"`` (low and high corner) or ``"cxcywh"`` (centre and size).
        valid_a: which boxes count: bool ``[..., M]`` like `boxes_a`, or how many, integers
            ``[...]``: the first so many of each M. None: all.
        valid_b: the same of `boxes_b`.
        threads: the work is shared out among this many; the result does not depend on it.
        version: one of `box_iou_versions()`; by default the first.

    Returns:
        ``[..., M, K]`` in the dtype of the boxes; 0 for pairs with a box that does not count.

    Raises:
        ValueError: a shape does not fit, or an unknown choice.
        TypeError: the boxes are not of one of these dtypes; a mask is neither bool nor integers.
        MemoryError: there is none to work in.
        ImportError: the native module is missing.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _iou("pairwise", boxes, valid, kind, box_format, threads, version)


def pairwise_iou_gradient(
    boxes_a,
    boxes_b,
    upstream,
    *,
    kind="iou",
    box_format="xyxy",
    valid_a=None,
    valid_b=None,
    threads=1,
    version=None,
):
    """The gradient of ``sum(upstream * pairwise_iou(...))`` by both boxes; see `pairwise_iou`.

    Args:
        upstream: ``[..., M, K]``, like the result; converted to the dtype of the boxes. It is not
            read where a box does not count.

    Returns:
        The gradients by `boxes_a` and by `boxes_b`, in their shapes and dtype: summed over what a
        box was paired with, 0 for a box that does not count.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _gradient("pairwise", boxes, valid, upstream, kind, box_format, threads, version)


def aligned_iou(
    boxes_a,
    boxes_b,
    *,
    kind="iou",
    box_format="xyxy",
    valid_a=None,
    valid_b=None,
    threads=1,
    version=None,
):
    """The overlap of boxes one by one: ``[..., 4]`` with ``[..., 4]`` to ``[...]``, broadcast.

    Masks are bool ``[...]``, each like its boxes. All else is as in `pairwise_iou`.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _iou("aligned", boxes, valid, kind, box_format, threads, version)


def aligned_iou_gradient(
    boxes_a,
    boxes_b,
    upstream,
    *,
    kind="iou",
    box_format="xyxy",
    valid_a=None,
    valid_b=None,
    threads=1,
    version=None,
):
    """The gradient of ``sum(upstream * aligned_iou(...))``; as `pairwise_iou_gradient`."""
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _gradient("aligned", boxes, valid, upstream, kind, box_format, threads, version)


def box_iou_versions() -> list[str]:
    """The versions of the CPU kernel that this processor runs, the best first.

    One for each level of SIMD, all of the same bits, and ``"naive"``, whose gradients are summed in
    another order.
    """
    return extension().box_iou_versions()


def check_box_iou(op, kind, box_format) -> None:
    """Refuses an unknown kind or format of boxes (`ValueError`); `op` is who complains."""
    for name, got, choices in (("kind", kind, KINDS), ("box_format", box_format, BOX_FORMATS)):
        if got not in choices:
            raise ValueError(
                f"{op}: {name} must be one of {', '.join(map(repr, choices))}, got {got!r}."
            )


def box_iou_config(kind="iou", box_format="xyxy") -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words."""
    return f"kind={kind} box_format={box_format}"


# ---------------------------------------------------------------------------------------- inside


def _iou(shape, boxes, valid, kind, box_format, threads, version):
    call = _inputs(shape, boxes, valid, kind, box_format)
    iou = np.empty(extension().box_iou_shape(*call), call[-1][0].dtype)
    extension().box_iou(*call, iou, threads, version or "")
    return iou


def _gradient(shape, boxes, valid, upstream, kind, box_format, threads, version):
    call = _inputs(shape, boxes, valid, kind, box_format)
    boxes_a, boxes_b, *_ = call[-1]
    upstream = np.asarray(upstream, boxes_a.dtype, order="C")
    gradients = np.empty_like(boxes_a), np.empty_like(boxes_b)
    extension().box_iou_gradient(*call, upstream, *gradients, threads, version or "")
    return gradients


def _inputs(shape, boxes, valid, kind, box_format):
    """What the native functions take first: shape, configuration, boxes and masks."""
    op = f"{shape}_iou"
    check_box_iou(op, kind, box_format)
    boxes = [_boxes(op, *side) for side in zip("ab", boxes, strict=True)]
    if boxes[0].dtype != boxes[1].dtype:
        raise TypeError(
            f"{op}: boxes_a and boxes_b must have one dtype, got {boxes[0].dtype} and "
            f"{boxes[1].dtype}; convert one of them."
        )
    masks = [_mask(op, *side) for side in zip("ab", valid, boxes, strict=True)]
    return shape, box_iou_config(kind, box_format), (*boxes, *masks)


def _boxes(op, side, boxes):
    boxes = np.asarray(boxes)
    if boxes.dtype.name not in DTYPES:
        raise TypeError(
            f"{op}: boxes_{side} must be one of {', '.join(DTYPES)}, got {boxes.dtype}; convert "
            "them first."
        )
    # In the machine's byte order: a file's arrays need not be.
    return np.asarray(boxes, boxes.dtype.newbyteorder("="), order="C")


def _mask(op, side, valid, boxes):
    """A mask in the shape of the boxes, of a mask or counts; ``[0]`` of None."""
    if valid is None:
        return np.zeros(0, bool)
    valid = np.asarray(valid)
    expected, what = boxes.shape[:-1], ""
    if op == "pairwise_iou" and valid.dtype.kind in "iu":
        expected, what = boxes.shape[:-2], "counts "
    elif valid.dtype != bool:
        wanted = "bool" if op == "aligned_iou" else "bool, or integers that count"
        raise TypeError(
            f"{op}: valid_{side} must be {wanted}, got {valid.dtype}; convert it, or compare."
        )
    # The native module takes [0] for no mask, whatever the boxes: it must not come from here.
    if valid.shape != expected:
        raise ValueError(
            f"{op}: valid_{side} must be {what}{list(expected)} for boxes_{side} "
            f"{list(boxes.shape)}, got {list(valid.shape)}."
        )
    if what:
        most = boxes.shape[-2] if boxes.ndim > 1 else 0  # without M the module refuses the boxes
        valid = np.arange(most) < valid[..., None]
    return np.asarray(valid, order="C")
