"""load_images: kinds of image files, alone and beside each other, and damaged ones."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.ops.image_cases import (
    CLOSE,
    SAME,
    assert_close,
    encoded,
    every_impl,
    expected,
    photo,
    random_views,
)
from yolov1 import ops
from yolov1.data.images import decode


@every_impl
@pytest.mark.parametrize(
    "kind, options",
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"subsampling": 0, "optimize": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
@pytest.mark.parametrize("mode", ("RGB", "L"))
def test_kinds_of_files(mode, kind, options, impl):
    image = Image.fromarray(photo(50, 61)).convert(mode)
    file = encoded(image, kind, **options)
    got = ops.load_images([file], size=50, impl=impl)
    assert_close(got[0], expected(decode(file), size=50), 3 / 255 if kind == "JPEG" else CLOSE)


@every_impl
def test_cmyk_jpegs(impl):
    """As TensorFlow decodes them; data sets leave them to Pillow."""
    file = encoded(Image.fromarray(photo(40, 40)).convert("CMYK"))
    plain = tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE").numpy()
    assert_close(ops.load_images([file], size=40, impl=impl)[0], plain / 255)


OTHERS = {  # Pillow's modes of images that are not plain
    "RGBA": ("PNG", {}),
    "LA": ("PNG", {}),
    "P": ("PNG", {}),
    "1": ("PNG", {}),
    "transparent": ("PNG", {"transparency": 3}),
    "palette of BMP": ("BMP", {}),
    "palette of GIF": ("GIF", {}),
}


def other(name):
    rng = np.random.default_rng(4)
    image = Image.fromarray(photo(33, 47))
    kind, options = OTHERS[name]
    if name in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (33, 47), dtype=np.uint8)))
        image = image.convert(name)
    elif name == "1":
        image = image.convert("1")
    else:
        image = image.quantize(64)
    return encoded(image, kind, **options)


@every_impl
@pytest.mark.parametrize("name", OTHERS)
def test_palettes_and_transparent_parts(name, impl):
    file = other(name)
    got = ops.load_images([file], size=33, impl=impl)
    assert_close(got[0], expected(decode(file), size=33))


@every_impl
@pytest.mark.parametrize("bits", (8, 10, 12, 16))
def test_grey_of_16_bits(bits, impl):
    grey = np.random.default_rng(0).integers(0, 1 << bits, (20, 20)).astype(np.uint16)
    grey[0, 0] = (1 << bits) - 1
    file = encoded(Image.fromarray(grey), "PNG")
    got = ops.load_images([file], size=20, impl=impl)
    assert_close(got[0], decode(file) / 255)


@every_impl
def test_an_animation_shows_its_first_frame(impl):
    frames = [Image.fromarray(photo(20, 20, seed=k)) for k in range(3)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert_close(ops.load_images([file], size=20, impl=impl)[0], decode(file) / 255)


@pytest.mark.each_value
@every_impl
@pytest.mark.parametrize("graph", (False, True))
def test_kinds_beside_each_other(graph, impl):
    """JPEGs and others keep their places, views and colours."""
    kinds = ("PNG", "JPEG", "BMP", "JPEG", "GIF")
    images = [photo(40 + 9 * k, 80 - 9 * k, seed=k) for k in range(5)]
    files = [encoded(image, kind) for image, kind in zip(images, kinds, strict=True)]
    windows, flips, transpose = random_views(5)
    colours = np.float32([[0.01 * k, 1 + 0.1 * k, 1] for k in range(5)])
    views = windows, flips, transpose, colours

    def run(files, *views):
        return ops.load_images(files, *views, size=24, impl=impl)

    if graph:
        run = tf.function(
            run,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None], tf.string),
                *(tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in views),
            ],
        )
    got = run(tf.constant(files), *map(tf.constant, views))
    for k, file in enumerate(files):
        alone = ops.load_images([file], *(v[k : k + 1] for v in views), size=24, impl=impl)
        assert_close(got[k], alone[0], SAME[impl])


@pytest.mark.first_case
@every_impl
@pytest.mark.parametrize("kind", ("JPEG", "PNG", "text", "empty"))
def test_a_damaged_image_is_named(kind, impl):
    whole = encoded(photo(40, 40))
    bad = {
        "JPEG": whole[: len(whole) // 2],
        "PNG": encoded(photo(40, 40), "PNG")[:200],
        "text": b"no image",
        "empty": b"",
    }[kind]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="load_images: image 2 cannot be decoded: "
    ):
        ops.load_images([whole, whole, bad, whole], size=16, impl=impl)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.function(lambda: ops.load_images([whole, bad], size=16, impl=impl), autograph=False)()


@every_impl
def test_a_damaged_jpeg_between_others_keeps_its_index(impl):
    whole, other_kind = encoded(photo(40, 40)), encoded(photo(40, 40), "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 2 cannot be decoded: "):
        ops.load_images([other_kind, whole, whole[:300]], size=16, impl=impl)


@every_impl
def test_damage_that_decodes_in_part_is_an_error(impl):
    """Cut anywhere behind its header, or anywhere in it: never a crash, never grey in silence."""
    whole = encoded(photo(24, 24))
    ops.load_images([whole], size=16, impl=impl)
    for length in range(0, len(whole) - 2, 7):
        with pytest.raises(tf.errors.InvalidArgumentError):
            ops.load_images([whole[:length]], size=16, impl=impl)
