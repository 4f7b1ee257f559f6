"""The fused YOLO loss of NumPy arrays."""

import functools

import numpy as np

from yolov1.grid import GridSpec
from yolov1.kernels import _device
from yolov1.kernels._module import DTYPES, call, shape_text
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

LAYOUTS = ("cells", "planes")
_OP, _GRADIENT = "Yolov1>YoloLoss", 1 << 2  # the bit of a result that can be left out


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
def yolo_loss_config(grid, semantics, layout="cells", reduction="none") -> str:
    """The one text that every fused implementation is configured with: ``key=value`` words.

    Args:
        grid: the `GridSpec`.
        semantics: a `LossSemantics`. Its weights are written as decimals that read back exactly.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, ``"mean"``, or ``"mean_loss"``: the mean of the loss but the gradient
            of the sum, for callers that divide it themselves.
    """
    words = {"S": grid.S, "B": grid.B, "C": grid.C, "layout": layout, "reduction": reduction}
    words |= {name: repr(getattr(semantics, name)) for name in WEIGHTS}
    words |= {name: getattr(semantics, name) for name in CHOICES}
    return " ".join(f"{name}={value}" for name, value in words.items())


def yolo_loss(
    predictions,
    targets,
    *,
    grid,
    semantics="paper",
    layout="cells",
    reduction="none",
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
            converted.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` or ``"planes"``.
        reduction: ``"none"``, or ``"mean"`` over the batch (0 for an empty one).
        gradient: whether to compute it.
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
    config = yolo_loss_config(grid, LossSemantics.of(semantics), layout, reduction)
    left_out = 0 if gradient else _GRADIENT
    if _device.is_device_array(predictions):
        stream = _device.stream_of(predictions, stream)
        arrays = {"predictions": predictions, "targets": targets}
        inputs, order = (
            _device.views("yolo_loss", arrays, stream),
            ("loss", "terms", "gradient", "mean"),
        )
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
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.dtype.name not in DTYPES:
        raise TypeError(
            f"yolo_loss: predictions must be one of {', '.join(DTYPES)}, "
            f"got {predictions.dtype}; convert them first."
        )
    # In the machine's byte order: a file's arrays need not be.
    dtype = predictions.dtype.newbyteorder("=")
    half = dtype.itemsize == 2 and targets.dtype != dtype
    inputs = [
        np.asarray(predictions, dtype, order="C"),
        np.asarray(targets, np.float32 if half else dtype, order="C"),
    ]
    loss, terms, gradient, _ = call(
        _OP, config, inputs, left_out=left_out, threads=threads, version=version
    )
    return loss, terms, gradient
