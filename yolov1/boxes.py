"""Box formats and their conversions, for NumPy arrays and TensorFlow tensors alike.

The format is in every name: ``cxcywh`` is centre and size, ``xyxy`` is left, top, right, bottom.
Coordinates are fractions of the image unless a name says ``_px``. Every function takes
``[..., 4]`` and keeps the dtype and the leading dimensions.
"""

import numpy as np


def _split(boxes):
    return tuple(boxes[..., k] for k in range(4))


def _stack(parts):
    if isinstance(parts[0], (np.ndarray, np.generic)):
        return np.stack(parts, axis=-1)
    import tensorflow as tf  # only a tensor can bring us here, so TensorFlow is already loaded

    return tf.stack(parts, axis=-1)


def cxcywh_to_xyxy(boxes_cxcywh):
    """Centre and size to corners."""
    cx, cy, w, h = _split(boxes_cxcywh)
    return _stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))


def xyxy_to_cxcywh(boxes_xyxy):
    """Corners to centre and size."""
    x0, y0, x1, y1 = _split(boxes_xyxy)
    return _stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0))


def clip_xyxy(boxes_xyxy, low=0.0, high=1.0):
    """Corners moved into ``[low, high]``; a box that lies outside becomes one of zero area."""
    if isinstance(boxes_xyxy, np.ndarray):
        return np.clip(boxes_xyxy, low, high)
    import tensorflow as tf

    return tf.clip_by_value(boxes_xyxy, low, high)


def area_xyxy(boxes_xyxy):
    """``[...]`` areas; negative where exactly one pair of corners is inverted."""
    x0, y0, x1, y1 = _split(boxes_xyxy)
    return (x1 - x0) * (y1 - y0)


def scale_xyxy(boxes_xyxy, width, height):
    """Fractions of the image to pixels (or back, with ``1 / width`` and ``1 / height``)."""
    x0, y0, x1, y1 = _split(boxes_xyxy)
    return _stack((x0 * width, y0 * height, x1 * width, y1 * height))
