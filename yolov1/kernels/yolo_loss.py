"""The fused YOLO loss of NumPy arrays."""

import functools
from typing import Any, NamedTuple

import numpy as np

from yolov1.activations import resolve_activations
from yolov1.grid import GridSpec
from yolov1.kernels import _device
from yolov1.kernels._module import DTYPES, extension
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

LAYOUTS = ("cells", "planes")
COLLISION_RULES = ("first", "last", "largest")


class Boxes(NamedTuple):
    """The objects of a batch as boxes: what targets are encoded from, and the loss takes as well.

    A tuple of arrays or tensors, which `tf.function` and `tf.data` carry as any other.

    Attributes:
        boxes_cxcywh: float32 ``[N, M, 4]``, fractions of the image: centres in [0, 1].
        labels: int32 ``[N, M]`` in [0, C); another one is that of an object of no class.
        valid: which are objects: int32 ``[N]``, that many from the first on; or bool ``[N, M]``.
            The values of the others are not read.
    """

    boxes_cxcywh: Any
    labels: Any
    valid: Any


def prediction_shape(grid: GridSpec, layout: str) -> tuple[int, ...]:
    """Shape of one image's predictions in `layout`."""
    return grid.prediction_shape if layout == "cells" else (grid.flat_size,)


def check_shapes(predictions, targets, grid: GridSpec, layout: str) -> None:
    """Refuses shapes that do not fit the grid; a None (unknown) dimension fits anything.

    Args:
        predictions, targets: shapes, as sequences of integers or None.

    Raises:
        ValueError: the layout is unknown or a shape does not fit; says what was expected.
    """
    if layout not in LAYOUTS:
        raise ValueError(
            f"yolo_loss: layout must be one of {', '.join(map(repr, LAYOUTS))}, got {layout!r}."
        )
    spec = f"GridSpec(S={grid.S}, B={grid.B}, C={grid.C})"
    formula = "D = C + 5B" if layout == "cells" else "S * S * (C + 5B), layout 'planes'"
    expected = prediction_shape(grid, layout)
    _check("predictions", predictions, expected, f"{spec} ({formula})")
    _check("targets", targets, grid.target_shape, f"{spec} (C + 5)")
    if None not in (predictions[0], targets[0]) and predictions[0] != targets[0]:
        raise ValueError(
            "yolo_loss: predictions and targets must hold the same images, "
            f"got {predictions[0]} and {targets[0]}."
        )


def check_boxes(predictions, boxes: Boxes, grid: GridSpec, layout: str) -> None:
    """As `check_shapes`, for objects as `Boxes` of shapes."""
    check_shapes(predictions, (predictions[0], *grid.target_shape), grid, layout)
    box, labels, valid = boxes
    images, most = labels if len(labels) == 2 else (None, None)
    wanted = (images, most, 4), (images, most), (images, most)[: len(valid)]
    known = [
        (got, want)
        for shape, size in zip(boxes, wanted, strict=True)
        for got, want in zip(shape, size, strict=False)
    ]
    known.append((images, predictions[0]))
    fits = (
        (len(box), len(labels)) == (3, 2)
        and len(valid) in (1, 2)
        and all(None in pair or pair[0] == pair[1] for pair in known)
    )
    if not fits:
        count, *got = (_text(shape) for shape in ((predictions[0],), *boxes))
        raise ValueError(
            "yolo_loss: objects must be boxes [N, M, 4], labels [N, M] and a count [N] or mask "
            f"[N, M] with N = {count[1:-1]} as in the predictions, got {got[0]}, {got[1]} and "
            f"{got[2]}."
        )


def check_collision(on_collision: str) -> None:
    """Refuses an unknown rule (`ValueError`)."""
    if on_collision not in COLLISION_RULES:
        raise ValueError(
            f"yolo_loss: on_collision must be one of {', '.join(map(repr, COLLISION_RULES))}, "
            f"got {on_collision!r}."
        )


def _text(shape):
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def check_reduction(reduction: str) -> None:
    """Refuses an unknown reduction (`ValueError`)."""
    if reduction not in ("none", "mean"):
        raise ValueError(f"yolo_loss: reduction must be 'none' or 'mean', got {reduction!r}.")


