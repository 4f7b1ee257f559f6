"""Image files: their size, their pixels, and whether they can be decoded at all.

A `source` is the path of a file, or the bytes of one.
"""

import functools
import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

# Suffixes by which image files are found; the content decides the format.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".avif"),
)
# What the content may be, by Pillow's names. It knows more, some of which nobody means as a picture
# (and one, EPS, runs another program on the file).
FORMATS = (
    *("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA", "AVIF"),
)
ORIENTATION = 274  # the EXIF tag; 1 is upright
# How stored pixels are turned to be upright, by EXIF's numbers: x and y change places, and then
# the picture is mirrored left to right, and top to bottom.
_TURNS = {
    **{1: (False, False, False), 2: (False, True, False), 3: (False, True, True)},
    **{4: (False, False, True), 5: (True, False, False), 6: (True, True, False)},
    **{7: (True, True, True), 8: (True, False, True)},
}
_BACK = {6: 8, 8: 6}  # the turn that undoes one; the others undo their own
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16
RATIOS = (1, 2, 4, 8)  # by which a JPEG's decoder can shrink it


class TooManyPixels(ValueError):
    """More than are read of any image, so that a small file cannot fill the memory."""


class Header(NamedTuple):
    """What a file says about its image before its pixels are decoded."""

    size: tuple[int, int]  # (height, width)
    jpeg: bool  # an RGB or grey JPEG, which TensorFlow decodes directly
    orientation: int = 1  # of EXIF: how the stored pixels are to be turned, 1 is not at all
    frames: int = 1  # of an animation or a file of several pages


