"""The fused YOLO loss of NumPy arrays."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from yolov1.activations import resolve_activations
from yolov1.grid import GridSpec
from yolov1.kernels import _device
from yolov1.kernels._module import DTYPES, call, shape_text
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

LAYOUTS = ("cells", "planes")
COLLISION_RULES = ("first", "last", "largest")
_OP, _OP_OF_BOXES = "Yolov1>YoloLoss", "Yolov1>YoloLossOfBoxes"
_GRADIENT = 1 << 2  # the bit of a result that can be left out


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
    check_layout(layout)
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
    """As `check_shapes`, for `Boxes` of shapes."""
    check_shapes(predictions, (predictions[0], *grid.target_shape), grid, layout)
    ranks = tuple(map(len, boxes))
    images, most = boxes.labels if ranks[1] == 2 else (None, None)
    wanted = ((images, most, 4), (images, most), (images, most)[: ranks[2]], (images,))
    fits = ranks in ((3, 2, 1), (3, 2, 2)) and all(
        None in (got, size) or got == size
        for shape, sizes in zip((*boxes, predictions[:1]), wanted, strict=True)
        for got, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        box, labels, valid = map(shape_text, boxes)
        raise ValueError(
            "yolo_loss: objects must be boxes [N, M, 4], labels [N, M] and a count [N] or mask "
            f"[N, M] with N = {shape_text(predictions[:1])[1:-1]} as in the predictions, got "
            f"{box}, {labels} and {valid}."
        )


def check_collision(on_collision: str, op="yolo_loss") -> None:
    """Refuses an unknown rule (`ValueError`)."""
    if on_collision not in COLLISION_RULES:
        raise ValueError(
            f"{op}: on_collision must be one of {', '.join(map(repr, COLLISION_RULES))}, "
            f"got {on_collision!r}."
        )


def activation_key(activations):
    """`activations` as `yolo_loss_config` takes it: mappings are not hashable."""
    if isinstance(activations, str):
        return activations
    if not isinstance(activations, Mapping):
        resolve_activations(activations)  # refuses it
    return tuple(activations.items())


def activations_of(key) -> dict[str, str]:
    """Blocks and their activations, of what `activation_key` gave."""
    return resolve_activations(key if isinstance(key, str) else dict(key))


def check_layout(layout: str) -> None:
    """Refuses an unknown layout (`ValueError`)."""
    if layout not in LAYOUTS:
        raise ValueError(
            f"yolo_loss: layout must be one of {', '.join(map(repr, LAYOUTS))}, got {layout!r}."
        )


def check_reduction(reduction: str) -> None:
    """Refuses an unknown reduction (`ValueError`)."""
    if reduction not in ("none", "mean"):
        raise ValueError(f"yolo_loss: reduction must be 'none' or 'mean', got {reduction!r}.")


def _check(name, shape, expected, reason):
    fits = len(shape) == len(expected) + 1 and all(
        got in (None, want) for got, want in zip(shape[1:], expected, strict=True)
    )
    if not fits:
        wanted = shape_text(("N", *expected))
        raise ValueError(
            f"yolo_loss: {name} must be {wanted} for {reason}, got {shape_text(shape)}."
        )


def yolo_loss_versions(device="cpu") -> list[str]:
    """The versions of the kernel, the best first: kernels/README.md tells what each is.

    On the ``"cpu"`` those that this processor runs: one for each level of SIMD, all of the same
    bits, and ``"naive"``, whose sums have another order. On ``"cuda"`` those of the build, none in
    one without CUDA.
    """
    return _device.versions("yolo_loss", _OP, device)


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
        activations: of what comes in as predictions: as `activation_key` gives it.
        on_collision: of objects as `Boxes`.
    """
    words = {"S": grid.S, "B": grid.B, "C": grid.C, "layout": layout, "reduction": reduction}
    words |= {name: repr(getattr(semantics, name)) for name in WEIGHTS}
    words |= {name: getattr(semantics, name) for name in CHOICES}
    # Only where they say something: a graph that was saved without them loads.
    blocks = activations_of(activations)
    words |= {f"activate_{block}": name for block, name in blocks.items() if name != "linear"}
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
            converted. Or `Boxes`, of which the kernel finds the cells; arrays of the CPU.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        activations: what turns `predictions`, then the raw outputs of a network, into predictions,
            as `yolov1.activations` has it; the gradient is by the raw outputs. On the CPU.
        on_collision: which of several `Boxes` a cell keeps: "first", "last" or "largest" (by area;
            the first among equals).
        gradient: whether to compute it; ``"in_place"``: into the array of the predictions, on the
            CPU; they are lost.
        threads: images are shared out among this many threads; the result does not depend on it.
        version: one of `yolo_loss_versions()`, or of those on ``"cuda"``; by default the first.
        stream: for arrays on a GPU (CuPy, PyTorch, JAX: kernels/_device.py), which must be the
            current device: the number of the cudaStream_t that the kernel is queued on. None: the
            current stream of PyTorch or CuPy, for arrays of theirs; else the default stream.
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
    check_layout(layout)
    check_reduction(reduction)
    check_collision(on_collision)
    if gradient not in (True, False, "in_place"):
        raise ValueError(
            f"yolo_loss: gradient must be True, False or 'in_place', got {gradient!r}."
        )
    config = yolo_loss_config(
        *(grid, LossSemantics.of(semantics), layout, reduction),
        *(activation_key(activations), on_collision),
    )
    left_out = 0 if gradient else _GRADIENT
    if _device.is_device_array(predictions):
        if isinstance(targets, Boxes) or gradient == "in_place":
            raise NotImplementedError(
                "yolo_loss: Boxes and a gradient in place are for arrays of the CPU; encode the "
                "targets, and pass out=."
            )
        stream = _device.stream_of(predictions, stream)
        arrays = {"predictions": predictions, "targets": targets}
        inputs = _device.views("yolo_loss", arrays, stream)
        order = ("loss", "terms", "gradient", "mean")
        out = _device.call(
            *("yolo_loss", _OP, config, inputs, predictions, out),
            # With a mean the op's first result is that, and the loss of each image is its last.
            results=("mean", "terms", "gradient", "loss") if reduction == "mean" else order,
            order=order,
            left_out=left_out,
            stream=stream,
            version=version,
        )
        return out["mean" if reduction == "mean" else "loss"], out["terms"], out["gradient"]
    _device.refuse_on_host("yolo_loss", targets=targets, stream=stream, out=out)
    given, predictions = predictions, np.asarray(predictions)
    if predictions.dtype.name not in DTYPES:
        raise TypeError(
            f"yolo_loss: predictions must be one of {', '.join(DTYPES)}, "
            f"got {predictions.dtype}; convert them first."
        )
    # In the machine's byte order: a file's arrays need not be.
    dtype = predictions.dtype.newbyteorder("=")
    inputs = [np.asarray(predictions, dtype, order="C"), *_target_arrays(targets, dtype)]
    outputs = None
    if gradient == "in_place":
        outputs = _outputs_in_place(given, inputs[0], reduction == "mean")
    op = _OP_OF_BOXES if len(inputs) > 2 else _OP
    loss, terms, gradient, _ = call(
        *(op, config, inputs), left_out=left_out, outputs=outputs, threads=threads, version=version
    )
    return loss, terms, given if outputs else gradient


