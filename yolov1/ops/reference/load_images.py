"""Images to an augmented batch in plain TensorFlow, image by image. `yolov1.ops.load_images` says
what is made of them."""

import functools

import tensorflow as tf

from yolov1.data.augmentation import GREY, change_colours
from yolov1.data.images import DEPTHS, RATIOS


def load_images(contents, windows, flips, transpose, colours, size, dtype, sampling):
    """Of checked tensors: ``[n, size, size, 3]`` of `dtype`. Of a JPEG only the part that the
    window shows is decoded."""

    def look(content, *view):
        return tf.cond(
            is_jpeg(content),
            lambda: _from_jpeg(content, *view, size, sampling),
            lambda: _from_pixels(decode(content), *view, size, True, sampling),
        )

    indices = tf.range(tf.shape(contents)[0])
    return _batch(
        "load_images",
        naming(look),
        (indices, contents),
        *(windows, flips, transpose, colours, size, dtype),
    )


def augment_images(pixels, windows, flips, transpose, colours, size, dtype, shrink, sampling):
    """Of checked tensors, the images as `Pixels`."""

    def look(offset, sides, *view):
        height, width = sides[0], sides[1]
        count = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) * 3
        flat = pixels.values[offset : offset + count]
        image = tf.reshape(flat, [height, width, 3])
        return _from_pixels(image, *view, size, shrink, sampling)

    total = tf.size(pixels.values, tf.int64)
    height, width = (tf.cast(pixels.sizes[:, k], tf.int64) for k in (0, 1))
    # Divided and not multiplied: the product of two sides need not fit into 64 bits.
    room = (total - pixels.offsets) // 3 // tf.maximum(width, 1)
    inside = (pixels.offsets >= 0) & (height >= 1) & (width >= 1) & (height <= room)
    message = "augment_images: offsets and sizes of Pixels must lie within its values."
    with tf.control_dependencies(_all(inside, message)):
        return _batch(
            "augment_images",
            look,
            (pixels.offsets, pixels.sizes),
            windows,
            flips,
            transpose,
            colours,
            size,
            dtype,
        )


def _batch(op, look, images, windows, flips, transpose, colours, size, dtype):
    windows, colours = tf.stop_gradient(windows), tf.stop_gradient(colours)
    good = [
        *_all(tf.math.is_finite(windows), f"{op}: windows must be finite."),
        *_all(
            tf.math.is_finite(colours) & (colours >= [float("-inf"), 0, 0]),
            f"{op}: colours must be finite, and the factors of saturation and exposure at least 0.",
        ),
    ]
    with tf.control_dependencies(good):
        resized = each(look, (*images, windows, flips, transpose), size, tf.float32)
    values = _coloured(resized / 255, colours)
    if dtype == tf.uint8:
        return tf.cast(tf.floor(255 * tf.clip_by_value(values, 0, 1) + 0.5), tf.uint8)
    return tf.cast(values, dtype)


def each(function, rows, size, dtype):
    """`tf.map_fn` to images; eagerly a loop, which is faster and whose errors are its own."""
    if not tf.executing_eagerly() or not len(rows[0]):
        function = tf.autograph.experimental.do_not_convert(function)
        signature = tf.TensorSpec([size, size, 3], dtype)
        return tf.map_fn(lambda row: function(*row), rows, fn_output_signature=signature)
    return tf.stack([function(*row) for row in zip(*map(tf.unstack, rows), strict=True)])


def _all(conditions, message):
    check = tf.debugging.assert_equal(conditions, True, message)
    return [] if check is None else [check]


def _coloured(images, colours):
    """Each image by its own colours alone, whatever those beside it have."""
    return tf.cond(
        tf.reduce_all(colours == [0, 1, 1]),
        lambda: images,
        lambda: tf.cond(
            tf.reduce_any(colours[:, 0] != 0),
            lambda: _changed(images, colours, hue=True),
            lambda: _changed(images, colours, hue=False),
        ),
    )


@tf.function(jit_compile=True, autograph=False)  # a tenth of the time of single operations
def _changed(images, colours, hue):
    def where(chosen, one, other):
        return tf.where(chosen[:, None, None, None], one, other)

    changed = change_colours(images, colours)
    if hue:
        changed = where(colours[:, 0] != 0, change_colours(images, colours, hue=True), changed)
    return where(tf.reduce_all(colours == [0, 1, 1], axis=1), images, changed)


# ------------------------------------------------------------------------------------- one image


