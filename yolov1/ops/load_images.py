"""The image ops: checks, choice of the implementation. From images, encoded or as pixels, to the
batch that a network eats, in one op.

What is made of each image, by both ops and both implementations:

1. It is taken at 1 / r of its size, r the largest of 1, 2, 4, 8 by which its smaller side shrinks
   to no less than `size`: bilinear resizing alone would skip pixels. A JPEG is decoded at that
   scale; pixels are averaged over r x r of them and rounded, as Pillow's `reduce` does.
2. The window's corners go to whole pixels of that image (``round(corner * side)``, half to even, in
   float32); it is at least one pixel wide and high. Outside of the image it shows grey, 127 of 255.
3. The window is mirrored and resized to ``size x size``: bilinear, half-pixel centres, nothing from
   outside of the window, as `tf.image.resize` does it. Then x and y change places where asked.
4. ``v = resized / 255``. In HSV the hue turns, saturation and exposure factors scale S and V, and
   the result is clipped to [0, 1] (`yolov1.data.augmentation.change_colours`); (0, 1, 1) changes
   nothing. uint8 is ``floor(255 v + 1/2)``.

That is ``sampling="half_pixel"``. With ``"darknet"`` it is as in Darknet: r is 1; outside of the
image the window shows the image's nearest pixel; the corners of the result are those of the window,
value k of `size` lying ``k * ((n - 1) / (size - 1))`` behind the first of n pixels, the quotient in
float32; and what is mirrored is the result. With ``"darknet_black_row"`` the last row also lacks
the share of its lower pixel, as in Darknet itself: where float32 puts it just above that pixel, it
is black. With a `size` of 448 this is so for 95 of the heights from 2 to 2000, 512 among them.

Fused and reference agree within 1e-5 in float32. No gradient flows through either.
"""

import tensorflow as tf

from yolov1 import kernels
from yolov1.kernels import Pixels
from yolov1.ops import _library, _tape, reference
from yolov1.ops._arguments import as_tensor, device, saturating_cast, static_shape
from yolov1.ops.reference.load_images import decode, each, is_jpeg, naming