def _check(name, shape, expected, reason):
    fits = len(shape) == len(expected) + 1 and all(
        got in (None, want) for got, want in zip(shape[1:], expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, ("N", *expected)))
        raise ValueError(f"yolo_loss: {name} must be [{wanted}] for {reason}, got {_text(shape)}.")


def yolo_loss_versions(device="cpu") -> list[str]:
    """The versions of the kernel, the best first: kernels/README.md tells what each is.

    On the ``"cpu"`` those that this processor runs: one for each level of SIMD, all of the same
    bits, and ``"naive"``, whose sums have another order. On ``"cuda"`` those of the build, none in
    one without CUDA.
    """
    return _device.versions("yolo_loss", device)


@functools.lru_cache(maxsize=256)
def yolo_loss_config(
    grid, semantics, layout="cells", reduction="none", activations="linear", on_collision="first"
) -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words.

    Args:
        grid: the `GridSpec`.
        semantics: a `LossSemantics`. Its weights are written as decimals that read back exactly.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, ``"mean"``, or ``"mean_loss"``: the mean of the loss but the gradient
            of the sum, for callers that divide it themselves.
        activations: of what comes in as predictions: a name, or a tuple of (block, activation).
        on_collision: of objects as `Boxes`.
    """
    words = {"S": grid.S, "B": grid.B, "C": grid.C, "layout": layout, "reduction": reduction}
    words |= {name: repr(getattr(semantics, name)) for name in WEIGHTS}
    words |= {name: getattr(semantics, name) for name in CHOICES}
    # Only where they say something: a graph that was saved without them loads.
    activations = resolve_activations(
        activations if isinstance(activations, str) else dict(activations)
    )
    words |= {f"activate_{block}": a for block, a in activations.items() if a != "linear"}
    words |= {} if on_collision == "first" else {"on_collision": on_collision}
    return " ".join(f"{name}={value}" for name, value in words.items())


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
    gradient=True,
    threads=1,
    version=None,
    stream=None,
    out=None,
):
    """The fused YOLO loss of NumPy arrays, or of arrays on a GPU; the kernel of
    `yolov1.ops.yolo_loss`.

    Args:
        predictions: float32, float64, float16 or bfloat16 (of ml_dtypes) ``[N, S, S, D]``, or
            ``[N, S * S * D]`` in layout "planes".
        targets: ``[N, S, S, C + 5]`` of the same dtype, or float32 beside a 16-bit one; others are
            converted. Or `Boxes`, of which the kernel finds the cells.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        activations: what turns `predictions`, then raw outputs, into predictions, as
            `yolov1.activations` takes it; the gradient is that by the raw outputs.
        on_collision: which of several `Boxes` a cell keeps: "first", "last" or "largest".
        gradient: whether to compute it; ``"in_place"``: over the predictions, a contiguous NumPy
            array, which are lost.
        threads: images are shared out among this many threads; the result does not depend on it.
        version: one of `yolo_loss_versions()`, or of those on ``"cuda"``; by default the first.
        stream: for arrays on a GPU (CuPy, PyTorch, JAX: kernels/_device.py), which must be the
            current device: the number of the cudaStream_t that the kernel is queued on; None: the
            default stream.
        out: for arrays on a GPU: where to write, ``(loss [N], terms [N, 5], gradient or None, mean
            or None)``. The call then neither allocates nor waits, and a CUDA graph may record it.
            None: new arrays, of PyTorch or CuPy.

    Returns:
        loss ``[N]`` (scalar with ``"mean"``), terms ``[N, 5]`` (xy, wh, object, no_object, class),
        both float32 (float64 for float64), and the gradient of the loss, summed over the batch or
        its mean, by the predictions, in their dtype; None without `gradient`.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        TypeError: the predictions have another dtype; one array is on a GPU and another is not.
        ImportError: the native module is missing.
        RuntimeError: CUDA refuses the launch, or this build has no CUDA kernels.
    """
    semantics = LossSemantics.of(semantics)
    check_reduction(reduction)
    check_collision(on_collision)
    activations = activation_key(activations)
    if _device.is_device_array(predictions):
        config = (grid, semantics, layout, reduction, activations, on_collision)
        return _on_device(predictions, targets, config, gradient, version, stream or 0, out)
    _device.refuse_on_host("yolo_loss", targets=targets, stream=stream, out=out)
    given, predictions = predictions, np.asarray(predictions)
    if isinstance(targets, Boxes):
        targets = _box_arrays(targets)
        check_boxes(predictions.shape, Boxes(*(x.shape for x in targets)), grid, layout)
    else:
        targets = np.asarray(targets)
        check_shapes(predictions.shape, targets.shape, grid, layout)
    if predictions.dtype.name not in DTYPES:
        raise TypeError(
            f"yolo_loss: predictions must be one of {', '.join(DTYPES)}, "
            f"got {predictions.dtype}; convert them first."
        )
    # In the machine's byte order: a file's arrays need not be.
    dtype = predictions.dtype.newbyteorder("=")
    predictions = np.ascontiguousarray(predictions, dtype)
    if not isinstance(targets, Boxes):
        wide = np.float32 if dtype.itemsize == 2 and targets.dtype != dtype else dtype
        targets = np.ascontiguousarray(targets, dtype=wide)
    sums = np.float64 if dtype == np.float64 else np.float32
    images = len(predictions)
    loss, terms, mean = np.empty(images, sums), np.empty((images, 5), sums), np.empty((), sums)
    if gradient == "in_place":
        mine = isinstance(given, np.ndarray) and np.may_share_memory(predictions, given)
        if not mine or not given.flags.writeable:
            raise ValueError(
                "yolo_loss: a gradient in place needs predictions in a writable C-contiguous array."
            )
        out = given
    else:
        out = np.empty(predictions.shape, dtype) if gradient else None
    extension().yolo_loss(
        yolo_loss_config(grid, semantics, layout, reduction, activations, on_collision),
        predictions,
        targets,
        loss,
        terms,
        out,
        mean,
        threads,
        version or "",
    )
    return mean if reduction == "mean" else loss, terms, out


def activation_key(activations):
    """`activations` as `yolo_loss_config` takes it: mappings are not hashable."""
    return activations if isinstance(activations, str) else tuple(dict(activations).items())


def _box_arrays(boxes):
    valid = np.asarray(boxes.valid)
    return Boxes(
        np.ascontiguousarray(boxes.boxes_cxcywh, np.float32),
        np.ascontiguousarray(boxes.labels, np.int32),
        np.ascontiguousarray(valid, np.bool_ if valid.ndim == 2 else np.int32),
    )


def _on_device(predictions, targets, config, gradient, version, stream, out):
    op = "yolo_loss"
    _device.check_cuda(op)
    grid, _, layout, reduction = config[:4]
    if isinstance(targets, Boxes):
        raise NotImplementedError(f"{op}: on a GPU targets must be encoded; Boxes are for the CPU.")
    if config[4] != "linear":
        raise NotImplementedError(f"{op}: on a GPU predictions must be activated before the call.")
    inputs = [
        _device.read(op, name, array, stream)
        for name, array in (("predictions", predictions), ("targets", targets))
    ]
    dtype, target_dtype = (x.dtype for x in inputs)
    check_shapes(*(x.shape for x in inputs), grid, layout)
    half = dtype in ("float16", "bfloat16")
    if dtype not in DTYPES or target_dtype not in (dtype, "float32" if half else dtype):
        raise TypeError(
            f"{op}: predictions must be one of {', '.join(DTYPES)}, and targets of the same dtype, "
            f"or float32 beside a 16-bit one, got {dtype} and {target_dtype}; convert them first."
        )
    sums = "float64" if dtype == "float64" else "float32"
    images = inputs[0].shape[0]
    wanted = {
        "loss": ((images,), sums),
        "terms": ((images, 5), sums),
        "gradient": (inputs[0].shape, dtype) if gradient else None,
        "mean": ((), sums) if reduction == "mean" else None,
    }
    if out is None:
        out = [x and _device.empty_like(op, predictions, *x) for x in wanted.values()]
    if len(out) != len(wanted):
        raise ValueError(f"{op}: out must be ({', '.join(wanted)}), got {len(out)} arrays.")
    outputs = [
        x and _device.output(op, name, array, *x, stream)
        for (name, x), array in zip(wanted.items(), out, strict=True)
    ]
    _device.check_one_gpu(op, *inputs, *outputs)
    extension().yolo_loss_cuda(yolo_loss_config(*config), *inputs, *outputs, stream, version or "")
    return out[3] if reduction == "mean" else out[0], out[1], out[2] if gradient else None
