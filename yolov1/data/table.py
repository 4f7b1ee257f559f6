"""Images and boxes of a data set inside a TensorFlow graph: decode, cut a window, resize.

An image that is larger than the network's input by a factor of 2, 4 or 8 is decoded (or averaged)
to that fraction first: faster, and free of the aliasing of a plain bilinear resize.
"""

import contextlib
import os

import numpy as np
import tensorflow as tf

from yolov1.data import images as image_files
from yolov1.data.example import BadExampleError

CACHE_BYTES = 1 << 30  # decoded images beyond this stay on disk
GREY = 127  # what a window shows outside the image


def shrink_ratio(size, image_size):
    """The largest of 1, 2, 4, 8 by which an image can shrink and still fill the network's input."""
    return max(r for r in (1, 2, 4, 8) if r == 1 or min(size) // r >= image_size)


@contextlib.contextmanager
def reading(dataset):
    """Inside, TensorFlow reads the images of a data set, and does not say which one it cannot.

    Raises:
        BadExampleError: in the place of TensorFlow's error; names the first image that fails.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for example in dataset:
            try:
                image_files.verify(example.path) if example.path else example.image
            except (OSError, ValueError) as reason:
                raise BadExampleError(
                    f"image {example.image_id!r} cannot be read: {reason}. Was it changed after "
                    "the data set was opened? Open it with verify=True and bad_examples='skip' to "
                    "leave such files out."
                ) from error
        raise


class ImageTable:
    """The images and boxes of a data set as tensors, looked up by index inside a graph.

    Args:
        dataset: sequence of `Example` with `.classes`.
        grid: `GridSpec`.
        op: the caller's name, for errors.
        cache: True, False, or a limit in bytes for the decoded images.
        difficult: whether `boxes` has the difficult ones too.
        encode: whether `boxes` is needed, so that classes and grid must fit.

    Raises:
        ValueError: an empty data set, or a C that is not the number of classes.
    """

    def __init__(self, dataset, grid, op, *, cache, difficult=False, encode=True):
        if not len(dataset):
            raise ValueError(f"{op}: the data set is empty.")
        if encode and len(dataset.classes) != grid.C:
            raise ValueError(
                f"{op}: GridSpec.C must be the number of classes of the data set "
                f"({len(dataset.classes)}: {', '.join(dataset.classes)}), got C={grid.C}."
            )
        self.dataset, self.image_size = dataset, grid.image_size
        examples = list(dataset)
        sizes = np.array([e.size for e in examples], np.int64)
        ratios = np.array([shrink_ratio(e.size, grid.image_size) for e in examples], np.int64)
        jpeg = [e.jpeg and e.path is not None for e in examples]
        self._any_jpeg, self._all_jpeg = any(jpeg), all(jpeg)
        with tf.device("CPU:0"):
            self._paths = tf.constant([os.fsencode(e.path or "") for e in examples])
            self._jpeg = tf.constant(jpeg)
            self._ratios = tf.constant(ratios)
            self._halvings = tf.constant(np.log2(ratios).astype(np.int32))
            if encode:
                self._boxes, self._labels = _ragged_boxes(examples, difficult)
            shrunk = -(-sizes // ratios[:, None])
            self._shrunk = tf.constant(shrunk, tf.int32)
            total = int(shrunk.prod(axis=1).sum()) * 3
            limit = CACHE_BYTES if cache is True else int(cache)
            self._cache = None
            if total <= limit:
                self._fill_cache(shrunk)

    def _fill_cache(self, shrunk):
        offsets = np.concatenate([[0], np.cumsum(shrunk.prod(axis=1) * 3)])
        pixels = np.empty(offsets[-1], np.uint8)
        decoded = tf.data.Dataset.range(len(shrunk)).map(
            self._whole, num_parallel_calls=os.cpu_count(), deterministic=True
        )
        with reading(self.dataset):
            for k, image in enumerate(decoded.prefetch(4)):
                pixels[offsets[k] : offsets[k + 1]] = image.numpy().reshape(-1)
        self._offsets, self._cache = tf.constant(offsets), tf.constant(pixels)

    def boxes(self, indices):
        """(boxes_cxcywh ``[N, M, 4]``, labels ``[N, M]``, valid ``[N, M]``) of N images."""
        boxes, labels = (tf.gather(part, indices) for part in (self._boxes, self._labels))
        valid = tf.sequence_mask(labels.row_lengths())
        return boxes.to_tensor(shape=[None, None, 4]), labels.to_tensor(), valid

    def sizes(self, indices):
        """(width, height) of the (shrunk) images, int32 ``[..., 2]``."""
        return tf.gather(self._shrunk, indices)[..., ::-1]

    def whole_pixels(self, indices, windows):
        """Windows as corners in whole pixels, int32 (low ``[N, 2]``, high ``[N, 2]``)."""
        size = tf.cast(self.sizes(indices), tf.float32)
        low = tf.cast(tf.round(windows[:, :2] * size), tf.int32)
        high = tf.cast(tf.round(windows[:, 2:] * size), tf.int32)
        return low, tf.maximum(high, low + 1)

    def fractions(self, indices, low, high):
        """The inverse of `whole_pixels`: float32 ``[N, 4]``."""
        size = self.sizes(indices)
        return tf.cast(tf.concat([low / size, high / size], axis=1), tf.float32)

    def view(self, index, low, high, flips, transpose):
        """The window of an image from pixel `low` to pixel `high`: uint8 ``[H, W, 3]``."""
        size = self.sizes(index)
        seen_low = tf.clip_by_value(low, 0, size - 1)
        seen_high = tf.clip_by_value(high, seen_low + 1, size)
        part = _surround(
            self._part(index, seen_low, seen_high),
            tf.maximum(seen_low - low, 0),
            tf.maximum(high - seen_high, 0),
        )
        part = tf.cond(
            tf.reduce_any(flips),
            lambda: tf.reverse(part, 1 - tf.where(flips)[:, 0]),
            lambda: part,
        )
        resized = tf.raw_ops.ResizeBilinear(
            images=part[None], size=[self.image_size] * 2, half_pixel_centers=True
        )[0]
        pixels = tf.cast(resized + 0.5, tf.uint8)
        return tf.cond(transpose, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)

    def _part(self, index, low, high):
        """Pixels from `low` to `high` (x, y) of a shrunk image, uint8."""
        if self._cache is not None:
            flat = self._cache[self._offsets[index] : self._offsets[index + 1]]
            image = tf.reshape(flat, tf.concat([self._shrunk[index], [3]], axis=0))
            return image[low[1] : high[1], low[0] : high[0]]
        if self._all_jpeg:
            return self._from_jpeg(index, low, high)
        if not self._any_jpeg:
            return self._from_python(index, low, high)
        return tf.cond(
            self._jpeg[index],
            lambda: self._from_jpeg(index, low, high),
            lambda: self._from_python(index, low, high),
        )

    def _whole(self, index):
        size = self.sizes(index)
        return self._part(index, tf.zeros_like(size), size)

    def _from_jpeg(self, index, low, high):
        window = tf.concat([low[::-1], (high - low)[::-1]], axis=0)

        def at(ratio):  # the op takes the ratio as an attribute, so there is one op for each
            return lambda: tf.image.decode_and_crop_jpeg(
                tf.io.read_file(self._paths[index]),
                window,
                channels=3,
                ratio=ratio,
                dct_method="INTEGER_ACCURATE",
            )

        return tf.switch_case(self._halvings[index], [at(1), at(2), at(4), at(8)])

    def _from_python(self, index, low, high):
        def pixels(k, ratio):
            return image_files.shrink(self.dataset[int(k)].image, int(ratio))

        image = tf.numpy_function(pixels, [index, self._ratios[index]], tf.uint8, stateful=False)
        image.set_shape([None, None, 3])
        return image[low[1] : high[1], low[0] : high[0]]


def _surround(image, before, after):
    """Grey around an image, `before` and `after` pixels (x, y): four copies, faster than `pad`."""

    def grey(height, width):
        return tf.fill([height, width, 3], tf.constant(GREY, tf.uint8))

    height = tf.shape(image)[0]
    image = tf.concat([grey(height, before[0]), image, grey(height, after[0])], axis=1)
    width = tf.shape(image)[1]
    return tf.concat([grey(before[1], width), image, grey(after[1], width)], axis=0)


def _ragged_boxes(examples, difficult):
    """(boxes, labels) of all images, each a row of a ragged tensor."""
    kept = [np.full(len(e.labels), True) if difficult else ~e.difficult for e in examples]
    boxes = np.concatenate([e.boxes_cxcywh[k] for e, k in zip(examples, kept, strict=True)])
    labels = np.concatenate([e.labels[k] for e, k in zip(examples, kept, strict=True)])
    lengths = [int(k.sum()) for k in kept]
    return tuple(tf.RaggedTensor.from_row_lengths(part, lengths) for part in (boxes, labels))
