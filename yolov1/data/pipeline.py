"""A data set -> batches, as a pure function of (seed, step).

Position p of the stream is an image of epoch ``p div n`` (`yolov1.data.order`), augmented from
(seed, p). Step s takes positions ``[s B, (s + 1) B)``. So a run that starts again at step s sees
the same bits as one that never stopped, and no iterator has to be saved.

A step is one call of a function: where its images lie and how they are looked at is planned for all
of them at once, the image ops (`yolov1.ops.load_images`) make the batch, and the boxes are moved
and encoded as the windows have it. The ops share a batch among the cores themselves.
"""

import functools

import numpy as np
import tensorflow as tf

from yolov1 import ops
from yolov1.data.augmentation import Augmentation
from yolov1.data.cache import CACHE_BYTES, open_images
from yolov1.data.order import shuffled, shuffled_in_blocks
from yolov1.data.table import box_table
from yolov1.kernels import check_sampling

IN_FLIGHT = 2  # steps in work at a time: the ends of one leave cores to the next


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
    neighbours=False,
    shard=(0, 1),
    cache="auto",
    cache_bytes=CACHE_BYTES,
    difficult=False,
    num_parallel_calls=IN_FLIGHT,
    impl="auto",
    say=None,
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
        on_collision, neighbours: see `encode_targets`.
        shard: (k, W): yield only the k-th of W contiguous slices of every batch.
        cache: what is kept of the images. ``"decoded"``: their pixels, at the scale that the
            network needs; ``"encoded"``: the bytes of their files; ``"auto"``: the first of both
            that takes no more than `cache_bytes`; ``"off"``: nothing; ``"device"``: their pixels on
            the first GPU, where the batches are made as well (without a GPU: "decoded"). True is
            "auto", False "off", an integer "auto" with that limit. The batches have the same bits.
        cache_bytes: what "auto" keeps at most. What is asked for by name is kept.
        difficult: train on boxes marked difficult too (the published systems leave them out).
        num_parallel_calls: steps in work at a time.
        impl: of the ops: ``"auto"``, ``"fused"`` or ``"reference"``. Both have the same draws and
            targets; pixels differ by at most 1e-5.
        say: function of a line that tells what is kept, and how large it is.

    Returns:
        `tf.data.Dataset`, or with ``cache="device"`` on a GPU an iterable, in a fixed order: of
        (images float32 ``[B / W, H, W, 3]`` in [0, 1], targets float32 ``[B / W, S, S, C + 5]``,
        indices int64 ``[B / W]`` into `dataset`). Keras' ``fit`` would take the third part for
        weights of the samples: leave it out, by ``batches.map(lambda *parts: parts[:2])`` or, of an
        iterable, in a generator.

    Raises:
        ValueError: an empty data set, a wrong C, another `cache`, or a batch size that W does not
            divide.
        BadExampleError: an image that is to be kept cannot be read.
    """
    if isinstance(augmentation, str):
        augmentation = Augmentation.preset(augmentation)
    worker, workers = shard
    if not 0 <= worker < workers or batch_size < 1 or batch_size % workers:
        raise ValueError(
            "training_batches: shard (k, W) needs 0 <= k < W, and W must divide a batch_size of at "
            f"least 1; got shard {tuple(shard)} and batch_size {batch_size}."
        )
    _refuse_empty(dataset, "training_batches")
    if len(dataset.classes) != grid.C:
        raise ValueError(
            f"training_batches: GridSpec.C must be the number of classes of the data set "
            f"({len(dataset.classes)}: {', '.join(dataset.classes)}), got C={grid.C}."
        )
    images = open_images(
        dataset,
        grid.image_size,
        "training_batches",
        cache=cache,
        cache_bytes=cache_bytes,
        sampling=augmentation.sampling,
        impl=impl,
        say=say,
    )
    boxes = box_table(dataset, difficult)
    with tf.device("CPU:0"):
        sizes = tf.constant(images.shrunk, tf.int32)
    local = batch_size // workers
    order = _order(dataset, seed)

    def plan(step):
        """What a step is: everything but the pixels."""
        positions = step * batch_size + worker * local + tf.range(local, dtype=tf.int64)
        indices = order(positions)
        drawn = ops.draw_augmentation(augmentation, seed, positions, impl=impl)
        targets = ops.encode_targets(
            *(*boxes, indices, tf.gather(sizes, indices), drawn),
            grid=grid,
            on_collision=on_collision,
            min_visible=augmentation.min_visible,
            neighbours=neighbours,
            impl=impl,
        )
        return indices, drawn, targets

    def batch(step):
        indices, drawn, targets = plan(step)
        return images.batch(indices, *drawn), targets, indices

    last = np.iinfo(np.int64).max if steps is None else start_step + steps
    steps = tf.data.Dataset.range(start_step, last)
    if images.device != "CPU:0":
        return OnDevice(images, _in_flight(steps, plan, num_parallel_calls))
    return _in_flight(steps, batch, num_parallel_calls)


def _order(dataset, seed):
    """Function of positions in the stream to indices: in blocks where the data is read from large
    files that no cache of the default size holds. (Whatever this one holds: a run may go on with
    another.)"""
    options = {"count": len(dataset), "seed": seed}
    block = getattr(dataset, "block", None) or 1
    if block > 1 and sum(example.place.length for example in dataset) > CACHE_BYTES:
        return functools.partial(shuffled_in_blocks, block=block, **options)
    return functools.partial(shuffled, **options)


class OnDevice:
    """Batches that are made where the pixels are; an iterator of the host has the rest."""

    def __init__(self, images, plans):
        self._device, self._plans = images.device, plans
        self._make = tf.function(images.batch, autograph=False)

    def __iter__(self):
        for indices, drawn, targets in self._plans:
            with tf.device(self._device):
                images = self._make(indices, *drawn)
            yield images, targets, indices


@tf.autograph.experimental.do_not_convert
def evaluation_batches(
    dataset,
    grid,
    batch_size,
    *,
    resize="half_pixel",
    num_parallel_calls=IN_FLIGHT,
    impl="auto",
):
    """All images in order, stretched to the network's input; the last batch may be short.

    Args:
        resize: ``"half_pixel"``, ``"darknet"`` or ``"darknet_black_row"``: the `sampling` of
            `yolov1.ops.load_images`.
        dataset, grid, batch_size, num_parallel_calls, impl: as of `training_batches`.

    Returns:
        `tf.data.Dataset` of (images float32 ``[n, H, W, 3]`` in [0, 1], indices int64 ``[n]``). The
        images are those of `training_batches` with augmentation ``"none"``.

    Raises:
        ValueError: an empty data set, or another `resize`.
    """
    _refuse_empty(dataset, "evaluation_batches")
    check_sampling("evaluation_batches", resize, name="resize")
    options = {"cache": "off", "sampling": resize, "impl": impl}
    images = open_images(dataset, grid.image_size, "evaluation_batches", **options)
    nothing = [None] * 4

    def batch(indices):
        return images.batch(indices, *nothing), indices

    indices = tf.data.Dataset.range(len(dataset)).batch(batch_size)
    return _in_flight(indices, batch, num_parallel_calls)


def _refuse_empty(dataset, op):
    if not len(dataset):
        raise ValueError(f"{op}: the data set is empty.")


def _in_flight(stream, function, calls):
    """`stream` mapped by `function`, of which so many `calls` are in work at a time; in order."""
    with tf.device("CPU:0"):
        batches = stream.map(function, calls, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    # The shards are cut here; TensorFlow's own sharding would cut them once more.
    off = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = off
    return batches.with_options(options).prefetch(2)
