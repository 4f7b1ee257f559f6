"""Batched IoU of NumPy arrays. `yolov1.ops.box_iou` has the formulas and the special cases."""

import numpy as np

from yolov1.kernels import _device
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
    stream=None,
    out=None,
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
        version: one of `box_iou_versions()`, or of those on ``"cuda"``; by default the first.
        stream, out: for arrays on a GPU, as in `yolo_loss`: the stream, and the array to write.
            Masks must be bool there.

    Returns:
        ``[..., M, K]`` in the dtype of the boxes; 0 for pairs with a box that does not count.

    Raises:
        ValueError: a shape does not fit, or an unknown choice.
        TypeError: the boxes are not of one of these dtypes; a mask is neither bool nor integers.
        MemoryError: there is none to work in.
        ImportError: the native module is missing.
        RuntimeError: CUDA refuses the launch, or this build has no CUDA kernels.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _iou("pairwise", boxes, valid, kind, box_format, threads, version, stream, out)


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
    stream=None,
    out=None,
):
    """The gradient of ``sum(upstream * pairwise_iou(...))`` by both boxes; see `pairwise_iou`.

    Args:
        upstream: ``[..., M, K]``, like the result; converted to the dtype of the boxes. It is not
            read where a box does not count.
        out: for arrays on a GPU: ``(gradient_a, gradient_b, workspace)``, the last one of uint8
            and `box_iou_workspace` bytes, or None where that is 0.

    Returns:
        The gradients by `boxes_a` and by `boxes_b`, in their shapes and dtype: summed over what a
        box was paired with, 0 for a box that does not count.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    options = (kind, box_format, threads, version, stream, out)
    return _gradient("pairwise", boxes, valid, upstream, *options)


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
    stream=None,
    out=None,
):
    """The overlap of boxes one by one: ``[..., 4]`` with ``[..., 4]`` to ``[...]``, broadcast.

    Masks are bool ``[...]``, each like its boxes. All else is as in `pairwise_iou`.
    """
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    return _iou("aligned", boxes, valid, kind, box_format, threads, version, stream, out)


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
    stream=None,
    out=None,
):
    """The gradient of ``sum(upstream * aligned_iou(...))``; as `pairwise_iou_gradient`."""
    boxes, valid = (boxes_a, boxes_b), (valid_a, valid_b)
    options = (kind, box_format, threads, version, stream, out)
    return _gradient("aligned", boxes, valid, upstream, *options)


def box_iou_versions(device="cpu") -> list[str]:
    """The versions of the kernels, the best first: kernels/README.md tells what each is.

    On the ``"cpu"`` those that this processor runs: one for each level of SIMD, all of the same
    bits, and ``"naive"``, whose gradients are summed in another order. On ``"cuda"`` those of the
    build, none in one without CUDA.
    """
    return _device.versions("box_iou", device)


def box_iou_workspace(boxes_a, boxes_b, *, op="pairwise_iou") -> int:
    """Bytes in which the gradient of `op` works on a GPU, for boxes there: the size of `out`'s
    workspace, whose address must be a multiple of 16."""
    call = _device_inputs(op, (boxes_a, boxes_b), (None, None), "iou", "xyxy", 0)
    return extension().box_iou_cuda_workspace(*call)


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


def _iou(shape, boxes, valid, kind, box_format, threads, version, stream, out):
    if any(map(_device.is_device_array, boxes)):
        stream = _device.stream_of(boxes[0], stream)
        return _iou_on_device(shape, boxes, valid, kind, box_format, version, stream, out)
    _device.refuse_on_host(f"{shape}_iou", stream=stream, out=out)
    call = _inputs(shape, boxes, valid, kind, box_format)
    iou = np.empty(extension().box_iou_shape(*call), call[-1][0].dtype)
    extension().box_iou(*call, iou, threads, version or "")
    return iou


def _gradient(shape, boxes, valid, upstream, kind, box_format, threads, version, stream, out):
    if any(map(_device.is_device_array, boxes)):
        options = (kind, box_format, version, _device.stream_of(boxes[0], stream), out)
        return _gradient_on_device(shape, boxes, valid, upstream, *options)
    _device.refuse_on_host(f"{shape}_iou", upstream=upstream, stream=stream, out=out)
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


# --------------------------------------------------------------------------------------- on a GPU


def _iou_on_device(shape, boxes, valid, kind, box_format, version, stream, out):
    op = f"{shape}_iou"
    call = _device_inputs(op, boxes, valid, kind, box_format, stream)
    result, dtype = extension().box_iou_cuda_shape(*call), call[-1][0].dtype
    if out is None:
        out = _device.empty_like(op, boxes[0], result, dtype)
    view = _device.output(op, "iou", out, result, dtype, stream)
    _device.check_one_gpu(op, *call[-1], view)
    extension().box_iou_cuda(*call, view, stream, version or "")
    return out


def _gradient_on_device(shape, boxes, valid, upstream, kind, box_format, version, stream, out):
    op = f"{shape}_iou"
    call = _device_inputs(op, boxes, valid, kind, box_format, stream)
    a, b, *_ = call[-1]
    result, size = (
        getattr(extension(), f"box_iou_cuda_{what}")(*call) for what in ("shape", "workspace")
    )
    above = _device.read(op, "upstream", upstream, stream)
    if list(above.shape) != result or above.dtype != a.dtype:
        raise ValueError(
            f"{op}: upstream must be {a.dtype} {result}, got {above.dtype} {list(above.shape)}."
        )
    wanted = [("gradient_a", a.shape, a.dtype), ("gradient_b", b.shape, b.dtype)]
    wanted += [("workspace", (size,), "uint8")] if size else []
    if out is None:
        out = [_device.empty_like(op, boxes[0], *x) for _, *x in wanted]
    if len(out) < len(wanted):
        raise ValueError(
            f"{op}: out must be ({', '.join(name for name, *_ in wanted)}), got {len(out)} arrays."
        )
    views = [
        _device.output(op, *x[:1], array, *x[1:], stream)
        for x, array in zip(wanted, out, strict=False)
    ]
    _device.check_one_gpu(op, *call[-1], above, *views)
    if size and views[2].pointer % 16:
        raise ValueError(
            f"{op}: out: workspace must begin at a multiple of 16 bytes, got {views[2].pointer:#x}."
        )
    extension().box_iou_cuda_gradient(
        *call, above, *views[:2], views[2] if size else None, stream, version or ""
    )
    return out[0], out[1]


def _device_inputs(op, boxes, valid, kind, box_format, stream):
    """What the native functions on a GPU take first, as `_inputs` makes it for NumPy arrays."""
    _device.check_cuda(op)
    check_box_iou(op, kind, box_format)
    boxes = [
        _device.read(op, f"boxes_{side}", x, stream) for side, x in zip("ab", boxes, strict=True)
    ]
    if boxes[0].dtype != boxes[1].dtype or boxes[0].dtype not in DTYPES:
        raise TypeError(
            f"{op}: boxes_a and boxes_b must have one dtype of {', '.join(DTYPES)}, got "
            f"{boxes[0].dtype} and {boxes[1].dtype}; convert them first."
        )
    masks = []
    for side, mask, of in zip("ab", valid, boxes, strict=True):
        view = None if mask is None else _device.read(op, f"valid_{side}", mask, stream)
        if view is not None and view.dtype not in ("bool", "uint8"):
            raise TypeError(
                f"{op}: valid_{side} must be bool on a GPU, got {view.dtype}; of counts make "
                "arange(M) < counts[..., None]."
            )
        if view is not None and view.shape != of.shape[:-1]:
            raise ValueError(
                f"{op}: valid_{side} must be {of.shape[:-1]} for boxes_{side} {of.shape}, got "
                f"{view.shape}."
            )
        masks.append(view)
    return op.removesuffix("_iou"), box_iou_config(kind, box_format), (*boxes, *masks)
