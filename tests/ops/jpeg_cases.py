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


def cropped(content, part=WHOLE):
    """TensorFlow's decoder with the op's flags; None where it refuses."""
    x, y, width, height = part
    try:
        return tf.io.decode_and_crop_jpeg(
            content, (y, x, height, width), channels=3, dct_method="INTEGER_ACCURATE"
        ).numpy()
    except tf.errors.InvalidArgumentError:
        return None
