"""A data set -> `tf.data` batches, as a pure function of (seed, step).

Position p of the stream is image ``index_shuffle(p mod n)`` of epoch ``p div n``, augmented from
(seed, p). Step s takes positions ``[s B, (s + 1) B)``. So a run that starts again at step s sees
the same bits as one that never stopped, and no iterator has to be saved.

The fast path: a JPEG is decoded in C++, only the part that the window shows and at 1/2, 1/4 or 1/8
of its size where the network needs no more; the window is a crop in whole pixels, so that
TensorFlow's plain bilinear resize (half the time of `crop_and_resize`) does the rest; images stay
uint8 until one XLA-compiled function changes the colours of a whole batch.
"""

import os

import numpy as np
import tensorflow as tf

from yolov1.data.augmentation import Augmentation, Draw, change_colours, draw, move_boxes
from yolov1.data.table import ImageTable
from yolov1.data.targets import encode_targets_in_graph


@tf.autograph.experimental.do_not_convert  # which takes longer than all the tracing
def training_batches(
    dataset,
    grid,
    batch_size,
    *,
    seed,
    start_step=0,
    steps=None,
    augmentation="paper",
    on_collision="first",
    shard=(0, 1),
    cache=True,
    difficult=False,
    num_parallel_calls=None,
):
    """Shuffled, augmented and encoded batches.

    Args:
        dataset: sequence of `Example` with `.classes`.
        grid: `GridSpec`; its C must be the number of classes.
        batch_size: B, images of a step over all shards.
        seed: of order and augmentation.
        start_step: the first step to yield.
        steps: how many batches to yield from there; None: without end.
        augmentation: an `Augmentation` or the name of a preset.
        on_collision: see `encode_targets`.
        shard: (k, W): yield only the k-th of W contiguous slices of every batch.
        cache: True keeps the decoded images in memory where they take at most 1 GiB
            (`table.CACHE_BYTES`); an integer is another limit in bytes; False decodes anew. Cached
            and uncached JPEG differ by the chroma of a window's outermost pixels, nothing else.
        difficult: train on boxes marked difficult too (the published systems leave them out).
        num_parallel_calls: images in work at a time; None: as many as there are cores. (AUTOTUNE
            begins with one, and takes longer than a short run to find the others.)

    Returns:
        `tf.data.Dataset` of (images float32 ``[B / W, H, W, 3]`` in [0, 1], targets float32
        ``[B / W, S, S, C + 5]``, indices int64 ``[B / W]`` into `dataset`), in a fixed order.

    Raises:
        ValueError: an empty data set, a wrong C, or a batch size that W does not divide.
    """
    if isinstance(augmentation, str):
        augmentation = Augmentation.preset(augmentation)
    worker, workers = shard
    if not 0 <= worker < workers or batch_size < 1 or batch_size % workers:
        raise ValueError(
            "training_batches: shard (k, W) needs 0 <= k < W, and W must divide a batch_size of at "
            f"least 1; got shard {tuple(shard)} and batch_size {batch_size}."
        )
    table = ImageTable(dataset, grid, "training_batches", cache=cache, difficult=difficult)
    local = batch_size // workers
    count = len(dataset)

    def image_at(position):
        key = tf.stack([tf.cast(seed, tf.int64), position // count])
        return tf.random.experimental.index_shuffle(position % count, key, count - 1)

    def plan(step):
        """What the images of a step are: everything but the pixels, for all of them at once."""
        positions = step * batch_size + worker * local + tf.range(local, dtype=tf.int64)
        indices = tf.map_fn(image_at, positions)
        drawn = draw(augmentation, seed, positions)
        low, high = table.whole_pixels(indices, drawn.window)
        return (indices, low, high, drawn.flips, drawn.transpose), drawn.colour

    def look(view, colour):
        return table.view(*view), view, colour

    def finish(pixels, view, colours):
        indices, low, high, flips, transpose = view
        boxes, labels, valid = table.boxes(indices)
        seen = Draw(table.fractions(indices, low, high), flips, transpose, colours)
        boxes, valid = move_boxes(boxes, valid, seen, augmentation.min_visible)
        targets, _ = encode_targets_in_graph(boxes, labels, valid, grid, on_collision)
        if augmentation.changes_colours:
            return _coloured(pixels, colours, hue=augmentation.hue > 0), targets, indices
        return _unit(pixels), targets, indices

    last = np.iinfo(np.int64).max if steps is None else start_step + steps
    batches = (
        tf.data.Dataset.range(start_step, last)
        .map(plan)
        .unbatch()
        .map(look, num_parallel_calls or os.cpu_count(), deterministic=True)
        .batch(local, drop_remainder=True)
        .map(finish, num_parallel_calls=2, deterministic=True)
    )
    return _with_options(batches)


@tf.autograph.experimental.do_not_convert
def evaluation_batches(dataset, grid, batch_size, *, num_parallel_calls=None):
    """All images in order, stretched to the network's input; the last batch may be short.

    Returns:
        `tf.data.Dataset` of (images float32 ``[n, H, W, 3]`` in [0, 1], indices int64 ``[n]``). The
        images are those of `training_batches` with augmentation ``"none"``.
    """
    table = ImageTable(dataset, grid, "evaluation_batches", cache=False, encode=False)
    no = tf.constant(False)

    def look(index):
        size = table.sizes(index)
        return table.view(index, tf.zeros_like(size), size, tf.stack([no, no]), no), index

    batches = (
        tf.data.Dataset.range(len(dataset))
        .map(look, num_parallel_calls or os.cpu_count(), deterministic=True)
        .batch(batch_size)
        .map(lambda pixels, indices: (_unit(pixels), indices))
    )
    return _with_options(batches)


@tf.function(jit_compile=True, autograph=False)
def _coloured(pixels, colours, hue):
    return change_colours(tf.cast(pixels, tf.float32) / 255, colours, hue=hue)


def _unit(pixels):
    return tf.cast(pixels, tf.float32) / 255


def _with_options(batches):
    options = tf.data.Options()
    options.deterministic = True
    # The shards are cut here; TensorFlow's own sharding would cut them once more.
    off = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = off
    return batches.with_options(options).prefetch(2)