def _target_arrays(targets, dtype):
    if not isinstance(targets, Boxes):
        targets = np.asarray(targets)
        half = dtype.itemsize == 2 and targets.dtype != dtype
        return [np.asarray(targets, np.float32 if half else dtype, order="C")]
    valid = np.asarray(targets.valid)
    return [
        np.asarray(targets.boxes_cxcywh, np.float32, order="C"),
        _int32("labels", targets.labels),
        np.asarray(valid, np.bool_, order="C") if valid.ndim == 2 else _int32("valid", valid),
    ]


def _int32(name, integers):
    """What 32 bits do not hold as the nearest that they do: cast it would be another number."""
    integers = np.asarray(integers)
    if integers.size and integers.dtype.kind not in "iub":
        raise TypeError(
            f"yolo_loss: {name} of Boxes must be integers, got {integers.dtype}; convert them."
        )
    limits = np.iinfo(np.int32)
    if integers.dtype.kind in "iu" and integers.dtype.itemsize >= 4:
        integers = np.clip(integers, limits.min if integers.dtype.kind == "i" else 0, limits.max)
    return np.asarray(integers, np.int32, order="C")


def _outputs_in_place(given, predictions, mean):
    mine = isinstance(given, np.ndarray)
    mine = mine and (given.size == 0 or np.may_share_memory(given, predictions))
    if not mine or not given.flags.writeable:
        raise ValueError(
            "yolo_loss: for a gradient in place the predictions must be a NumPy array, writable "
            "and C-contiguous."
        )
    sums, images = np.float64 if given.dtype == np.float64 else np.float32, len(given)
    loss, terms = np.empty(() if mean else images, sums), np.empty((images, 5), sums)
    return [loss, terms, predictions, np.empty(images, sums) if mean else None]
