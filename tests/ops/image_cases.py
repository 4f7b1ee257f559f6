"""Images for the tests of the image ops, and what should be made of them, in NumPy.

Only the resize itself is TensorFlow's, of a window that NumPy cuts, after Pillow's `reduce`.
"""

import io
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from yolov1.data.augmentation import GREY
from yolov1.data.images import shrink, shrink_ratio
from yolov1.ops import Pixels, _library

FUSED = bool(_library.available().get("augment_images"))
needs_fused = pytest.mark.skipif(not FUSED, reason="the op library has no image ops")
IMPLS = (pytest.param("fused", marks=needs_fused), "reference")
CLOSE = 1e-5  # of what both implementations promise

# A graph divides by 255 by multiplying with its inverse.
SAME = {"fused": 0, "reference": 2e-6}

every_impl = pytest.mark.parametrize("impl", IMPLS)


def assert_close(got, want, atol=CLOSE):
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=atol)


def photo(height, width, seed=0):
    """Smooth, so that a JPEG of it is close to it, with all colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def ragged(images):
    """`Pixels` of NumPy images, in an order that is not theirs in memory."""
    sizes = np.array([image.shape[:2] for image in images], np.int32).reshape(-1, 2)
    order = np.random.default_rng(1).permutation(len(images))
    offsets = np.zeros(len(images), np.int64)
    offsets[order] = 5 + np.cumsum([0, *(images[k].size for k in order[:-1])])[: len(images)]
    flat = [images[k].reshape(-1) for k in order]
    return Pixels(np.concatenate([np.full(5, 200, np.uint8), *flat]), offsets, sizes)


def cut_out(image, window):
    """What a window shows of an image, outside of it the nearest pixels; and where it is inside."""
    sides = np.float32(image.shape[1::-1])
    low = np.round(np.float32(window[:2]) * sides).astype(int)
    high = np.maximum(np.round(np.float32(window[2:]) * sides).astype(int), low + 1)
    x, y = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    inside = ((0 <= y) & (y < image.shape[0]))[:, None] & (0 <= x) & (x < image.shape[1])
    cut = image[np.clip(y, 0, image.shape[0] - 1)][:, np.clip(x, 0, image.shape[1] - 1)]
    return cut, inside


def expected(image, window=(0, 0, 1, 1), flips=(False, False), transpose=False, size=32, r=None):
    """float32 ``[size, size, 3]`` in [0, 1], before the colours change."""
    r = shrink_ratio(image.shape[:2], size) if r is None else r
    cut, inside = cut_out(shrink(image, r), window)
    cut = np.where(inside[..., None], cut, np.uint8(GREY))
    cut = cut[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    resized = tf.image.resize(cut, [size, size]).numpy() / 255
    return resized.swapaxes(0, 1) if transpose else resized


def darknet_resize(image, height, width, black_row=False):
    """``[H, W, 3]`` of float32 to ``[height, width, 3]``: Darknet's `resize_image` in the order of
    its loops, with the bits of its own output."""
    rows, columns = image.shape[:2]
    wide = np.empty((rows, width, 3), np.float32)
    with warnings.catch_warnings():  # of 1 value Darknet divides by 0
        warnings.simplefilter("ignore")
        across = np.float32(columns - 1) / np.float32(width - 1)
        down = np.float32(rows - 1) / np.float32(height - 1)
    for k in range(width):
        if k == width - 1 or columns == 1:
            wide[:, k] = image[:, -1]
        else:
            at = np.float32(k) * across
            first, share = int(at), at - np.float32(int(at))
            wide[:, k] = (1 - share) * image[:, first] + share * image[:, first + 1]
    out = np.empty((height, width, 3), np.float32)
    for k in range(height):
        at = np.float32(k) * down
        first, share = int(at), at - np.float32(int(at))
        out[k] = (1 - share) * wide[first]
        if k < height - 1 and rows > 1:
            out[k] += share * wide[first + 1]
    if not black_row:
        out[-1] = wide[-1]
    return out


def expected_darknet(image, window, flips, transpose, size=32, black_row=False):
    """As `expected`, by Darknet's sampling."""
    cut = np.float32(cut_out(image, window)[0]) / np.float32(255)
    resized = darknet_resize(cut, size, size, black_row)
    resized = resized[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    return resized.swapaxes(0, 1) if transpose else resized


def random_views(count, seed=0):
    """Windows within and beyond the image, with every flip."""
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(-0.1, 1.1, (count, 2)), rng.uniform(0.05, 0.8, (count, 2))
    windows = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    flips = np.array([(k & 1, k & 2) for k in range(count)], bool).reshape(count, 2)
    return windows, flips, np.arange(count) % 8 >= 4
