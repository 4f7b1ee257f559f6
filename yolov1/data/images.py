"""Image files: their size, their pixels, and whether they can be decoded at all.

A `source` is the path of a file, or the bytes of one.
"""

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

# Suffixes looked for where an annotation does not name its image; the content decides the format.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


class Header(NamedTuple):
    """What a file says about its image before its pixels are decoded."""

    size: tuple[int, int]  # (height, width)
    jpeg: bool  # an RGB or grey JPEG, which TensorFlow decodes directly


def _open(source):
    encoded = isinstance(source, bytes)
    if not encoded and not Path(source).is_file():
        raise FileNotFoundError(f"the image {source} does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF and palette transparency do no harm here
            return Image.open(io.BytesIO(source) if encoded else source)
    except Image.UnidentifiedImageError:
        raise ValueError(f"{_name(source)} is not an image that can be read") from None
    except (Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{_name(source)} is damaged: {error}") from None


def _name(source):
    return "the encoded image" if isinstance(source, bytes) else source


def read_header(source) -> Header:
    """Size and kind of an image file, by its content and not by its name.

    Raises:
        FileNotFoundError, ValueError: no such file, or not an image.
    """
    with _open(source) as image:
        width, height = image.size
        return Header((height, width), image.format == "JPEG" and image.mode in ("RGB", "L"))


def verify(source):
    """Reads the whole file as a decoder does.

    A JPEG is decoded at an eighth of its size, which reads every coefficient at a fraction of the
    time of a full decode.

    Raises:
        ValueError: the file is truncated or damaged.
    """
    with _open(source) as image:
        image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
        _load(image, source)


def _load(image, source):
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{_name(source)} is damaged: {error}") from None


def orientation(source) -> int:
    """The EXIF orientation of a file: 1 for upright, or where it has none that is valid."""
    with _open(source) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = image.getexif().get(0x0112, 1)
        return found if found in range(1, 9) else 1


def decode(source, upright=False) -> np.ndarray:
    """The pixels of a file, uint8 ``[H, W, 3]`` RGB, as stored; `upright`: turned as its EXIF
    orientation says.

    Transparent parts are shown on white, as the person who drew the boxes saw them.

    Raises:
        FileNotFoundError, ValueError: no such file, not an image, or a damaged one.
    """
    with _open(source) as image, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _load(image, source)
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16-bit grey
            grey = np.asarray(image, np.int64) >> 8
            return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
        return np.asarray(image.convert("RGB"))


def shrink(image, ratio) -> np.ndarray:
    """The image at ``1 / ratio`` of its size, each pixel the mean of ``ratio x ratio``."""
    return image if ratio == 1 else np.asarray(Image.fromarray(image).reduce(ratio))
