"""The image ops on NumPy arrays: the bits of every version and number of threads, what is taken
and what is refused. What they compute is held against the reference in test_load_images.py."""

import io

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from yolov1 import kernels
from yolov1.kernels import Pixels

pytestmark = pytest.mark.on_cpu

VERSIONS = kernels.load_images_versions()


def case(images=5, seed=0):
    """Pixels of several sizes, some of them shared, and draws."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 90, (images, 2)).astype(np.int32)
    counts = 3 * sizes.prod(1)
    values = rng.integers(0, 256, counts.max(initial=0) + 50).astype(np.uint8)
    offsets = rng.integers(0, len(values) - counts + 1)
    low, high = rng.uniform(-0.3, 0.5, (images, 2)), rng.uniform(0.5, 1.3, (images, 2))
    colours = rng.uniform((-0.5, 0.6, 0.6), (0.5, 1.5, 1.5), (images, 3))
    colours[::3] = 0, 1, 1
    draws = (
        np.concatenate([low, high], 1),
        rng.random((images, 2)) < 0.5,
        rng.random(images) < 0.5,
        colours,
    )
    return Pixels(values, offsets, sizes), draws


def jpegs(images=3, seed=0):
    rng = np.random.default_rng(seed)
    files = []
    for k in range(images):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20 + 9 * k, 31, 3), np.uint8)).save(file, "JPEG")
        files.append(file.getvalue())
    return files


@pytest.fixture
def decoder():
    """A JPEG decoder: TensorFlow's library brings one, a build without it has its own."""
    from yolov1.ops import _library

    _library.load()


@pytest.mark.parametrize("size", (1, 16, 33))
@pytest.mark.parametrize("dtype", kernels.IMAGE_DTYPES)
def test_threads_and_versions_give_the_same_bits(dtype, size):
    pixels, draws = case()
    want = kernels.augment_images(pixels, *draws, size=size, dtype=dtype)
    assert want.shape == (5, size, size, 3) and want.dtype.name == dtype
    for version in VERSIONS:
        for threads in (1, 3, 16):
            options = dict(size=size, dtype=dtype, threads=threads, version=version)
            assert kernels.augment_images(pixels, *draws, **options).tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", kernels.IMAGE_DTYPES)
def test_files_in_the_same_way(dtype, decoder):
    files, (_, draws) = jpegs(), case(3)
    want = kernels.load_images(files, *draws, size=16, dtype=dtype)
    assert want.shape == (3, 16, 16, 3) and want.dtype.name == dtype
    for version in VERSIONS:
        options = dict(size=16, dtype=dtype, threads=2, version=version)
        assert kernels.load_images(files, *draws, **options).tobytes() == want.tobytes()


def test_an_image_has_the_same_bits_alone():
    pixels, draws = case()
    together = kernels.augment_images(pixels, *draws, size=17)
    for k in range(len(together)):
        one = slice(k, k + 1)
        alone = Pixels(pixels.values, pixels.offsets[one], pixels.sizes[one])
        got = kernels.augment_images(alone, *(x[one] for x in draws), size=17)
        assert got[0].tobytes() == together[k].tobytes()


def test_images_of_one_size_are_pixels_too():
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)
    offsets, sizes = 6000 * np.arange(3), np.tile([40, 50], (3, 1))
    want = kernels.augment_images(Pixels(images.reshape(-1), offsets, sizes), size=9)
    np.testing.assert_array_equal(kernels.augment_images(images, size=9), want)
    for strided in (images[::-1][::-1], np.asfortranarray(images), images.tolist()):
        if isinstance(strided, list):
            strided = np.array(strided, np.uint8)
        np.testing.assert_array_equal(kernels.augment_images(strided, size=9), want)


def test_strided_and_other_integers_are_taken():
    pixels, draws = case()
    want = kernels.augment_images(pixels, *draws, size=8)
    spread = Pixels(
        np.repeat(pixels.values, 2)[::2],
        pixels.offsets.astype(np.uint16)[::-1][::-1],
        np.asfortranarray(pixels.sizes.astype(np.int64)),
    )
    views = [np.asfortranarray(x) for x in draws]
    views[0] = views[0].astype(np.float32).astype(">f4")
    assert kernels.augment_images(spread, *views, size=8).tobytes() == want.tobytes()


def test_nothing_drawn_is_the_whole_image():
    pixels, _ = case()
    whole = np.tile([0.0, 0, 1, 1], (5, 1)), np.zeros((5, 2), bool), np.zeros(5, bool)
    want = kernels.augment_images(pixels, *whole, np.tile([0.0, 1, 1], (5, 1)), size=12)
    np.testing.assert_array_equal(kernels.augment_images(pixels, size=12), want)
    image = np.random.default_rng(0).integers(0, 256, (1, 7, 7, 3), np.uint8)
    np.testing.assert_array_equal(kernels.augment_images(image, size=7, dtype="uint8"), image)