def _from_jpeg(content, window, flips, transpose, size, sampling):
    sides = tf.image.extract_jpeg_shape(content)[:2]
    halvings = _halvings(sides, size) if sampling == "half_pixel" else tf.constant(0)
    sides = -(-sides // tf.bitwise.left_shift(1, halvings))

    def part(low, high):
        # With two neighbours the pixels are those of the whole image, to the bit: the decoder
        # smoothes colours of half the resolution.
        first, last = tf.maximum(low - 2, 0), tf.minimum(high + 2, tf.reverse(sides, [0]))
        crop = tf.reshape(tf.reverse([first, last - first], [1]), [4])

        def at(ratio):  # the op takes the ratio as an attribute, so there is one op for each
            return lambda: tf.image.decode_and_crop_jpeg(
                content, crop, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
            )

        decoded = tf.switch_case(halvings, [at(ratio) for ratio in RATIOS])
        low, high = low - first, high - first
        return decoded[low[1] : high[1], low[0] : high[0]]

    return _view(part, sides, window, flips, transpose, size, sampling)


def _from_pixels(image, window, flips, transpose, size, shrink, sampling):
    if shrink and sampling == "half_pixel":
        halvings = _halvings(tf.shape(image)[:2], size)
        ratio = tf.bitwise.left_shift(1, halvings)
        image = tf.cond(halvings == 0, lambda: image, lambda: _shrunk(image, ratio))

    def part(low, high):
        return image[low[1] : high[1], low[0] : high[0]]

    return _view(part, tf.shape(image)[:2], window, flips, transpose, size, sampling)


def _halvings(sides, size):
    """Of `yolov1.data.images.shrink_ratio`, its logarithm."""
    fills = tf.reduce_min(sides) // tf.constant(RATIOS[1:]) >= size
    return tf.reduce_sum(tf.cast(fills, tf.int32))


def _shrunk(image, ratio):
    """`yolov1.data.images.shrink`, to the bit."""
    height, width = tf.unstack(tf.shape(image)[:2])
    rows, columns = -(-height // ratio), -(-width // ratio)
    image = tf.pad(image, [[0, rows * ratio - height], [0, columns * ratio - width], [0, 0]])
    blocks = tf.reshape(image, [rows, ratio, columns, ratio, 3])
    sums = tf.reduce_sum(tf.cast(blocks, tf.int64), axis=[1, 3])
    # Blocks at the right and the lower edge are smaller.
    high, wide = (
        tf.minimum(ratio, side - ratio * tf.range(blocks))
        for side, blocks in ((height, rows), (width, columns))
    )
    count = tf.cast(high[:, None, None] * wide[None, :, None], tf.int64)
    # Pillow multiplies by an inverse of 24 bits, which is cut off: an edge may be rounded down.
    mean = tf.bitwise.right_shift((sums + count // 2) * (2**24 // count), tf.constant(24, tf.int64))
    return tf.cast(mean, tf.uint8)


def whole_pixels(windows, sides):
    """Windows ``[..., 4]`` of images of `sides` (width, height) as corners in whole pixels: int32
    (low ``[..., 2]``, high ``[..., 2]``)."""
    sides = tf.cast(sides, tf.float32)
    low = tf.cast(tf.round(windows[..., :2] * sides), tf.int32)
    high = tf.cast(tf.round(windows[..., 2:] * sides), tf.int32)
    return low, tf.maximum(high, low + 1)


def _view(part, sides, window, flips, transpose, size, sampling):
    """What the window shows, float32 ``[size, size, 3]`` of 0 to 255.

    Args:
        part: function of corners (x, y) within the image: its pixels there, uint8 ``[H, W, 3]``.
        sides: height and width of the image.
    """
    sides = tf.reverse(sides, [0])
    low, high = whole_pixels(window, sides)
    seen_low = tf.clip_by_value(low, 0, sides - 1)
    seen_high = tf.clip_by_value(high, seen_low + 1, sides)
    seen = part(seen_low, seen_high)
    if sampling == "half_pixel":
        resized = _half_pixel(seen, low, high, seen_low, seen_high, sides, flips, size)
    else:
        resized = corner_aligned(seen, low - seen_low, high - seen_low, (size, size), sampling)
        resized = _mirrored(resized, flips)
    return tf.cond(transpose, lambda: tf.transpose(resized, [1, 0, 2]), lambda: resized)


def _mirrored(image, flips):
    return tf.cond(
        tf.reduce_any(flips),
        lambda: tf.reverse(image, 1 - tf.where(flips)[:, 0]),
        lambda: image,
    )


def _half_pixel(seen, low, high, seen_low, seen_high, sides, flips, size):
    before = tf.clip_by_value(seen_low - low, 0, high - low - (seen_high - seen_low))
    after = high - low - before - (seen_high - seen_low)
    sees = tf.reduce_all((low < sides) & (high > 0))
    seen = tf.cond(sees, lambda: seen, lambda: tf.fill(tf.shape(seen), tf.constant(GREY, tf.uint8)))
    window = _mirrored(_surround(seen, before, after), flips)
    return tf.raw_ops.ResizeBilinear(
        images=window[None], size=[size, size], half_pixel_centers=True
    )[0]


def corner_aligned(image, low, high, shape, sampling):
    """A window of an image, resized as Darknet does it; float32 ``[height, width, 3]``.

    Args:
        image: ``[H, W, 3]``, of any numbers.
        low, high: int32 ``[2]``, the window's corners (x, y) in pixels of the image; outside of it
            the window shows the nearest pixel.
        shape: (height, width) of the result, Python integers.
        sampling: ``"darknet"`` or ``"darknet_black_row"``.
    """
    image = tf.cast(image, tf.float32)
    for axis in (1, 0):
        side, count = tf.shape(image)[axis], high[1 - axis] - low[1 - axis]
        black = axis == 0 and sampling == "darknet_black_row"
        first, second, share = _corner_aligned_taps(count, shape[axis], black)
        first, second = (
            tf.gather(image, tf.clip_by_value(low[1 - axis] + pixels, 0, side - 1), axis=axis)
            for pixels in (first, second)
        )
        if black:
            second = tf.concat([second[:-1], tf.zeros_like(second[-1:])], axis=0)
        image = first + (second - first) * tf.reshape(share, [-1, 1] if axis else [-1, 1, 1])
    return image


def _corner_aligned_taps(count, size, black):
    """Between which two of `count` pixels each of `size` values lies, and how far from the first.
    The last value is the last pixel, unless what is added to it is to be left out."""
    places = tf.range(size)
    # In float64, where a graph may multiply by the inverse: rounded to float32 it is the same.
    step = tf.cast(tf.cast(count - 1, tf.float64) / max(size - 1, 1), tf.float32)
    at = tf.cast(places, tf.float32) * step
    first, share = tf.minimum(tf.cast(at, tf.int32), count - 1), at - tf.floor(at)
    if not black:
        ends = places == size - 1
        first, share = tf.where(ends, count - 1, first), tf.where(ends, 0.0, share)
    return first, tf.minimum(first + 1, count - 1), share


def _surround(image, before, after):
    """Grey around an image, `before` and `after` pixels (x, y): four copies, faster than `pad`."""

    def grey(height, width):
        return tf.fill([height, width, 3], tf.constant(GREY, tf.uint8))

    height = tf.shape(image)[0]
    image = tf.concat([grey(height, before[0]), image, grey(height, after[0])], axis=1)
    width = tf.shape(image)[1]
    return tf.concat([grey(before[1], width), image, grey(after[1], width)], axis=0)


# ------------------------------------------------------------------------------ what is no JPEG


def is_jpeg(contents):
    return tf.strings.substr(contents, 0, 2) == b"\xff\xd8"


def naming(function):
    """Of an index and what `function` takes: eagerly its errors say which image it was."""

    def named(index, *arguments):
        try:
            return function(*arguments)
        except tf.errors.InvalidArgumentError as error:
            reason = error.message.splitlines()[0].rpartition("}} ")[2].partition(" [Op:")[0]
            raise tf.errors.InvalidArgumentError(
                None, None, f"load_images: image {int(index)} cannot be decoded: {reason}"
            ) from None

    return named


def decode(content):
    """A PNG, GIF (its first frame) or BMP as uint8 ``[H, W, 3]``, as `yolov1.data.images.decode`
    takes it: transparent parts on white, 16-bit grey by the bits that it uses."""
    kinds = ((b"\x89PNG", _decode_png), (b"BM", _decode_bmp))
    branches = [
        (tf.strings.substr(content, 0, len(kind)) == kind, functools.partial(decoder, content))
        for kind, decoder in kinds
    ]
    image = tf.case(branches, lambda: tf.io.decode_image(content, 3, expand_animations=False))
    return tf.ensure_shape(image, [None, None, 3])


def _decode_png(content):
    image = tf.io.decode_png(content)
    header = tf.strings.substr(content, 24, 2)  # bits of a sample, and the kind of colour
    return tf.cond(header == b"\x10\x00", lambda: _from_16_bits(content), lambda: _on_white(image))


def _on_white(image):
    """Of grey or RGB, with alpha or without; with the rounding of Pillow's `alpha_composite`."""
    channels = tf.shape(image)[2]
    pixels = tf.cast(image, tf.int32)
    alpha = tf.cond(channels % 2 == 0, lambda: pixels[..., -1:], lambda: tf.constant([[[255]]]))
    blended = 128 * (pixels[..., : channels - 1 + channels % 2] * alpha + 255 * (255 - alpha) + 128)
    blended = (blended + blended // 256) // 2**15
    return tf.cast(tf.broadcast_to(blended, tf.concat([tf.shape(image)[:2], [3]], 0)), tf.uint8)


def _from_16_bits(content):
    grey = tf.cast(tf.io.decode_png(content, channels=1, dtype=tf.uint16), tf.int32)
    unused = tf.reduce_sum(tf.cast(tf.reduce_max(grey) < 2 ** tf.constant(DEPTHS[:-1]), tf.int32))
    bits = tf.constant(DEPTHS)[len(DEPTHS) - 1 - unused]
    return tf.cast(tf.tile(tf.bitwise.right_shift(grey, bits - 8), [1, 1, 3]), tf.uint8)


def _decode_bmp(content):
    """TensorFlow gives the indices of a palette as if they were grey."""
    image = tf.io.decode_bmp(content)
    channels = tf.shape(image)[2]

    def from_palette():
        header = tf.io.decode_raw(tf.strings.substr(content, 14, 36), tf.int32)
        used = tf.where(header[8] == 0, 256, header[8])
        palette = tf.strings.substr(content, 14 + header[0], 4 * used)
        palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), [-1, 4])[:, 2::-1]
        return tf.gather(palette, tf.cast(image[..., 0], tf.int32))

    return tf.cond(channels == 1, from_palette, lambda: image[..., :3])
