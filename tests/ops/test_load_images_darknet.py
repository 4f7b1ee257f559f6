"""Images as Darknet samples them, against its own numbers (../shared/golden) and its loops in
NumPy, which are in image_cases.py.
"""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.ops.image_cases import (
    CLOSE,
    assert_close,
    darknet_resize,
    encoded,
    every_impl,
    expected_darknet,
    needs_fused,
    noise,
    photo,
    ragged,
    random_views,
)
from tests.shared import shared
from yolov1 import kernels, ops
from yolov1.data.augmentation import Draw, change_colours
from yolov1.grid import GridSpec
from yolov1.ops.reference.load_images import corner_aligned

SAMPLINGS = ("darknet", "darknet_black_row")
# Heights of images that Darknet resizes to 448 rows of which the last one is black.
BLACK = (
    *(8, 15, 29, 57, 113, 114, 120, 126, 225, 226, 227, 238, 239, 251, 252, 449, 451, 453, 462),
    *(464, 466, 475, 477, 488, 490, 501, 503, 512, 897, 901, 905, 910, 914, 918, 923, 927, 931),
    *(936, 940, 944, 949, 953, 962, 966, 975, 979, 988, 992, 1001, 1005, 1010, 1014, 1018, 1023),
)


# ---------------------------------------------------------------------------------- golden numbers


def planes(array):
    return array.transpose(1, 2, 0)


def test_a_resized_image():
    golden = np.load(shared("golden", "darknet", "data_resize_28x20.npz"))
    image, want = planes(golden["input"]), planes(golden["output"])
    np.testing.assert_array_equal(darknet_resize(image, 20, 28, black_row=True), want)
    got = corner_aligned(image, [0, 0], image.shape[1::-1], (20, 28), "darknet_black_row")
    assert_close(got, want, 1e-6)


def test_distorted_colours():
    golden = np.load(shared("golden", "darknet", "data_distort_0.npz"))
    got = change_colours(planes(golden["input"])[None], golden["args"][None], hue=True)
    # Of the formula in float64 both are within 1e-6.
    assert_close(got[0], planes(golden["output"]), 2e-6)


@every_impl
def test_a_sample(impl):
    """Given Darknet's draws: pixels cut from each side, flip, hue, saturation and exposure."""
    golden = np.load(shared("golden", "darknet", "data_sample_1.npz"))
    pixels, boxes = golden["u8"], golden["boxes"]
    left, right, top, bottom, flip, *colour = golden["drawn"]
    height, width = pixels.shape[:2]
    drawn = Draw(
        np.float32([[left / width, top / height, 1 - right / width, 1 - bottom / height]]),
        np.array([[flip == 1, False]]),
        np.array([False]),
        np.float32([colour]),
    )
    assert min(left, right, top, bottom) < 0 < flip  # outside of the image there is its edge
    got = ops.augment_images(pixels[None], *drawn, size=56, sampling="darknet", impl=impl)
    assert_close(got[0], planes(golden["X"]), 1e-6)
    check_truth(boxes, (height, width), drawn, golden["truth"], impl)


@every_impl
def test_the_truth_of_a_whole_image(impl):
    golden = np.load(shared("golden", "darknet", "data_truth_0.npz"))
    assert golden["args"].tolist() == [0, 0, 0, 1, 1]  # nothing moves
    drawn = Draw(np.float32([[0, 0, 1, 1]]), np.zeros((1, 2), bool), np.zeros(1, bool), None)
    check_truth(golden["boxes"], (1000, 1000), drawn, golden["truth"], impl)


def check_truth(boxes, sizes, drawn, want, impl):
    grid = GridSpec(S=7, B=2, C=20, image_size=56)
    got = ops.encode_targets(
        np.float32(boxes[:, 1:]),
        np.int32(boxes[:, 0]),
        *(np.int64([0, len(boxes)]), np.int64([0]), np.int32([sizes]), drawn),
        grid=grid,
        min_visible=0,
        impl=impl,
    )[0].numpy()
    want = np.concatenate([want[..., 1:21], want[..., :1], want[..., 21:]], axis=-1)
    assert 0 < want[..., 20].sum() < len(boxes) + 1
    np.testing.assert_array_equal(got[..., :21], want[..., :21])  # cells and classes
    assert_close(got[..., 21:], want[..., 21:], 1e-6)


@every_impl
def test_the_input_of_a_network(impl):
    golden = json.loads(shared("golden", "darknet_full", "real", "yolov1-tiny.json").read_text())
    want = golden["input"]
    path = shared("golden", "darknet_full", "real", "BloodImage_00012.png")
    image = np.asarray(Image.open(path))
    for got in (
        ops.augment_images(image[None], size=448, sampling="darknet", impl=impl),
        ops.load_images([path.read_bytes()], size=448, sampling="darknet", impl=impl),
    ):
        values = got[0].numpy().transpose(2, 0, 1)
        assert list(values.shape) == want["shape"]
        assert_close(values.reshape(-1)[want["at"]], want["values"], 1e-6)
        assert_close([values.mean(), values.std()], [want["mean"], want["std"]], 1e-6)


# ------------------------------------------------------------------------ against the NumPy loops


