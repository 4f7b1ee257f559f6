"""Where the images of a data set come from when a step wants them: memory, or their files.

`Decoded` keeps pixels, `Files` reads files or keeps their bytes. Either makes a batch by the image
ops, which decode a JPEG in C++, only the part that its window shows and at the scale that the
network needs. Images that no JPEG decoder reads go through Python, all of a step in one call.
"""

import functools
import numbers
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from yolov1 import ops
from yolov1.data import images as image_files
from yolov1.data.example import BadExampleError
from yolov1.data.table import name_unreadable

CACHES = ("auto", "encoded", "decoded", "device", "off")
CACHE_BYTES = 1 << 30  # what "auto" keeps at most


def open_images(
    dataset,
    image_size,
    op,
    *,
    cache,
    cache_bytes=CACHE_BYTES,
    sampling="half_pixel",
    impl="auto",
    say=None,
):
    """`Decoded` or `Files` for a data set.

    Args:
        image_size: side of the network's input.
        op: the caller's name, for errors.
        cache: one of `CACHES`; True is "auto", False "off", and an integer "auto" with this limit.
        cache_bytes: what "auto" keeps at most.
        sampling, impl: of the image ops.
        say: function of a line that tells what is kept, and how large it is; None: nobody.

    Raises:
        ValueError: another cache, or a limit that is none.
        BadExampleError: an image that is to be kept cannot be read.
        MemoryError: they do not fit where they are to be kept.
    """
    if isinstance(cache, (bool, np.bool_)):
        cache = "auto" if cache else "off"
    elif isinstance(cache, (int, np.integer)):
        cache, cache_bytes = "auto", int(cache)
    if cache not in CACHES:
        raise ValueError(f"{op}: cache must be one of {', '.join(CACHES)}, got {cache!r}.")
    if not isinstance(cache_bytes, numbers.Real) or not cache_bytes >= 0:
        raise ValueError(f"{op}: cache_bytes must be a number of at least 0, got {cache_bytes!r}.")
    images = Images(dataset, image_size, sampling)
    if cache == "auto":
        fits = (kind for kind in ("decoded", "encoded") if 0 < images.bytes_of(kind) <= cache_bytes)
        cache = next(fits, "off")
    gpu = cache == "device" and bool(tf.config.list_logical_devices("GPU"))
    if say:  # before anything is read
        say(_sentence(images, cache, gpu))
    try:
        if cache in ("off", "encoded"):
            return Files(images, impl, keep=cache == "encoded")
        return Decoded(images, impl, "GPU:0" if gpu else "CPU:0")
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise MemoryError(
            f"{op}: there is no room to keep the images ({_sentence(images, cache, gpu)}). Take "
            "cache='encoded', which keeps their files, or 'off'."
        ) from error
    except (tf.errors.OpError, OSError, ValueError) as error:
        name_unreadable(dataset, error)
        raise


def _sentence(images, cache, gpu):
    where = "on GPU:0" if gpu else "in memory"
    if cache == "device" and not gpu:
        where += ", as there is no GPU"
    decoded, count = _size(images.bytes_of("decoded")), f"{len(images.examples):,} images"
    if cache in ("off", "encoded"):
        encoded = _size(images.bytes_of("encoded"))
    if cache == "off":
        return f"cache: off, {count} are read for each batch ({encoded}; {decoded} decoded)"
    if cache == "encoded":
        files = np.count_nonzero(images.file_bytes)  # others are drawn each time
        some = "" if files == len(images.examples) else f"{files:,} of "
        return f"cache: the files of {some}{count}, {encoded} {where}"
    ratios = sorted({int(r) for r in images.ratios})
    scale = " to ".join(f"1/{r}" for r in dict.fromkeys((ratios[0], ratios[-1])))
    return f"cache: {count} decoded at {scale}, {decoded} {where}"


def _size(count):
    unit, name = next((u for u in ((1e9, "GB"), (1e6, "MB")) if count >= u[0] / 10), (1e3, "kB"))
    return f"{count / unit:.1f} {name}"


