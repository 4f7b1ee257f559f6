"""What an array must hold to be an image."""

import numpy as np

TOLERANCE = 1e-3  # beyond [0, 1], which resampling oversteps


def check(image, op: str):
    """Raises ValueError unless the array is uint8, or floating point in [0, 1]."""
    if image.dtype == np.uint8:
        return
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(
            f"{op}: an image must be uint8, or floating point in [0, 1], got {image.dtype}. Of "
            "values in 0..255 make it uint8 with .astype(np.uint8)."
        )
    low, high = float(np.min(image, initial=0)), float(np.max(image, initial=0))
    if not np.isfinite(low + high):
        raise ValueError(f"{op}: floating point must be in [0, 1], got NaN or infinity.")
    if high > 1 + TOLERANCE:
        raise ValueError(
            f"{op}: floating point must be in [0, 1], got up to {high:.4g}; divide by 255 or give "
            "uint8, where the values are 0..255."
        )
    if low < -TOLERANCE:
        raise ValueError(
            f"{op}: floating point must be in [0, 1], got down to {low:.4g}; undo what was "
            "subtracted, or give uint8."
        )
