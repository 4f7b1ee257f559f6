"""JPEG files in the op: what TensorFlow's own decoder makes of them, damaged ones too."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.jpeg_cases import KINDS, SIDE, WHOLE, cropped, flipped, forgiven, picture
from tests.shared import shared
from yolov1 import kernels
from yolov1.ops import _library

pytestmark = pytest.mark.on_cpu
REFUSED = "load_images: image {} cannot be decoded: "


def draws(count, windows=(0, 0, 1, 1)):
    windows = np.broadcast_to(np.float32(windows), (count, 4)).copy()
    plain = np.tile(np.float32([0, 1, 1]), (count, 1))
    return windows, np.zeros((count, 2), bool), np.zeros(count, bool), plain


def load(contents, windows=(0, 0, 1, 1), size=SIDE, dtype=tf.uint8):
    return (
        _library.load()
        .yolov1_load_images(
            contents,
            *draws(len(contents), windows),
            config=f"size={size} dtype={dtype.name}",
            T=dtype,
        )
        .numpy()
    )


def load_on_numpy(contents, threads):
    _library.load()  # which brings the decoder
    out = np.empty((len(contents), SIDE, SIDE, 3), np.uint8)
    inputs = np.array(contents, object), *draws(len(contents))
    config = f"size={SIDE} dtype=uint8"
    kernels.call("Yolov1>LoadImages", config, inputs, outputs=[out], threads=threads)
    return out


def resized(pixels, size=SIDE):
    """As the op for pixels in memory does it; those of a whole image stay what they are."""
    return (
        _library.load()
        .yolov1_augment_images(
            np.reshape(pixels, [-1]),
            np.zeros(1, np.int64),
            np.int32([pixels.shape[:2]]),
            *draws(1),
            config=f"size={size} dtype=uint8 shrink=False",
            T=tf.uint8,
        )[0]
        .numpy()
    )


def load_part(content, part=WHOLE):
    """A part as the op shows it; None where it refuses."""
    x, y, width, height = part
    try:
        return load([content], np.array([x, y, x + width, y + height]) / SIDE)[0]
    except tf.errors.InvalidArgumentError as error:
        assert REFUSED.format(0) in error.message, error.message
        return None


def assert_as_tensorflow(content, part=WHOLE):
    """The same pixels, or refused by both; returns TensorFlow's."""
    want, got = cropped(content, part), load_part(content, part)
    assert (got is None) == (want is None)
    if want is not None:
        np.testing.assert_array_equal(got, resized(want))
    return want


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_pixels_are_those_of_tensorflow(kind):
    whole = assert_as_tensorflow(picture(kind))
    full = tf.io.decode_jpeg(picture(kind), channels=3, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(whole, full)
    np.testing.assert_array_equal(load_part(picture(kind)), full)
    for part in ((0, 0, 1, 1), (3, 5, 9, 7), (7, 1, 16, 16), (23, 23, 1, 1), (0, 15, 24, 9)):
        x, y, width, height = part
        of_the_part = assert_as_tensorflow(picture(kind), part)
        np.testing.assert_array_equal(of_the_part, full[y : y + height, x : x + width])


@pytest.mark.first_case
@every_kind
def test_every_truncation_is_refused_or_whole(kind):
    content = picture(kind)
    whole = cropped(content)
    for length in range(len(content)):
        got = assert_as_tensorflow(content[:length])
        assert got is None or length >= len(content) - 2  # all but the marker of the end
        if got is not None:
            np.testing.assert_array_equal(got, whole)


@pytest.mark.first_case
@every_kind
def test_truncations_below_and_within_a_part(kind):
    """Where what a part shows is there, the pixels are right; never grey ones."""
    content, part = picture(kind), (4, 6, 8, 8)
    whole = cropped(content, part)
    for length in range(len(content)):
        got = assert_as_tensorflow(content[:length], part)
        if got is not None:
            np.testing.assert_array_equal(got, whole)


@pytest.mark.first_case
@every_kind
def test_other_bytes_are_refused_where_tensorflow_refuses(kind):
    refused = 0
    for damaged in flipped(kind, 150):
        try:
            shape = tf.io.extract_jpeg_shape(damaged)
        except tf.errors.InvalidArgumentError:
            assert load_part(damaged) is None
            refused += 1
            continue
        if tuple(shape.numpy()[:2]) == (SIDE, SIDE):
            parts = WHOLE, (5, 3, 11, 11)
            refused += any(assert_as_tensorflow(damaged, part) is None for part in parts)
    assert 10 < refused < 150


def damaged_files():
    content = picture("4:2:0")
    return {
        "nothing": b"",
        "no JPEG": b"\x89PNG\r\n\x1a\n",
        "a header alone": content[:25],
        "another third byte": content[:2] + b"\xfe" + content[3:],
        "half": content[: len(content) // 2],
        "zeros": bytes(len(content)),
    }


@pytest.mark.parametrize("damage", damaged_files())
def test_of_several_damaged_ones_the_first_is_named(damage):
    wrong = damaged_files()[damage]
    good = [picture("4:2:0", seed) for seed in range(40)]
    for places in ((0,), (39,), (17, 3, 38), (21, 20)):
        contents = [wrong if k in places else content for k, content in enumerate(good)]
        message = re.escape(REFUSED.format(min(places)))
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            load(contents)
        for threads in (1, 2, 5, 40):
            with pytest.raises(ValueError, match=message):
                load_on_numpy(contents, threads)
    want = load(good)
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(load_on_numpy(good, threads), want)


@pytest.mark.parametrize("what", forgiven())
def test_what_tensorflow_forgives_is_forgiven(what):
    for part in (WHOLE, (4, 6, 8, 8)):
        assert_as_tensorflow(forgiven()[what], part)


def said(capfd):
    """What was written, without the times of TensorFlow's log."""
    lines = capfd.readouterr().err.splitlines()
    return [re.sub(r"^.*?\.cc:\d+\] ", "", line) for line in lines]


SAID = {  # how often the op says what TensorFlow's decoder says once
    "bytes before the end": 1,
    "restart markers out of order": 1,
    "a tail": 1,
    "bytes between markers": 2,  # of the header, which is read for the size, and to decode
}


@pytest.mark.parametrize("what", SAID)
def test_no_more_is_said_than_tensorflow_says(what, capfd):
    content = forgiven()[what]
    assert cropped(content) is not None
    want = said(capfd)
    assert bool(want) == (what != "a tail")
    assert load_part(content) is not None
    assert said(capfd) == SAID[what] * want


def test_nothing_is_said_of_good_images(capfd):
    load([picture(kind) for kind in KINDS])
    assert said(capfd) == []


def hold_against_tensorflow(path):
    """Whole, at the scale that the op chooses: True, or False where both refuse."""
    size = 64
    content = path.read_bytes()
    try:
        got = load([content], size=size)[0]
    except tf.errors.InvalidArgumentError as error:
        assert REFUSED.format(0) in error.message
        if content[:3] == b"\xff\xd8\xff":
            with pytest.raises(tf.errors.InvalidArgumentError):
                tf.io.decode_jpeg(content, channels=3)
        return False
    side = min(tf.io.extract_jpeg_shape(content).numpy()[:2])
    ratio = next(ratio for ratio in (8, 4, 2, 1) if ratio == 1 or side // ratio >= size)
    pixels = tf.io.decode_jpeg(content, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(got, resized(pixels, size))
    return True


def test_the_hard_inputs():
    paths = sorted(shared("data", "hard_inputs", "JPEGImages").iterdir())
    assert any([hold_against_tensorflow(path) for path in paths])


def test_files_of_which_tensorflow_complains():
    folder = shared("cases", "74-jpeg-of-which-tensorflow-complains", "input", "images", "train")
    assert any([hold_against_tensorflow(path) for path in sorted(folder.iterdir())])
