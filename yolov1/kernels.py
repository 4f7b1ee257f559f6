"""The framework-free kernels on NumPy arrays: no TensorFlow is needed, or imported.

The extension module behind this file is built with the package; without TensorFlow build it with
``YOLOV1_TENSORFLOW=OFF pip install --no-deps --no-build-isolation .``
"""

import json

import numpy as np

from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

LAYOUTS = ("cells", "planes")


def _extension():
    try:
        from yolov1 import _kernels
    except ImportError as error:
        raise ImportError(
            f"yolov1.kernels: the native module could not be loaded ({error}). Build it with: "
            "pip install --no-build-isolation -e ."
        ) from error
    return _kernels


def build_info() -> dict:
    """What the native module was built from and with: versions, compiler, CUDA, git revision."""
    return json.loads(_extension().build_info())


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


def _check(name, shape, expected, reason):
    fits = len(shape) == len(expected) + 1 and all(
        got in (None, want) for got, want in zip(shape[1:], expected, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, ("N", *expected)))
        got = ", ".join("?" if size is None else str(size) for size in shape)
        raise ValueError(f"yolo_loss: {name} must be [{wanted}] for {reason}, got [{got}].")


def yolo_loss(
    predictions, targets, *, grid, semantics="paper", layout="cells", gradient=True, threads=1
):
    """The fused YOLO loss of NumPy arrays; the same kernel as `yolov1.ops.yolo_loss`.

    Args:
        predictions: float32 or float64 ``[N, S, S, D]``, or ``[N, S * S * D]`` in layout "planes".
        targets: ``[N, S, S, C + 5]``, converted to the dtype of the predictions.
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        gradient: whether to compute it.
        threads: images are shared out among this many threads; the result does not depend on it.

    Returns:
        loss ``[N]``, terms ``[N, 5]`` (xy, wh, object, no_object, class), and the gradient of the
        summed loss by the predictions, or None.

    Raises:
        ValueError: a shape does not fit the grid.
        TypeError: the predictions are neither float32 nor float64.
        ImportError: the native module is missing.
    """
    semantics = LossSemantics.of(semantics)
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    check_shapes(predictions.shape, targets.shape, grid, layout)
    if predictions.dtype not in (np.float32, np.float64):
        raise TypeError(
            "yolo_loss: predictions must be float32 or float64, "
            f"got {predictions.dtype}; convert them first."
        )
    return _extension().yolo_loss(
        np.ascontiguousarray(predictions),
        np.ascontiguousarray(targets, dtype=predictions.dtype),
        (grid.S, grid.B, grid.C),
        LAYOUTS.index(layout),
        [getattr(semantics, name) for name in WEIGHTS],
        [names.index(getattr(semantics, field)) for field, names in CHOICES.items()],
        gradient,
        threads,
    )