def load_images(
    contents,
    windows=None,
    flips=None,
    transpose=None,
    colours=None,
    *,
    size,
    dtype=tf.float32,
    sampling="half_pixel",
    impl="auto",
):
    """Encoded images to an augmented batch; see `yolov1.ops.load_images` for each step.

    A JPEG is decoded where the window shows it and no further. What TensorFlow decodes besides is
    decoded whole, by TensorFlow: PNG (transparent parts are shown on white, 16-bit grey is taken by
    the bits that it uses), BMP of 8 bits and more, GIF (the first frame; what is transparent is
    black) and WebP without transparency. Everything else, TIFF for one, is for
    `yolov1.data.read_image` and `augment_images`.

    Args:
        contents: string ``[n]``, the bytes of a file each.
        windows: float32 ``[n, 4]``: x0, y0, x1, y1 as fractions of the image, which the window may
            leave. None: the whole image.
        flips: bool ``[n, 2]``: mirrored left-right, top-bottom. None: neither.
        transpose: bool ``[n]``. None: not transposed.
        colours: float32 ``[n, 3]``: turn of the hue (1 is all around), factor of the saturation,
            factor of the exposure. None: (0, 1, 1).
        size: S, of the result in pixels; a Python integer.
        dtype: float32, float16 or bfloat16 for values in [0, 1]; uint8 for 0 to 255.
        sampling: ``"half_pixel"``, ``"darknet"`` or ``"darknet_black_row"``.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    Returns:
        ``[n, S, S, 3]`` of `dtype`, RGB. On the CPU; neither XLA nor `tf.vectorized_map` takes it.

    Raises:
        ValueError: a shape does not fit, or a number is out of its range; an unknown `impl`.
        TypeError: contents are no strings.
        tf.errors.InvalidArgumentError: when it runs: an image cannot be decoded (which one, unless
            the reference or another format than JPEG finds it in a graph); windows or colours that
            are not finite, or negative factors; the fused one also refuses corners beyond 2^28
            pixels, and colours from 2^20 on.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    dtype = tf.dtypes.as_dtype(dtype)
    config = kernels.load_images_config(size, dtype.name, sampling)
    with tf.device("CPU:0"):
        contents = as_tensor(contents, tf.string)
        if contents.dtype != tf.string:
            raise TypeError(
                f"load_images: contents must be strings, got {contents.dtype.name}; for pixels "
                "there is augment_images."
            )
        kernels.check_images("load_images", contents=static_shape(contents))
        views = _views("load_images", contents, windows, flips, transpose, colours)
        compiled = _tape.compiled_by_xla()
        if _library.choose("load_images", impl, "CPU", dtype.name, compiled) == "reference":
            return reference.load_images(contents, *views, size, dtype, sampling)
        jpeg = is_jpeg(contents)
        return tf.cond(
            tf.reduce_all(jpeg),
            lambda: _library.load().yolov1_load_images(contents, *views, config, T=dtype),
            lambda: _mixed(contents, jpeg, views, config, size, dtype, sampling),
        )


def _mixed(contents, jpeg, views, config, size, dtype, sampling):
    """Where not all are JPEG. In the place of others the op gets the smallest JPEG there is, so
    that its errors have the index that they should have."""
    smallest = tf.io.encode_jpeg(tf.zeros([1, 1, 3], tf.uint8))
    images = _library.load().yolov1_load_images(
        tf.where(jpeg, contents, smallest), *views, config, T=dtype
    )

    def look(content, *view):
        pixels, views = decode(content)[None], (part[None] for part in view)
        options = {"size": size, "dtype": dtype, "sampling": sampling, "impl": "fused"}
        return augment_images(pixels, *views, **options)[0]

    others = tf.where(~jpeg)
    rows = [others[:, 0], *(tf.gather_nd(part, others) for part in (contents, *views))]
    found = each(naming(look), rows, size, dtype)
    return tf.tensor_scatter_nd_update(images, others, found)


def augment_images(
    pixels,
    windows=None,
    flips=None,
    transpose=None,
    colours=None,
    *,
    size,
    dtype=tf.float32,
    sampling="half_pixel",
    impl="auto",
    shrink=True,
):
    """Pixels in memory to an augmented batch; see `yolov1.ops.load_images` for each step.

    Args:
        pixels: uint8 ``[n, H, W, 3]``, RGB; or `Pixels`, for images of several sizes.
        windows, flips, transpose, colours, size, dtype, sampling, impl: as of `load_images`.
        shrink: whether step 1 is done; False: r is 1, as it is with Darknet's sampling.

    Returns:
        ``[n, S, S, 3]`` of `dtype`. XLA compiles the fused one alone, which has a kernel for a GPU
        as well. There values are not checked: an image whose numbers do not fit is NaN (0 as
        uint8).

    Raises:
        ValueError, LibraryUnavailable, NotImplementedError: as `load_images`.
        TypeError: pixels are not uint8.
        tf.errors.InvalidArgumentError: when it runs on the CPU: an image that does not lie within
            the values, or has no pixel; windows or colours as of `load_images`.
    """
    dtype = tf.dtypes.as_dtype(dtype)
    config = kernels.augment_images_config(size, dtype.name, shrink, sampling)
    pixels = _pixels(pixels)
    views = _views("augment_images", pixels.offsets, windows, flips, transpose, colours)
    compiled = _tape.compiled_by_xla()
    place = device(pixels.values)
    chosen = _library.choose("augment_images", impl, place, dtype.name, compiled)
    if chosen == "reference":
        return reference.augment_images(pixels, *views, size, dtype, shrink, sampling)
    return _library.load().yolov1_augment_images(*pixels, *views, config, T=dtype)


def _pixels(pixels) -> Pixels:
    """Tensors of `Pixels`, or of images of one size."""
    if isinstance(pixels, Pixels):
        values = as_tensor(pixels.values)
        pixels = Pixels(
            values,
            saturating_cast(as_tensor(pixels.offsets), tf.int64),
            saturating_cast(as_tensor(pixels.sizes), tf.int32),
        )
        shapes = {name: static_shape(part) for name, part in pixels._asdict().items()}
    else:
        values = as_tensor(pixels)
        shapes = {"pixels": static_shape(values)}
    if values.dtype != tf.uint8:
        raise TypeError(
            f"augment_images: pixels must be uint8, got {values.dtype.name}; make them 0 to 255."
        )
    kernels.check_images("augment_images", **shapes)
    if isinstance(pixels, Pixels):
        return pixels
    count, height, width, _ = tf.unstack(tf.shape(values, tf.int64), 4)
    offsets = 3 * height * width * tf.range(count)
    sizes = tf.cast(tf.tile([[height, width]], [count, 1]), tf.int32)
    known = values.shape[0] if values.shape.rank else None
    offsets, sizes = tf.ensure_shape(offsets, [known]), tf.ensure_shape(sizes, [known, 2])
    return Pixels(tf.reshape(values, [-1]), offsets, sizes)


def _views(op, images, *views):
    """windows, flips, transpose and colours as tensors that fit n `images`."""
    known = static_shape(images)
    count = known and known[0]
    tensors = {}
    for (name, one), view in zip(kernels.PLAIN_VIEW.items(), views, strict=True):
        dtype = tf.dtypes.as_dtype(one.dtype)
        if view is None:
            view = tf.broadcast_to(one, tf.concat([tf.shape(images)[:1], one.shape], 0))
            view = tf.ensure_shape(
                view, [images.shape[0] if images.shape.rank else None, *one.shape]
            )
        tensors[name] = tf.cast(as_tensor(view, dtype), dtype)
    shapes = {name: static_shape(tensor) for name, tensor in tensors.items()}
    kernels.check_views(op, count, **shapes)
    return list(tensors.values())
