"""The fused YOLO loss of NumPy arrays."""

import functools

import numpy as np

from yolov1.grid import GridSpec
from yolov1.kernels._module import DTYPES, extension
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

LAYOUTS = ("cells", "planes")


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
        got = ", ".join("?" if size is None else str(size) for size in shape)
        raise ValueError(f"yolo_loss: {name} must be [{wanted}] for {reason}, got [{got}].")


def yolo_loss_versions() -> list[str]:
    """The versions of the CPU kernel that this processor runs, the best first.

    One for each level of SIMD, all of the same bits, and ``"naive"``, whose sums have another
    order: kernels/README.md tells what each is.
    """
    return extension().yolo_loss_versions()


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
):
    """The fused YOLO loss of NumPy arrays; the same kernel as `yolov1.ops.yolo_loss`.

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
        version: one of `yolo_loss_versions()`; by default the first.

    Returns:
        loss ``[N]`` (scalar with ``"mean"``), terms ``[N, 5]`` (xy, wh, object, no_object, class),
        both float32 (float64 for float64), and the gradient of the loss, summed over the batch or
        its mean, by the predictions, in their dtype; None without `gradient`.

    Raises:
        ValueError: a shape does not fit the grid, or an unknown choice.
        TypeError: the predictions have another dtype.
        ImportError: the native module is missing.
    """
    semantics = LossSemantics.of(semantics)
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    check_shapes(predictions.shape, targets.shape, grid, layout)
    check_reduction(reduction)
    if predictions.dtype.name not in DTYPES:
        raise TypeError(
            f"yolo_loss: predictions must be one of {', '.join(DTYPES)}, "
            f"got {predictions.dtype}; convert them first."
        )
    # In the machine's byte order: a file's arrays need not be.
    predictions = np.ascontiguousarray(predictions, predictions.dtype.newbyteorder("="))
    dtype = predictions.dtype
    sums = np.float64 if dtype == np.float64 else np.float32
    if dtype.itemsize == 2 and targets.dtype != dtype:
        targets = np.ascontiguousarray(targets, dtype=np.float32)
    else:
        targets = np.ascontiguousarray(targets, dtype=dtype)
    images = len(predictions)
    loss, terms, mean = np.empty(images, sums), np.empty((images, 5), sums), np.empty((), sums)
    out = np.empty(predictions.shape, dtype) if gradient else None
    extension().yolo_loss(
        yolo_loss_config(grid, semantics, layout, reduction),
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
