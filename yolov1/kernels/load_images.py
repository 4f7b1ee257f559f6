"""What configures the image ops, and how images of several sizes lie in memory."""

import functools
import numbers
from typing import Any, NamedTuple

import numpy as np

from yolov1.kernels._module import shape_text

IMAGE_DTYPES = ("float32", "float16", "bfloat16", "uint8")
MOST = 1 << 14  # pixels of a side of what they make


class Pixels(NamedTuple):
    """Images of any size, one after another in one buffer.

    A tuple of arrays or tensors, which `tf.function` and `tf.data` carry as any other. Image k is
    ``values[offsets[k] : offsets[k] + height * width * 3]`` as ``[height, width, 3]``, RGB. Images
    may share their values, and come in any order.

    Attributes:
        values: uint8 ``[total]``.
        offsets: int64 ``[n]``.
        sizes: int32 ``[n, 2]``: (height, width), at least 1.
    """

    values: Any
    offsets: Any
    sizes: Any


def load_images_config(size, dtype) -> str:
    """The one text that every fused implementation of `load_images` is configured with.

    Raises:
        TypeError: the size is no Python integer.
        ValueError: a size below 1 or above 16,384, or another dtype.
    """
    return _config("load_images", size, dtype)


def augment_images_config(size, dtype, shrink) -> str:
    """The same of `augment_images`."""
    if not isinstance(shrink, (bool, np.bool_)):
        raise TypeError(
            f"augment_images: shrink must be True or False, got {type(shrink).__name__}."
        )
    return f"{_config('augment_images', size, dtype)} shrink={bool(shrink)}"


def _config(op, size, dtype):
    if not isinstance(size, numbers.Integral):
        raise TypeError(f"{op}: size must be a Python integer, got {type(size).__name__}.")
    if not 1 <= size <= MOST:
        raise ValueError(f"{op}: size must be from 1 to {MOST} pixels, got {size}.")
    if dtype not in IMAGE_DTYPES:
        raise ValueError(f"{op}: dtype must be one of {', '.join(IMAGE_DTYPES)}, got {dtype}.")
    return f"size={size} dtype={dtype}"


@functools.lru_cache(maxsize=256)
def check_views(op, count, **views) -> None:
    """Refuses (`ValueError`) static shapes that do not fit n images; None fits anything.

    Args:
        op: its name, for the message.
        count: n, or None where it is not known.
        views: the shapes of windows, flips, transpose and colours; None for an unknown rank.
    """
    for name, shape in views.items():
        wanted = (count, *_VIEWS[name])
        if not _fits(shape, wanted):
            raise ValueError(
                f"{op}: {name} must be {shape_text(('n', *_VIEWS[name]))} with n = "
                f"{'?' if count is None else count} images, got {shape_text(shape)}."
            )


_VIEWS = {"windows": (4,), "flips": (2,), "transpose": (), "colours": (3,)}


@functools.lru_cache(maxsize=256)
def check_images(op, **shapes) -> None:
    """Refuses (`ValueError`) static shapes of contents ``[n]``, pixels ``[n, H, W, 3]`` or of the
    parts of `Pixels`; None fits anything."""
    count = next((s[0] for s in shapes.values() if s is not None and len(s) == 2), None)
    expected = {
        "contents": ((None,), "[n], encoded images"),
        "pixels": ((None, None, None, 3), "[n, H, W, 3], or Pixels"),
        "values": ((None,), "[total]"),
        "offsets": ((count,), "[n]"),
        "sizes": ((None, 2), "[n, 2]"),
    }
    for name, shape in shapes.items():
        wanted, text = expected[name]
        if not _fits(shape, wanted):
            where = "" if name in ("contents", "pixels") else " of Pixels"
            got = ", ".join(map(shape_text, shapes.values()))
            raise ValueError(f"{op}: {name}{where} must be {text}, got {got}.")


def _fits(shape, wanted):
    if shape is None:
        return True
    sizes = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(a == b or None in (a, b) for a, b in sizes)