@pytest.mark.each_value
@every_impl
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [1, 2, 5, 33, 96])
def test_windows_flips_and_transposes(size, sampling, impl):
    """Also of an image that would shrink otherwise, and beside the image."""
    images = [
        noise(*sides, seed=k)
        for k, sides in enumerate([(60, 60), (41, 90), (200, 240), (1, 1), (1, 9), (7, 1)] * 8)
    ]
    windows, flips, transpose = random_views(len(images))
    windows[5] = 1.2, -0.9, 1.9, -0.1
    views = windows, flips, transpose
    got = ops.augment_images(ragged(images), *views, size=size, sampling=sampling, impl=impl)
    black = sampling == "darknet_black_row"
    if size == 1:  # Darknet divides by 0
        assert np.isfinite(got).all()
        return
    want = [expected_darknet(*one, size, black) for one in zip(images, *views, strict=True)]
    assert_close(got, want, 1e-6)


@needs_fused
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_fused_and_reference_agree(sampling):
    images = [photo(*sides) for sides in ((90, 80), (512, 200), (100, 31), (300, 120))]
    windows, flips, transpose = random_views(4)
    colours = np.float32([[0, 1, 1], [0, 1.4, 0.7], [0.1, 1, 1], [-0.3, 0.8, 1.1]])
    views = windows, flips, transpose, colours
    for call, given in (
        (ops.augment_images, ragged(images)),
        (ops.load_images, [encoded(image) for image in images]),
        (
            ops.load_images,
            [encoded(image, "PNG" if k % 2 else "JPEG") for k, image in enumerate(images)],
        ),
    ):
        fused, reference = (
            call(given, *views, size=64, sampling=sampling, impl=impl)
            for impl in ("fused", "reference")
        )
        assert_close(fused, reference.numpy(), CLOSE)


@every_impl
def test_jpegs_are_decoded_at_full_size(impl):
    """By the accurate DCT, whatever of it a window shows: Pillow's pixels, to the bit."""
    files = [encoded(photo(200 + k, 250, seed=k)) for k in range(6)]
    windows, flips, transpose = random_views(6)
    windows[0], windows[1] = (0, 0, 1, 1), (0.9, 0.95, 1.4, 1.2)
    views = windows, flips, transpose
    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    got, want = (
        call(given, *views, size=20, sampling="darknet", impl=impl)
        for call, given in ((ops.load_images, files), (ops.augment_images, ragged(pixels)))
    )
    np.testing.assert_array_equal(got, want)


@every_impl
def test_default_and_shrink(impl):
    image = noise(2, 100, 90)
    plain = ops.augment_images(image, size=32, impl=impl)
    named = ops.augment_images(image, size=32, sampling="half_pixel", impl=impl)
    np.testing.assert_array_equal(plain, named)
    darknet = [
        ops.augment_images(image, size=32, sampling="darknet", shrink=shrink, impl=impl)
        for shrink in (True, False)
    ]
    np.testing.assert_array_equal(*darknet)
    assert np.abs(plain - darknet[0]).max() > 0.1


# --------------------------------------------------------------------------------- the black row


def last_rows(heights, sampling, impl, size=448):
    """The greatest value in the first, last but one and last row of white images."""
    images = ragged([np.full((height, 1, 3), 255, np.uint8) for height in heights])
    got = ops.augment_images(images, size=size, sampling=sampling, impl=impl).numpy()
    return got[:, [0, -2, -1]].max(axis=(2, 3)).T


@pytest.mark.parametrize("first", range(2, 1024, 128))
def test_which_heights_have_a_black_row(first):
    heights = np.arange(first, first + 128)
    rows = last_rows(heights, "darknet_black_row", "auto")
    black = rows[2] < 0.5
    assert set(heights[black]) == {height for height in BLACK if height in heights}
    assert (rows[:2] == 1).all() and rows[2].min() >= 0
    assert (rows[2][black] < 1e-3).all() and (rows[2][~black] > 0.999).all()


@every_impl
def test_the_black_row_of_both(impl):
    heights = (*BLACK[::4], 240, 333, 375, 480, 500, 512, 600, 720, 1024)
    rows = last_rows(heights, "darknet_black_row", impl)
    np.testing.assert_array_equal(rows[2] < 0.5, [height in BLACK for height in heights])
    np.testing.assert_array_equal(last_rows(heights, "darknet", impl), 1)


@every_impl
def test_an_unknown_sampling_is_refused(impl):
    message = "sampling must be one of half_pixel, darknet, darknet_black_row, got 'bicubic'"
    with pytest.raises(ValueError, match=f"augment_images: {message}"):
        ops.augment_images(noise(1, 4, 4), size=4, sampling="bicubic", impl=impl)
    with pytest.raises(ValueError, match=f"load_images: {message}"):
        ops.load_images([b""], size=4, sampling="bicubic", impl=impl)


# ------------------------------------------------------------------------------ the other faces


@needs_fused
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_numpy_and_xla_have_the_same_bits(sampling):
    images, (windows, flips, transpose) = noise(8, 40, 57), random_views(8)
    options = {"size": 24, "sampling": sampling}
    views = windows, flips, transpose
    want = ops.augment_images(images, *views, impl="fused", **options).numpy()
    np.testing.assert_array_equal(kernels.augment_images(images, *views, **options), want)
    files = [encoded(image) for image in images]
    loaded = ops.load_images(files, *views, impl="fused", **options)
    np.testing.assert_array_equal(kernels.load_images(files, *views, **options), loaded)
    if kernels.build_info()["xla"] == "ON":
        run = tf.function(
            lambda *given: ops.augment_images(*given, impl="fused", **options), jit_compile=True
        )
        np.testing.assert_array_equal(run(images, *views), want)