@pytest.mark.parametrize(
    "dtype", (np.float16, np.dtype("uint8"), ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16))
)
def test_dtypes_by_other_names(dtype):
    pixels, _ = case()
    got = kernels.augment_images(pixels, size=4, dtype=dtype)
    assert got.dtype == dtype
    want = kernels.augment_images(pixels, size=4, dtype=np.dtype(dtype).name)
    assert got.tobytes() == want.tobytes()


def test_no_image(decoder):
    empty = Pixels(np.zeros(0, np.uint8), [], np.zeros((0, 2)))
    for got in (
        kernels.augment_images(empty, size=5, dtype="bfloat16"),
        kernels.augment_images(np.zeros((0, 4, 4, 3), np.uint8), size=5, dtype="bfloat16"),
        kernels.load_images([], size=5, dtype="bfloat16"),
    ):
        assert got.shape == (0, 5, 5, 3) and got.dtype.name == "bfloat16"


PIXELS, DRAWS = case()
VALUES, OFFSETS, SIZES = PIXELS


def augment(*arguments, size=8, **options):
    return kernels.augment_images(*arguments, size=size, **options)


def changed(array, at, value):
    array = np.array(array, np.int64 if array.dtype.kind == "i" else array.dtype)
    array[at] = value
    return array


@pytest.mark.parametrize(
    "error, message, call",
    (
        (TypeError, "pixels must be uint8, got float32; make them 0 to 255",
         lambda: augment(np.zeros((1, 4, 4, 3), np.float32))),
        (ValueError, r"pixels must be \[n, H, W, 3\], or Pixels, got \[4, 4, 3\]",
         lambda: augment(np.zeros((4, 4, 3), np.uint8))),
        (TypeError, "sizes of Pixels must be integers, got float64",
         lambda: augment(Pixels(VALUES, OFFSETS, SIZES + 0.5))),
        (ValueError, "offsets of Pixels must be",
         lambda: augment(Pixels(VALUES, OFFSETS[1:], SIZES))),
        (ValueError, r"windows must be \[n, 4\] with n = 5 images, got \[4, 4\]",
         lambda: augment(PIXELS, DRAWS[0][1:])),
        (ValueError, f"image 3 must lie within the {len(VALUES)} values",
         lambda: augment(Pixels(VALUES, changed(OFFSETS, 3, len(VALUES)), SIZES))),
        (ValueError, "image 2 must lie within",
         lambda: augment(Pixels(VALUES, OFFSETS, changed(SIZES, (2, 0), 2**32 + 1)))),
        (ValueError, "image 0 must lie within",
         lambda: augment(Pixels(VALUES, OFFSETS, changed(SIZES, (0, 1), -1)))),
        (ValueError, r"image 4 must have windows \(x0, y0, x1, y1\) of finite fractions",
         lambda: augment(PIXELS, changed(DRAWS[0], (4, 2), np.inf))),
        (ValueError, "image 1 must have colours ",
         lambda: augment(PIXELS, colours=changed(DRAWS[3], (1, 1), -0.5))),
        (ValueError, "size must be from 1 to 16384 pixels, got 0", lambda: augment(PIXELS, size=0)),
        (TypeError, "size must be a Python integer, got float", lambda: augment(PIXELS, size=8.0)),
        (ValueError, "dtype must be one of float32, float16, bfloat16, uint8, got float64",
         lambda: augment(PIXELS, dtype=float)),
        (TypeError, "shrink must be True or False, got int", lambda: augment(PIXELS, shrink=1)),
        (ValueError, "this processor's kernel versions are .*, got fast",
         lambda: augment(PIXELS, version="fast")),
        (TypeError, "stream is for arrays on a GPU", lambda: augment(PIXELS, stream=1)),
        (TypeError, "out is for arrays on a GPU", lambda: augment(PIXELS, out=VALUES)),
        (TypeError, "expected bytes objects, got a str",
         lambda: kernels.load_images(["file.jpg"], size=8)),
        (ValueError, r"flips must be \[n, 2\] with n = 1 images",
         lambda: kernels.load_images([b""], flips=[True, False], size=8)),
    ),
)  # fmt: skip
def test_what_is_refused(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_a_file_that_cannot_be_decoded_is_named(decoder):
    files = jpegs()
    for damaged in (b"", b"GIF89a", files[1][: len(files[1]) // 2]):
        with pytest.raises(ValueError, match="load_images: image 1 cannot be decoded"):
            kernels.load_images([files[0], damaged, b""], size=8, threads=3)
