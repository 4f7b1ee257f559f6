"""Images to an augmented batch: of NumPy arrays, or of pixels on a GPU; what configures the image
ops, and how images of several sizes lie in memory."""

import functools
import numbers
from typing import Any, NamedTuple

import numpy as np

from yolov1.kernels import _device
from yolov1.kernels._module import call, shape_text

IMAGE_DTYPES = ("float32", "float16", "bfloat16", "uint8")
SAMPLINGS = ("half_pixel", "darknet", "darknet_black_row")
MOST = 1 << 14  # pixels of a side of what they make
PLAIN_VIEW = {  # of one image: what None stands for
    "windows": np.array([0, 0, 1, 1], np.float32),
    "flips": np.array([False, False]),
    "transpose": np.array(False),
    "colours": np.array([0, 1, 1], np.float32),
}


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


def load_images_config(size, dtype, sampling="half_pixel") -> str:
    """The one text that every fused implementation of `load_images` is configured with.

    Raises:
        TypeError: the size is no Python integer.
        ValueError: a size below 1 or above 16,384, another dtype or another sampling.
    """
    return " ".join(_words("load_images", size, dtype, sampling))


def augment_images_config(size, dtype, shrink, sampling="half_pixel") -> str:
    """The same of `augment_images`."""
    if not isinstance(shrink, (bool, np.bool_)):
        raise TypeError(
            f"augment_images: shrink must be True or False, got {type(shrink).__name__}."
        )
    words = _words("augment_images", size, dtype, sampling)
    return " ".join([*words[:2], f"shrink={bool(shrink)}", *words[2:]])


def _words(op, size, dtype, sampling):
    if not isinstance(size, numbers.Integral):
        raise TypeError(f"{op}: size must be a Python integer, got {type(size).__name__}.")
    if not 1 <= size <= MOST:
        raise ValueError(f"{op}: size must be from 1 to {MOST} pixels, got {size}.")
    if dtype not in IMAGE_DTYPES:
        raise ValueError(f"{op}: dtype must be one of {', '.join(IMAGE_DTYPES)}, got {dtype}.")
    check_sampling(op, sampling)
    # Left out, half pixels are what an older library takes as well.
    named = [f"sampling={sampling}"] if sampling != "half_pixel" else []
    return [f"size={size}", f"dtype={dtype}", *named]


def check_sampling(op, sampling, name="sampling") -> None:
    """Refuses (`ValueError`) what is none of `SAMPLINGS`; `name` is the caller's for it."""
    if sampling not in SAMPLINGS:
        raise ValueError(f"{op}: {name} must be one of {', '.join(SAMPLINGS)}, got {sampling!r}.")


@functools.lru_cache(maxsize=256)
def check_views(op, count, **views) -> None:
    """Refuses (`ValueError`) static shapes that do not fit n images; None fits anything.

    Args:
        op: its name, for the message.
        count: n, or None where it is not known.
        views: the shapes of windows, flips, transpose and colours; None for an unknown rank.
    """
    for name, shape in views.items():
        of_one = PLAIN_VIEW[name].shape
        if not _fits(shape, (count, *of_one)):
            raise ValueError(
                f"{op}: {name} must be {shape_text(('n', *of_one))} with n = "
                f"{'?' if count is None else count} images, got {shape_text(shape)}."
            )


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


def load_images_versions(device="cpu") -> list[str]:
    """The versions of both kernels, the best first: on the ``"cpu"`` one for each level of SIMD
    that this processor has, all of the same bits; on ``"cuda"`` that of `augment_images`, none in a
    build without CUDA."""
    return _device.versions("load_images", _AUGMENT, device)


def load_images(
    contents,
    windows=None,
    flips=None,
    transpose=None,
    colours=None,
    *,
    size,
    dtype="float32",
    sampling="half_pixel",
    threads=1,
    version=None,
):
    """JPEG files to an augmented batch: the kernel of `yolov1.ops.load_images`, which has the
    arguments. It decodes JPEG alone.

    Args:
        contents: bytes objects ``[n]``, a file each.
        dtype: as NumPy knows it; bfloat16 is that of ml_dtypes.
        threads: images are shared out among this many; the result does not depend on it.
        version: one of `load_images_versions()`; by default the first.

    Returns:
        ``[n, size, size, 3]`` of `dtype`.

    Raises:
        ValueError: a shape or a number does not fit; an image that cannot be decoded, by its
            number, or a build that decodes none.
        TypeError: contents are no bytes; an argument is on a GPU, where nothing is decoded.
        ImportError: the native module is missing.
    """
    config = load_images_config(size, _name(dtype), sampling)
    views = {"windows": windows, "flips": flips, "transpose": transpose, "colours": colours}
    _device.refuse_on_host("load_images", contents=contents, **views)
    files = np.empty(len(contents), object)
    files[:] = [*contents]
    views = _host_views("load_images", len(files), views)
    return call(_LOAD, config, [files, *views], threads=threads, version=version)[0]


