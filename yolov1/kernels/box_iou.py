"""Batched IoU of NumPy arrays. `yolov1.ops.box_iou` has the formulas and the special cases."""

import numpy as np

from yolov1.kernels import _device
from yolov1.kernels._module import DTYPES, call, extension, shape_text

KINDS = ("iou", "giou", "diou", "ciou")
BOX_FORMATS = ("xyxy", "cxcywh")
_OPS = {"pairwise_iou": "Yolov1>PairwiseIou", "aligned_iou": "Yolov1>AlignedIou"}


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
    arrays = _named(boxes_a, boxes_b, valid_a, valid_b)
    return _run("pairwise_iou", arrays, (kind, box_format), threads, version, stream, out)["iou"]


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
    arrays = _named(boxes_a, boxes_b, valid_a, valid_b) | {"upstream": upstream}
    out = _run("pairwise_iou", arrays, (kind, box_format), threads, version, stream, out)
    return out["gradient_a"], out["gradient_b"]


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
    arrays = _named(boxes_a, boxes_b, valid_a, valid_b)
    return _run("aligned_iou", arrays, (kind, box_format), threads, version, stream, out)["iou"]


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
    arrays = _named(boxes_a, boxes_b, valid_a, valid_b) | {"upstream": upstream}
    out = _run("aligned_iou", arrays, (kind, box_format), threads, version, stream, out)
    return out["gradient_a"], out["gradient_b"]


def box_iou_versions(device="cpu") -> list[str]:
    """The versions of the kernels, the best first: kernels/README.md tells what each is.

    On the ``"cpu"`` those that this processor runs: one for each level of SIMD, all of the same
    bits, and ``"naive"``, whose gradients are summed in another order. On ``"cuda"`` those of the
    build, none in one without CUDA.
    """
    return _device.versions("box_iou", _OPS["pairwise_iou"], device)


def box_iou_workspace(boxes_a, boxes_b, *, op="pairwise_iou") -> int:
    """Bytes in which the gradient of `op` works on a GPU, for boxes there: the size of `out`'s
    workspace, whose address must be a multiple of 16."""
    inputs = _device.views(op, _named(boxes_a, boxes_b, None, None), 0)
    upstream = extension().DeviceArray(0, (-2,), inputs["boxes_a"].dtype, False)  # of any shape
    inputs = [*inputs.values(), upstream]
    *_, workspace = extension().results_on_gpu(f"{_OPS[op]}Grad", box_iou_config(), inputs, 0)
    return workspace[0][0] if workspace else 0


def check_box_iou(op, kind, box_format) -> None:
    """Refuses an unknown kind or format of boxes (`ValueError`); `op` is who complains."""
    for name, got, choices in (("kind", kind, KINDS), ("box_format", box_format, BOX_FORMATS)):
        if got not in choices:
            raise ValueError(
                f"{op}: {name} must be one of {', '.join(map(repr, choices))}, got {got!r}."
            )


def check_mask(op, side, valid, boxes, counts=False) -> None:
    """Refuses the shape of a mask, or of counts, that does not fit its boxes' (`ValueError`).

    None in a shape, a size that is not known yet, fits anything.
    """
    expected, what = (boxes[:-2], "counts ") if counts else (boxes[:-1], "")
    if len(valid) != len(expected) or not all(
        a == b or None in (a, b) for a, b in zip(valid, expected, strict=True)
    ):
        raise ValueError(
            f"{op}: valid_{side} must be {what}{shape_text(expected)} for boxes_{side} "
            f"{shape_text(boxes)}, got {shape_text(valid)}."
        )


def box_iou_config(kind="iou", box_format="xyxy") -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words."""
    return f"kind={kind} box_format={box_format}"


# ---------------------------------------------------------------------------------------- inside


def _named(boxes_a, boxes_b, valid_a, valid_b):
    return {"boxes_a": boxes_a, "boxes_b": boxes_b, "valid_a": valid_a, "valid_b": valid_b}


def _run(op, arrays, choices, threads, version, stream, out):
    """The results by name: of the gradient where there is an upstream one."""
    check_box_iou(op, *choices)
    config, native, names = box_iou_config(*choices), _OPS[op], ("iou",)
    if "upstream" in arrays:
        native, names = f"{native}Grad", ("gradient_a", "gradient_b", "workspace")
    if any(_device.is_device_array(arrays[name]) for name in ("boxes_a", "boxes_b")):
        stream = _device.stream_of(arrays["boxes_a"], stream)
        inputs = _device.views(op, arrays, stream)
        _check_device_masks(op, inputs)
        out = out if out is None or len(names) > 1 else (out,)
        options = dict(results=names, stream=stream, version=version)
        return _device.call(op, native, config, inputs, arrays["boxes_a"], out, **options)
    upstream = {"upstream": arrays["upstream"]} if len(names) > 1 else {}
    _device.refuse_on_host(op, **upstream, stream=stream, out=out)
    a, b = (_boxes(op, side, arrays[f"boxes_{side}"]) for side in "ab")
    if a.dtype != b.dtype:
        raise TypeError(
            f"{op}: boxes_a and boxes_b must have one dtype, got {a.dtype} and {b.dtype}; convert "
            "one of them."
        )
    masks = [_mask(op, side, arrays[f"valid_{side}"], x) for side, x in (("a", a), ("b", b))]
    above = [np.asarray(x, a.dtype, order="C") for x in upstream.values()]
    made = call(native, config, [a, b, *masks, *above], threads=threads, version=version)
    return dict(zip(names, made, strict=True))


def _check_device_masks(op, views):
    """Refuses what the native module cannot: a mask [0] is none there, and it knows no counts."""
    for side in "ab":
        valid = views[f"valid_{side}"]
        if valid is None:
            continue
        if valid.dtype not in ("bool", "uint8"):
            raise TypeError(
                f"{op}: valid_{side} must be bool on a GPU, got {valid.dtype}; of counts make "
                "arange(M) < counts[..., None]."
            )
        check_mask(op, side, valid.shape, views[f"boxes_{side}"].shape)
        valid.dtype = "bool"  # libraries without a bool in DLPack hand it over as bytes


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
    counts = op == "pairwise_iou" and valid.dtype.kind in "iu"
    if not counts and valid.dtype != bool:
        wanted = "bool" if op == "aligned_iou" else "bool, or integers that count"
        raise TypeError(
            f"{op}: valid_{side} must be {wanted}, got {valid.dtype}; convert it, or compare."
        )
    # The native module takes [0] for no mask, whatever the boxes: it must not come from here.
    check_mask(op, side, valid.shape, boxes.shape, counts)
    if counts:
        most = boxes.shape[-2] if boxes.ndim > 1 else 0  # without M the module refuses the boxes
        valid = np.arange(most) < valid[..., None]
    return np.asarray(valid, order="C")
