"""The image ops: what is made of an image, for every implementation.

The truth is TensorFlow's resize of a window that NumPy cuts, with Pillow's decoder and `reduce`.
"""

import colorsys
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.image_cases import (
    CLOSE,
    SAME,
    assert_close,
    encoded,
    every_impl,
    expected,
    needs_fused,
    noise,
    photo,
    ragged,
    random_views,
)
from yolov1 import kernels, ops
from yolov1.data.augmentation import GREY, change_colours
from yolov1.data.images import shrink, shrink_ratio
from yolov1.ops import Pixels

DTYPES = (tf.float32, tf.float16, tf.bfloat16, tf.uint8)


# ------------------------------------------------------------------------------- windows and sizes


@every_impl
@pytest.mark.parametrize(
    "sides", [(32, 32), (40, 50), (7, 3), (1, 1), (500, 33), (31, 1000)], ids=str
)
def test_a_whole_image_is_resized(sides, impl):
    image = noise(2, *sides)
    got = ops.augment_images(image, size=32, impl=impl)
    assert got.shape == (2, 32, 32, 3) and got.dtype == tf.float32
    assert_close(got, tf.image.resize(image, [32, 32]) / 255, 6e-6)


@every_impl
@pytest.mark.parametrize("size", [1, 5, 33, 96])
def test_windows_flips_and_transposes(size, impl):
    """For a square, a wide and a high image; every flip with and without a transpose."""
    images = [noise(*sides, seed=k) for k, sides in enumerate([(60, 60), (41, 90), (77, 30)] * 8)]
    windows, flips, transpose = random_views(len(images))
    got = ops.augment_images(ragged(images), windows, flips, transpose, size=size, impl=impl)
    wanted = [expected(*one, size) for one in zip(images, windows, flips, transpose, strict=True)]
    assert_close(got, wanted)


@every_impl
def test_windows_by_hand(impl):
    """Corners go to the nearest pixel, half to even; a window without an area is one pixel; one
    beside the image is grey."""
    image = noise(4, 10, seed=3)
    for window, cut in (
        ((0.25, 0, 0.65, 1), image[:, 2:6]),  # 2.5 and 6.5
        ((0.35, 0, 0.75, 1), image[:, 4:8]),  # 3.5 and 7.5
        ((0.3, 0.5, 0.3, 0.5), image[2:3, 3:4]),
        ((0.9, 0.75, 0.1, 0.1), image[3:4, 9:10]),
        ((1.0, 0, 1.5, 1), np.full((1, 1, 3), GREY)),
        ((0, -2, 1, -1), np.full((1, 1, 3), GREY)),
        ((-0.4, -1, -0.4, -1), np.full((1, 1, 3), GREY)),
        ((-0.2, 0, 1, 1), np.concatenate([np.full((4, 2, 3), GREY), image], axis=1)),
        ((0, 0, 1, 1.25), np.concatenate([image, np.full((1, 10, 3), GREY)])),
    ):
        got = ops.augment_images(image[None], [window], size=8, impl=impl)
        assert_close(got[0], tf.image.resize(np.uint8(cut), [8, 8]) / 255, 6e-6)


@every_impl
def test_flips_are_those_of_numpy(impl):
    image = noise(24, 24)
    for x, y, transpose in itertools.product((False, True), repeat=3):
        got = ops.augment_images(image[None], None, [(x, y)], [transpose], size=24, impl=impl)
        want = image[:, ::-1] if x else image
        want = want[::-1] if y else want
        want = want.swapaxes(0, 1) if transpose else want
        assert_close(got[0], want / 255, 6e-6)


# ------------------------------------------------------------------------------------------ colours


@every_impl
@pytest.mark.parametrize("hue", (False, True))
def test_colours_change_as_in_the_pipeline(hue, impl):
    images, colours = noise(9, 16, 16), np.ones((9, 3), np.float32)
    colours[:, 0] = np.linspace(-1.3, 1.2, 9) * hue
    colours[:, 1:] = np.random.default_rng(0).uniform(0, 2, (9, 2))
    got = ops.augment_images(images, colours=colours, size=16, impl=impl)
    assert_close(got, change_colours(images / np.float32(255), colours, hue=hue))