def augment_images(
    pixels,
    windows=None,
    flips=None,
    transpose=None,
    colours=None,
    *,
    size,
    dtype="float32",
    shrink=True,
    sampling="half_pixel",
    threads=1,
    version=None,
    stream=None,
    out=None,
):
    """Pixels to an augmented batch: the kernel of `yolov1.ops.augment_images`, which has the
    arguments.

    Args:
        dtype, threads, version: as of `load_images`.
        stream: for arrays on a GPU: as in `yolo_loss`. There `pixels` are `Pixels`, and no argument
            is None: nothing is made or copied.
        out: for arrays on a GPU, as in `yolo_loss`: one array ``[n, size, size, 3]`` of `dtype`.

    Returns:
        ``[n, size, size, 3]`` of `dtype`. On a GPU, where values cannot be checked, an image whose
        numbers do not fit is NaN, or 0 as uint8.

    Raises:
        ValueError: a shape or a number does not fit; which image's.
        TypeError: pixels are not uint8, offsets or sizes no integers; one array is on a GPU and
            another is not.
        ImportError: the native module is missing.
        RuntimeError: CUDA refuses the launch, or this build has no CUDA kernels.
    """
    config = augment_images_config(size, _name(dtype), shrink, sampling)
    views = {"windows": windows, "flips": flips, "transpose": transpose, "colours": colours}
    parts = pixels._asdict() if isinstance(pixels, Pixels) else {"pixels": pixels}
    if any(map(_device.is_device_array, parts.values())):
        return _on_gpu(parts | views, config, stream, version, out)
    _device.refuse_on_host("augment_images", **parts, **views, stream=stream, out=out)
    pixels = _host_pixels(parts)
    views = _host_views("augment_images", len(pixels.offsets), views)
    return call(_AUGMENT, config, [*pixels, *views], threads=threads, version=version)[0]


# ---------------------------------------------------------------------------------------- inside

_LOAD, _AUGMENT = "Yolov1>LoadImages", "Yolov1>AugmentImages"


def _name(dtype) -> str:
    """A dtype's name. ml_dtypes adds bfloat16 to NumPy, which the native module asks by name."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name == "bfloat16":
        try:
            import ml_dtypes  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "NumPy has no bfloat16 of its own: pip install ml_dtypes, or ask for float32."
            ) from error
    return name


def _on_gpu(arrays, config, stream, version, out):
    missing = [name for name, array in arrays.items() if array is None]
    if missing or "pixels" in arrays:
        raise TypeError(
            "augment_images: on a GPU pixels must be Pixels (values, offsets, sizes) and no "
            f"argument None, got {', '.join(missing) + ' of None' if missing else 'one array'}; "
            "copy what is missing there."
        )
    first = arrays["values"]
    stream = _device.stream_of(first, stream)
    inputs = _device.views("augment_images", arrays, stream)
    for name in ("flips", "transpose"):
        if inputs[name].dtype == "uint8":
            inputs[name].dtype = "bool"  # libraries without a bool in DLPack hand over bytes
    options = dict(results=("images",), stream=stream, version=version)
    out = None if out is None else (out,)
    return _device.call("augment_images", _AUGMENT, config, inputs, first, out, **options)["images"]


def _host_pixels(parts) -> Pixels:
    """Arrays as the native module takes them."""
    arrays = {name: np.asarray(part) for name, part in parts.items()}
    first, *integers = arrays.values()
    if first.dtype != np.uint8:
        raise TypeError(
            f"augment_images: pixels must be uint8, got {first.dtype}; make them 0 to 255."
        )
    check_images("augment_images", **{name: array.shape for name, array in arrays.items()})
    if not integers:
        count, height, width, _ = first.shape
        offsets = 3 * height * width * np.arange(count)
        return Pixels(
            np.ascontiguousarray(first).reshape(-1),
            offsets.astype(np.int64),
            np.full((count, 2), (height, width), np.int32),
        )
    for name, array in zip(("offsets", "sizes"), integers, strict=True):
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(
                f"augment_images: {name} of Pixels must be integers, got {array.dtype}; convert."
            )
    offsets, sizes = integers
    most = np.iinfo(np.int32).max  # a larger size fits no values, but cast it would be another one
    return Pixels(
        np.ascontiguousarray(first),
        np.ascontiguousarray(offsets, np.int64),
        np.ascontiguousarray(np.clip(sizes, 0, most), np.int32),
    )


def _host_views(op, count, views) -> list:
    """windows, flips, transpose and colours as the native module takes them, for n images."""
    arrays = {
        name: np.ascontiguousarray(
            np.broadcast_to(whole, (count, *whole.shape)) if views[name] is None else views[name],
            whole.dtype,
        )
        for name, whole in PLAIN_VIEW.items()
    }
    check_views(op, count, **{name: array.shape for name, array in arrays.items()})
    return list(arrays.values())