@functools.cache
def _formats():
    """Those of `FORMATS` that this Pillow has, which is made quiet.

    Its remarks on odd EXIF and palettes do no harm here. For good, because images are read in
    several threads: they would undo each other's `warnings.catch_warnings`.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _open(source):
    encoded = isinstance(source, bytes)
    if not encoded and not Path(source).is_file():
        raise FileNotFoundError(f"the image {source} does not exist")
    try:
        return Image.open(io.BytesIO(source) if encoded else source, formats=_formats())
    except Image.UnidentifiedImageError:
        raise ValueError(f"{_name(source)} is not an image that can be read") from None
    except PermissionError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels(
            f"{_name(source)} has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, more than are "
            "read. Cut it into parts"
        ) from None
    except Exception as error:  # decoders of damaged files have errors of every kind
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
        jpeg = image.format == "JPEG" and image.mode in ("RGB", "L")
        try:
            orientation = image.getexif().get(ORIENTATION, 1)
            # The second picture of a phone's MPO is a copy for another use.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        except Exception:  # of no use to a picture that can be read otherwise
            orientation = frames = 1
        # Pillow itself turns a TIFF.
        turned = orientation if orientation in range(2, 9) and image.format != "TIFF" else 1
        return Header((height, width), jpeg, turned, frames)


def verify(source, header=None) -> list[str]:
    """Reads the whole file as training will: a JPEG by TensorFlow, any other by Pillow.

    A JPEG is decoded at an eighth of its size, which reads every coefficient at a fraction of the
    time of a full decode. Decoders differ in what they forgive; the one that trains decides. (Where
    TensorFlow is not installed, Pillow does.)

    Args:
        source: the path of a file, or its bytes.
        header: what `read_header` said of it, where that is known.

    Returns:
        Remarks on how the pixels are taken.

    Raises:
        ValueError: the file is truncated or damaged, or its pixels cannot be meant.
    """
    if (header or read_header(source)).jpeg:
        _verify_jpeg(source)
        return []
    remarks = []
    _decode(source, remarks)
    return remarks


def _verify_jpeg(source):
    try:
        import tensorflow as tf
    except ImportError:
        with _open(source) as image:
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            _load(image, source)
        return
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        with tf.device("CPU:0"):
            tf.io.decode_jpeg(content, channels=3, ratio=8)
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        reason = error.message.splitlines()[0].rpartition("}} ")[2]
        raise ValueError(
            f"{_name(source)} is damaged: TensorFlow cannot decode it ({reason})"
        ) from None


def _load(image, source):
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{_name(source)} is damaged: {error}") from None


def decode(source, upright=False) -> np.ndarray:
    """The pixels of a file, uint8 ``[H, W, 3]`` RGB, as stored.

    - Transparent parts are shown on white, as the person who drew the boxes saw them.
    - 16-bit grey is divided by 256; where no value of the image needs more than 8, 10, 12 or 14
      bits, as those of cameras and scanners, by what makes that range fill 8 bits.
    - Floating point is taken as [0, 1].

    Args:
        source: the path of a file, or its bytes.
        upright: turn the image as its EXIF orientation says. Boxes are drawn on the stored pixels,
            so this is for pictures to look at, and for detection.

    Raises:
        FileNotFoundError, ValueError: no such file, not an image, a damaged one, or one whose
            pixels cannot be meant: floating point beyond [0, 1], 16-bit colours of which fewer bits
            are used.
    """
    pixels = _decode(source, [])
    return turn(pixels, read_header(source).orientation) if upright else pixels


def turn(pixels, orientation) -> np.ndarray:
    """Pixels ``[H, W, ...]`` as they are stored, turned as an EXIF orientation says."""
    swap, left_right, top_bottom = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    rows, columns = (-1 if mirrored else 1 for mirrored in (top_bottom, left_right))
    return np.ascontiguousarray(pixels[::rows, ::columns])


def turn_boxes(boxes_xyxy, orientation) -> np.ndarray:
    """Boxes ``[M, 4]``, fractions of the image as it is stored, on the image that `turn` gives."""
    swap, left_right, top_bottom = _TURNS[orientation]
    x0, y0, x1, y1 = np.asarray(boxes_xyxy).reshape(-1, 4).T
    if swap:
        x0, y0, x1, y1 = y0, x0, y1, x1
    if left_right:
        x0, x1 = 1 - x1, 1 - x0
    if top_bottom:
        y0, y1 = 1 - y1, 1 - y0
    return np.stack([x0, y0, x1, y1], axis=-1)


def turn_boxes_back(boxes_xyxy, orientation) -> np.ndarray:
    """What `turn_boxes` undoes: boxes on the upright image, on the image as it is stored."""
    return turn_boxes(boxes_xyxy, _BACK.get(orientation, orientation))


def _decode(source, remarks):
    with _open(source) as image:
        deep = ";16" in str(image.tile)  # Pillow keeps the upper half of 16-bit colours
        _load(image, source)
        try:
            if image.mode == "F" or image.mode.startswith("I"):
                return _from_numbers(np.asarray(image), source, remarks)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image)
            pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            name = str(_name(source))
            error = str(error) if name in str(error) else f"{name} cannot be read: {error}"
            raise ValueError(error) from None
    if deep and pixels.max() < 1 << DEPTHS[-2] - 8:
        raise ValueError(
            f"{_name(source)} has colours of 16 bits of which it uses {DEPTHS[-2]} or fewer: they "
            "would be almost black. Convert it to 8 bits."
        )
    return pixels


def _from_numbers(values, source, remarks):
    """Grey of many bits or of floating point as RGB of 8 bits."""
    low, high = values.min(), values.max()
    if np.issubdtype(values.dtype, np.floating):
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{_name(source)} has floating-point pixels from {low:g} to {high:g}, expected "
                "values in [0, 1]. Convert it to 8 bits."
            )
        remarks.append("floating-point pixels; they are taken as [0, 1]")
        grey = np.round(values * 255).astype(np.uint8)
    else:
        if low < 0 or high >= 1 << DEPTHS[-1]:
            raise ValueError(
                f"{_name(source)} has pixels from {low} to {high}, expected at most 16 bits (0 to "
                "65535). Convert it to 8 bits."
            )
        bits = next(bits for bits in DEPTHS if high < 1 << bits)
        if bits < DEPTHS[-1]:
            remarks.append(
                f"its 16-bit pixels use {bits} bits; they are divided by {1 << bits - 8}"
            )
        grey = (values >> bits - 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def shrink_ratio(size, image_size):
    """The largest of `RATIOS` by which an image can shrink and still fill the network's input."""
    return max(r for r in RATIOS if r == 1 or min(size) // r >= image_size)


def shrink(image, ratio) -> np.ndarray:
    """The image at ``1 / ratio`` of its size, each pixel the mean of ``ratio x ratio``."""
    return image if ratio == 1 else np.asarray(Image.fromarray(image).reduce(ratio))