@every_impl
def test_colours_against_a_conversion_to_hsv(impl):
    image = noise(8, 8)
    image[0, :4], image[1, :3] = 90, [[7, 7, 200], [200, 7, 200], [0, 0, 0]]  # grey has no hue
    colours = np.float32([[0.3, 1.4, 0.8], [-0.21, 0.7, 1.3], [0, 1.2, 0.9], [1 / 3, 1, 1]])
    got = ops.augment_images(np.stack([image] * 4), colours=colours, size=8, impl=impl).numpy()
    for changed, (turn, saturation, exposure) in zip(got, colours, strict=True):
        for pixel, result in zip(image.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(float(c) / 255 for c in pixel))
            rgb = colorsys.hsv_to_rgb((h + turn) % 1, s * saturation, v * exposure)
            np.testing.assert_allclose(result, np.clip(rgb, 0, 1), atol=CLOSE)


@every_impl
def test_an_image_does_not_depend_on_those_beside_it(impl):
    images, (windows, flips, transpose) = noise(8, 40, 50), random_views(8)
    colours = np.float32([[0, 1, 1], [0, 1.4, 0.7], [0.1, 1, 1], [-0.3, 0.8, 1.1]] * 2)
    views = windows, flips, transpose, colours
    together = ops.augment_images(images, *views, size=20, impl=impl).numpy()
    for k in range(8):
        one = slice(k, k + 1)
        alone = ops.augment_images(images[one], *(v[one] for v in views), size=20, impl=impl)
        np.testing.assert_array_equal(alone[0], together[k])


@every_impl
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_dtypes(dtype, impl):
    images, colours = noise(3, 30, 40), np.float32([[0, 1, 1], [0.2, 1.5, 1.5], [0, 0.7, 0.7]])
    options = {"colours": colours, "size": 25, "impl": impl}
    exact = ops.augment_images(images, **options).numpy()
    got = ops.augment_images(images, dtype=dtype, **options)
    assert got.dtype == dtype
    if dtype == tf.uint8:
        np.testing.assert_array_equal(got, np.floor(255 * exact + 0.5))
        assert got.numpy().min() < 20 and got.numpy().max() == 255
    else:
        np.testing.assert_array_equal(got, tf.cast(exact, dtype))
    files = [encoded(image) for image in images]
    exact = ops.load_images(files, **options)
    got = ops.load_images(files, dtype=dtype, **options)
    assert got.dtype == dtype and got.shape == (3, 25, 25, 3)
    scale = 255 if dtype == tf.uint8 else 1
    assert np.abs(np.asarray(got, np.float32) / scale - exact).max() < 4e-3


# ---------------------------------------------------------------------------------------- shrinking


@every_impl
@pytest.mark.parametrize("r", (1, 2, 4, 8))
def test_pixels_shrink_as_pillow_reduces(r, impl):
    """Sides that r does not divide have smaller blocks at the right and lower edge."""
    images = [noise(12 * r + k, 14 * r + r - 1 - k, seed=k) for k in range(r)]
    windows, flips, transpose = random_views(r)
    assert {shrink_ratio(image.shape[:2], 12) for image in images} == {r}
    got = ops.augment_images(ragged(images), windows, flips, transpose, size=12, impl=impl)
    views = list(zip(images, windows, flips, transpose, strict=True))
    assert_close(got, [expected(*view, 12) for view in views])
    got = ops.augment_images(
        ragged(images), windows, flips, transpose, size=12, impl=impl, shrink=False
    )
    assert_close(got, [expected(*view, 12, r=1) for view in views])


@pytest.mark.parametrize("r", (2, 4, 8))
def test_the_reference_shrinks_to_the_bit(r):
    image = noise(12 * r + r - 1, 13 * r + 1)
    small = shrink(image, r)
    got = ops.augment_images(image[None], size=12, dtype=tf.uint8, impl="reference")
    want = ops.augment_images(small[None], size=12, dtype=tf.uint8, shrink=False, impl="reference")
    np.testing.assert_array_equal(got, want)


@every_impl
@pytest.mark.parametrize("r", (1, 2, 4, 8))
def test_jpegs_are_decoded_at_a_fraction(r, impl):
    images = [photo(20 * r + k, 25 * r + 3, seed=k) for k in range(4)]
    files = [encoded(image) for image in images]
    windows, flips, transpose = random_views(4)
    got = ops.load_images(files, windows, flips, transpose, size=20, impl=impl)
    for k, file in enumerate(files):
        assert shrink_ratio(images[k].shape[:2], 20) == r
        small = tf.io.decode_jpeg(file, 3, ratio=r, dct_method="INTEGER_ACCURATE").numpy()
        want = expected(small, windows[k], flips[k], transpose[k], 20, r=1)
        # Chroma of the outermost pixels is another where the image is cut there.
        assert_close(got[k].numpy().mean(), want.mean(), 2e-3)
        assert np.mean(np.abs(got[k] - want) > CLOSE) < 0.25
        assert np.abs(got[k] - want).max() < 0.1


