"""JPEG files of every kind, whole and damaged, and what TensorFlow's own decoder makes of them."""

import functools
import io

import numpy as np
import tensorflow as tf
from PIL import Image

SIDE = 24
WHOLE = (0, 0, SIDE, SIDE)  # x, y, width, height in pixels

KINDS = {
    "4:2:0": dict(subsampling=2),
    "4:4:4": dict(subsampling=0),
    "progressive": dict(progressive=True),
    "restart markers": dict(restart_marker_blocks=1),
    "grey": dict(mode="L"),
    "CMYK": dict(mode="CMYK"),
}


@functools.cache
def picture(kind, seed=0):
    options = dict(KINDS[kind])
    mode = options.pop("mode", "RGB")
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def flipped(kind, count, seed=0):
    """Such a file with one to three bytes of another value, again and again."""
    rng = np.random.default_rng([seed, *map(ord, kind)])
    for k in range(count):
        damaged = bytearray(picture(kind))
        for at in rng.integers(2, len(damaged), 1 + k % 3):
            damaged[at] ^= rng.integers(1, 256)
        yield bytes(damaged)


def forgiven():
    """Files that decoders complain about, and what is left of each is an image."""
    content, restarts = picture("4:2:0"), picture("restart markers")
    at = restarts.index(b"\xff\xd1")
    return {
        "bytes before the end": content[:-2] + bytes(7) + content[-2:],
        "no end": content[:-2],
        "bytes between markers": content[:20] + b"ab" + content[20:],
        "a tail": content + b"tail",
        "an unknown marker": content[:2] + b"\xff\xbf\0\4ab" + content[2:],
        "restart markers out of order": restarts[:at] + b"\xff\xd2" + restarts[at + 2 :],
    }


def cropped(content, part=WHOLE, neighbours=2):
    """TensorFlow's decoder with the op's flags, and so many pixels around the part, as the op has
    it decoded; None where it refuses."""
    x, y, width, height = part
    x0, y0 = max(x - neighbours, 0), max(y - neighbours, 0)
    x1, y1 = min(x + width + neighbours, SIDE), min(y + height + neighbours, SIDE)
    try:
        pixels = tf.io.decode_and_crop_jpeg(
            content, (y0, x0, y1 - y0, x1 - x0), channels=3, dct_method="INTEGER_ACCURATE"
        )
    except tf.errors.InvalidArgumentError:
        return None
    return pixels[y - y0 : y - y0 + height, x - x0 : x - x0 + width].numpy()