class Images:
    """Sizes and pixels of a data set's images, by index.

    Attributes:
        ratios: int64 ``[count]``: by which each image shrinks before the network sees it; with
            Darknet's sampling 1.
        shrunk: int64 ``[count, 2]``: its (height, width) then.
        jpeg: bool ``[count]``: which are files that TensorFlow's JPEG decoder reads.
    """

    def __init__(self, dataset, image_size, sampling):
        self.examples, self.image_size, self.sampling = list(dataset), image_size, sampling
        ratios = [image_files.shrink_ratio(e.size, image_size) for e in self.examples]
        self.ratios = np.array(ratios if sampling == "half_pixel" else [1] * len(ratios), np.int64)
        sizes = np.array([e.size for e in self.examples], np.int64)
        self.shrunk = -(-sizes // self.ratios[:, None])
        self.jpeg = np.array([e.jpeg for e in self.examples])

    def bytes_of(self, cache):
        """What a cache would take: "decoded", or "encoded", which holds those that have a file."""
        if cache == "decoded":
            return 3 * int(self.shrunk.prod(axis=1).sum())
        return int(self.file_bytes.sum())

    @functools.cached_property
    def file_bytes(self):
        """int64 ``[count]``: of each image's file, or its place in one; 0 of a drawn one. Asked of
        the file system once, and by those alone who need it."""
        return np.array([_encoded_bytes(e) for e in self.examples], np.int64)

    def each(self, function, indices):
        """`function` of each index, in several threads; in order."""
        return _pool().map(function, indices)

    def content(self, index):
        """The bytes of its file; none of an image that was drawn."""
        return self.examples[index].encoded or b""

    def pixels(self, index, content=None):
        """The shrunk image, uint8 ``[h, w, 3]``; of its bytes where they are at hand."""
        example, ratio = self.examples[index], int(self.ratios[index])
        if self.jpeg[index]:
            content = content or self.content(index)
            image = tf.io.decode_jpeg(
                content, 3, ratio=ratio, dct_method="INTEGER_ACCURATE"
            ).numpy()
        else:
            image = image_files.decode(content) if content else example.image
            image = image_files.shrink(image, ratio)
        if image.shape != (*self.shrunk[index], 3):
            expected, got = (" x ".join(map(str, s)) for s in (self.shrunk[index], image.shape[:2]))
            raise BadExampleError(
                f"image {example.image_id!r} is of another size than when the data set was opened: "
                f"expected {expected} pixels at 1/{ratio}, got {got}. Open the data set again."
            )
        return image


@functools.cache
def _pool():
    """One for all: functions of a graph, and what they hold, are never given back."""
    return ThreadPoolExecutor(os.cpu_count())  # decoders release the interpreter's lock


def _encoded_bytes(example):
    if example.place:
        return example.place.length
    try:
        return os.path.getsize(example.path) if example.path else 0
    except OSError:
        return 0


class Decoded:
    """All images as pixels in memory, or in that of a GPU."""

    def __init__(self, images, impl, device):
        self.device, self.shrunk = device, images.shrunk
        self._options = options_of(images, impl)
        lengths = images.shrunk.prod(axis=1) * 3
        offsets = np.cumsum(lengths) - lengths
        values = _aligned(lengths.sum())

        def fill(k):
            values[offsets[k] : offsets[k] + lengths[k]] = images.pixels(k).reshape(-1)

        for _ in images.each(fill, range(len(lengths))):
            pass
        with tf.device("CPU:0"):  # by DLPack, which shares the memory
            values = tf.experimental.dlpack.from_dlpack(values.__dlpack__())
        with tf.device(device):
            self._pixels = ops.Pixels(
                tf.identity(values) if device != "CPU:0" else values,
                tf.constant(offsets, tf.int64),
                tf.constant(images.shrunk, tf.int32),
            )

    def batch(self, indices, *views):
        """Images ``[n, S, S, 3]``, of windows, flips, transpose and colours or None."""
        values, *rest = self._pixels
        pixels = ops.Pixels(values, *(tf.gather(part, indices) for part in rest))
        return ops.augment_images(pixels, *views, shrink=False, **self._options)


def options_of(images, impl):
    return {"size": images.image_size, "sampling": images.sampling, "impl": impl}


def _aligned(count):
    """uint8 ``[count]`` as a tensor's memory must lie, so that none is copied."""
    memory = np.empty(count + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count]


class Files:
    """Images that are decoded for each batch, from files or from their bytes in memory."""

    device = "CPU:0"

    def __init__(self, images, impl, keep=False):
        self.shrunk = images.shrunk
        self._images, self._options = images, options_of(images, impl)
        self._any_jpeg, self._all_jpeg = images.jpeg.any(), images.jpeg.all()
        self._contents, self._kept = None, {}
        with tf.device("CPU:0"):
            self._jpeg = tf.constant(images.jpeg)
            if keep:
                contents = list(images.each(images.content, range(len(images.examples))))
                others = np.flatnonzero(~images.jpeg)  # what TensorFlow does not decode
                self._kept = {k: contents[k] for k in others.tolist()}
                own = [b"" if k in self._kept else c for k, c in enumerate(contents)]
                self._contents = tf.constant(own)
            else:
                self._paths = tf.constant([os.fsencode(e.path or "") for e in images.examples])
                self._own_files = all(e.path for e in images.examples if e.jpeg)

    def contents(self, indices):
        """The bytes of files, string ``[n]``."""
        if self._contents is not None:
            return tf.gather(self._contents, indices)
        if self._own_files:
            return tf.map_fn(tf.io.read_file, tf.gather(self._paths, indices))
        contents = tf.numpy_function(self._read, [indices], tf.string, stateful=False)
        return tf.ensure_shape(contents, indices.shape)

    def _read(self, indices):
        return np.array(list(self._images.each(self._images.content, indices)), object)

    def batch(self, indices, *views):
        """As `Decoded.batch`."""
        if self._all_jpeg:
            return self._of_jpegs(indices, *views)
        if not self._any_jpeg:
            return self._of_others(indices, *views)
        jpeg = tf.gather(self._jpeg, indices)
        return tf.cond(
            tf.reduce_all(jpeg),
            lambda: self._of_jpegs(indices, *views),
            lambda: self._of_both(jpeg, indices, *views),
        )

    def _of_both(self, jpeg, indices, *views):
        def part(of, places):
            chosen = (view if view is None else tf.gather(view, places) for view in views)
            return of(tf.gather(indices, places), *chosen)

        places = [tf.where(jpeg)[:, 0], tf.where(~jpeg)[:, 0]]
        parts = [part(self._of_jpegs, places[0]), part(self._of_others, places[1])]
        stitched = tf.dynamic_stitch([tf.cast(place, tf.int32) for place in places], parts)
        return tf.ensure_shape(stitched, [indices.shape[0], *stitched.shape[1:]])

    def _of_jpegs(self, indices, *views):
        contents = self.contents(indices)
        return ops.load_images(contents, *views, **self._options)

    def _of_others(self, indices, *views):
        types = tf.uint8, tf.int64, tf.int32
        values, offsets, sizes = tf.numpy_function(self._pixels, [indices], types, stateful=False)
        values.set_shape([None])
        offsets.set_shape(indices.shape)
        sizes.set_shape([indices.shape[0], 2])
        pixels = ops.Pixels(values, offsets, sizes)
        return ops.augment_images(pixels, *views, shrink=False, **self._options)

    def _pixels(self, indices):
        """`ops.Pixels` of a few images, in NumPy."""

        def pixels(k):
            return self._images.pixels(k, self._kept.get(k))

        found = list(self._images.each(pixels, indices))
        sizes = np.array([image.shape[:2] for image in found], np.int32).reshape(-1, 2)
        lengths = 3 * sizes.prod(axis=1, dtype=np.int64)
        flat = [image.reshape(-1) for image in found]
        return np.concatenate([np.zeros(0, np.uint8), *flat]), np.cumsum(lengths) - lengths, sizes