# ------------------------------------------------------------------------------------ calls of it


@needs_fused
def test_fused_and_reference_agree():
    images = [photo(*sides) for sides in ((90, 80), (33, 200), (100, 31), (64, 64))]
    files, views = [encoded(image) for image in images], random_views(4)
    colours = np.float32([[0, 1, 1], [0, 1.4, 0.7], [0.1, 1, 1], [-0.3, 0.8, 1.1]])
    for call, source in ((ops.augment_images, ragged(images)), (ops.load_images, files)):
        one, other = (
            call(source, *views, colours, size=32, impl=i) for i in ("fused", "reference")
        )
        assert_close(one, other)
        assert one.numpy().std() > 0.1


@every_impl
def test_no_image(impl):
    for got in (
        ops.load_images(tf.zeros([0], tf.string), size=16, impl=impl),
        ops.augment_images(np.zeros((0, 20, 20, 3), np.uint8), size=16, impl=impl),
        ops.augment_images(
            ragged([noise(3, 3)])._replace(offsets=[], sizes=np.zeros((0, 2))), size=16, impl=impl
        ),
    ):
        assert got.shape == (0, 16, 16, 3) and got.dtype == tf.float32


@pytest.mark.slow
@every_impl
def test_graphs_with_unknown_shapes(impl):
    images, views = noise(3, 40, 50), random_views(3)
    want = ops.augment_images(images, *views, size=16, impl=impl)
    unknown = tf.function(
        lambda pixels, *views: ops.augment_images(pixels, *views, size=16, impl=impl),
        input_signature=[tf.TensorSpec(None, d) for d in (tf.uint8, tf.float32, tf.bool, tf.bool)],
        autograph=False,
    )
    assert_close(unknown(images, *views), want, SAME[impl])
    in_parts = tf.function(
        lambda *pixels: ops.augment_images(Pixels(*pixels), size=16, impl=impl),
        input_signature=[tf.TensorSpec(None, d) for d in (tf.uint8, tf.int64, tf.int32)],
        autograph=False,
    )
    want = ops.augment_images(images, size=16, impl=impl)
    assert_close(in_parts(*ragged(list(images))), want, SAME[impl])
    files = [encoded(image) for image in images]
    unknown = tf.function(
        lambda files: ops.load_images(files, size=16, impl=impl),
        input_signature=[tf.TensorSpec(None, tf.string)],
        autograph=False,
    )
    assert_close(unknown(files), ops.load_images(files, size=16, impl=impl), SAME[impl])


@needs_fused
@pytest.mark.skipif(kernels.build_info()["xla"] != "ON", reason="built without XLA")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_compiled_by_xla(dtype):
    images, views = noise(3, 40, 50), random_views(3)
    colours = np.float32([[0, 1, 1], [0, 1.4, 0.7], [0.1, 1, 1]])

    def run(*arguments):
        return ops.augment_images(*arguments, size=16, dtype=dtype, impl="fused")

    arguments = [tf.constant(x) for x in (images, *views, colours)]
    compiled = tf.function(run, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(*arguments), run(*arguments))


@needs_fused
@pytest.mark.parametrize("which", ("values", "views", "both"))
def test_vectorized(which):
    images, steps = noise(3, 2, 30, 40), 3
    windows = np.stack([random_views(2, seed=k)[0] for k in range(steps)])
    row = [images if which != "views" else windows, windows if which != "values" else images]

    def pixels(row):
        pixels = row[0] if which != "views" else tf.constant(images[0])
        views = row[1] if which != "values" else windows[0]
        return ops.augment_images(pixels, views, size=16, impl="fused")

    got = tf.vectorized_map(pixels, row, fallback_to_while_loop=False)
    want = [pixels([tf.constant(x[k]) for x in row]) for k in range(steps)]
    np.testing.assert_array_equal(got, want)


@pytest.mark.first_case
@every_impl
def test_in_a_data_set_of_tensorflow(impl):
    files = [encoded(photo(40, 50, seed=k)) for k in range(6)]
    stream = tf.data.Dataset.from_tensor_slices(files).batch(4)
    stream = stream.map(lambda batch: ops.load_images(batch, size=16, impl=impl), 2)
    got = np.concatenate([images.numpy() for images in stream])
    assert_close(got, ops.load_images(files, size=16, impl=impl), SAME[impl])


@every_impl
def test_there_is_no_gradient(impl):
    windows = tf.constant([[0.0, 0, 1, 1]])
    with tf.GradientTape() as tape:
        tape.watch(windows)
        images = ops.augment_images(noise(1, 20, 20), windows, size=16, impl=impl)
        total = tf.reduce_sum(images)
        product = total * tf.reduce_sum(windows)
    np.testing.assert_allclose(tape.gradient(product, windows), [[total] * 4], rtol=1e-6)


# ------------------------------------------------------------------------------------------ errors


@every_impl
def test_values_that_do_not_fit(impl, device):
    image = noise(2, 20, 20)
    wrong = (
        ({"windows": [[0, 0, 1, 1], [0, 0, np.nan, 1]]}, "window"),
        ({"windows": [[0, 0, 1, np.inf], [0, 0, 1, 1]]}, "window"),
        ({"colours": [[0, 1, 1], [np.nan, 1, 1]]}, "colour|factors"),
        ({"colours": [[0, 1, 1], [0, -1, 1]]}, "colour|factors"),
        ({"colours": [[0, 1, -0.5], [0, 1, 1]]}, "colour|factors"),
        ({"colours": [[0, 1, np.inf], [0, 1, 1]]}, "colour|factors"),
    )
    calls = [(ops.load_images, [encoded(photo(20, 20))] * 2)]
    if device == "CPU" or impl == "reference":
        calls += [(ops.augment_images, image)]
        pixels = ragged(list(image))
        for change in (
            {"offsets": [0, 2000]},
            {"offsets": [-1, 0]},
            {"sizes": [[20, 20], [20, 0]]},
            {"sizes": [[20, -20], [20, 20]]},
            {"sizes": [[2**30, 2**30], [20, 20]]},
            {"sizes": [[2**31 - 1, 2**31 - 1], [20, 20]]},
            {"sizes": [[2**32 + 20, 20], [20, 20]]},
        ):
            with pytest.raises(tf.errors.InvalidArgumentError, match="augment_images: "):
                ops.augment_images(pixels._replace(**change), size=16, impl=impl)
    for (call, images), (view, name) in itertools.product(calls, wrong):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{call.__name__}: .*({name})"):
            call(images, **view, size=16, impl=impl)


def test_shapes_that_do_not_fit():
    image, pixels = noise(2, 20, 20), ragged([noise(3, 4), noise(5, 6)])
    for call, images, options, message in (
        (ops.load_images, [[b""]], {}, "load_images: contents must be [n], encoded images, got"),
        (ops.augment_images, image[0], {}, "pixels must be [n, H, W, 3], or Pixels, got [20"),
        (ops.augment_images, image[..., :2], {}, "got [2, 20, 20, 2]"),
        (ops.augment_images, pixels._replace(values=image), {}, "values of Pixels must be [total]"),
        (ops.augment_images, pixels._replace(offsets=[0]), {}, "offsets of Pixels must be [n]"),
        (ops.augment_images, pixels._replace(sizes=[3, 4]), {}, "sizes of Pixels must be [n, 2]"),
        (
            ops.augment_images, image, {"windows": [[0, 0, 1, 1]]},
            "augment_images: windows must be [n, 4] with n = 2 images, got [1, 4]",
        ),
        (ops.augment_images, image, {"flips": [True, False]}, "flips must be [n, 2]"),
        (ops.augment_images, image, {"transpose": [[True], [False]]}, "transpose must be [n] with"),
        (ops.load_images, [b""], {"colours": [[1, 1]]}, "load_images: colours must be [n, 3]"),
        (ops.load_images, [b""], {"size": 0}, "size must be from 1 to 16384 pixels, got 0"),
        (ops.load_images, [b""], {"dtype": tf.int32}, "dtype must be one of float32, float16"),
        (ops.load_images, [b""], {"impl": "best"}, "impl must be 'auto', 'fused' or 'reference'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(message)):
            call(images, **{"size": 8} | options)
    for call, images, options, message in (
        (ops.load_images, np.ones(1), {}, "contents must be strings, got float64"),
        (ops.augment_images, image / 255, {}, "pixels must be uint8, got float64"),
        (ops.load_images, [b""], {"size": 8.0}, "size must be a Python integer, got float"),
        (ops.augment_images, image, {"shrink": None}, "shrink must be True or False"),
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            call(images, **{"size": 8} | options)
