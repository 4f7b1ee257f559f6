"""Other libraries' ways to augmented batches, for `bench_input_pipeline`.

Each function takes what is to be made (`input_pipeline_providers.Work`) and returns a function that
starts anew: a generator of batches without end, float32 ``[B, size, size, 3]`` in [0, 1], which
stops its threads when it is closed. Optional packages are imported where they are used.
"""

import contextlib
import itertools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from yolov1.data.augmentation import GREY

CORES = len(os.sched_getaffinity(0))
AHEAD = 2  # batches made before they are asked for, where a library leaves it to us


def in_order(threads, ahead, start):
    """Results without end, made by a pool of threads.

    Args:
        threads: how many.
        ahead: results that are being made while one is taken.
        start: ``start(pool, k)`` starts the k-th and gives a function that waits for it.
    """
    pool, waiting = ThreadPoolExecutor(threads), deque()
    try:
        for k in itertools.count():
            waiting.append(start(pool, k))
            if len(waiting) > ahead:
                yield waiting.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)


# ------------------------------------------------------------------- OpenCV on threads, and grain


def augmented(pixels, size, augmentation, rng) -> np.ndarray:
    """An image as `Augmentation` draws it, by OpenCV: uint8 ``[size, size, 3]``.

    S and V are changed through tables of 256 values, as is done where speed counts.

    Args:
        pixels: uint8 ``[H, W, 3]``, RGB.
        size: side of the result.
        augmentation: without vertical flips, transposition and hue.
        rng: NumPy's generator.
    """
    import cv2

    a, u = augmentation, rng.random(9)
    whole = np.array(pixels.shape[1::-1])
    side, centre = 1 + a.scale * (2 * u[:2] - 1), 0.5 + a.translate * (2 * u[2:4] - 1)
    low, high = (np.rint((centre + s * side / 2) * whole).astype(int) for s in (-1, 1))
    (x0, y0), (x1, y1) = seen_low, seen_high = np.maximum(low, 0), np.minimum(high, whole)
    (left, top), (right, bottom) = seen_low - low, high - seen_high
    window = cv2.copyMakeBorder(
        pixels[y0:y1, x0:x1], top, bottom, left, right, cv2.BORDER_CONSTANT, value=[GREY] * 3
    )
    image = cv2.resize(window, (size, size))
    if u[4] < a.flip:
        image = cv2.flip(image, 1)
    if not a.changes_colours:
        return image
    factors = 1 + u[5:7] * (np.array([a.saturation, a.exposure]) - 1)
    factors = [1, *np.where(u[7:9] < 0.5, factors, 1 / factors)]
    table = np.clip(np.arange(256)[:, None] * factors, 0, 255).astype(np.uint8)
    image = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table[None])
    return cv2.cvtColor(image, cv2.COLOR_HSV2RGB)


@contextlib.contextmanager
def _one_thread_of_opencv():
    """Inside, OpenCV starts no threads of its own beside those that call it."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def with_simplejpeg(augment):
    """A thread for each core that decodes by simplejpeg, at a fraction where that is enough, and
    writes straight into the batch."""

    def maker(work):
        import cv2
        import simplejpeg

        size = work.grid.image_size

        def write(target, position):
            encoded = Path(work.path(position)).read_bytes()
            image = simplejpeg.decode_jpeg(encoded, min_height=size, min_width=size)
            if augment:
                image = augmented(image, size, work.augmentation, np.random.default_rng(position))
            else:
                image = cv2.resize(image, (size, size))
            np.multiply(image, np.float32(1 / 255), out=target)

        def start(pool, k):
            images = np.empty((work.batch_size, size, size, 3), np.float32)
            positions = range(k * work.batch_size, (k + 1) * work.batch_size)
            parts = [pool.submit(write, *at) for at in zip(images, positions, strict=True)]
            return lambda: (images, [part.result() for part in parts])[0]

        def batches():
            with _one_thread_of_opencv():
                yield from in_order(CORES, AHEAD, start)

        return batches

    return maker


def with_grain(work):
    """Decoded by OpenCV, as no decoder comes with it; images, not batches, are made in parallel.

    A thread for each core, and two batches ahead: 16 threads and 500 images, its defaults, cost
    more on few cores.
    """
    import cv2
    import grain

    size = work.grid.image_size
    reduced = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2}
    reduced |= {4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    how = reduced[work.ratio]

    def image(path, rng):
        pixels = cv2.cvtColor(cv2.imread(path, how), cv2.COLOR_BGR2RGB)
        pixels = augmented(pixels, size, work.augmentation, rng)
        return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)

    images = grain.MapDataset.source(work.paths).seed(0).shuffle().repeat()
    options = grain.ReadOptions(num_threads=CORES, prefetch_buffer_size=AHEAD * work.batch_size)
    made = images.random_map(image).to_iter_dataset(options).batch(work.batch_size)

    def batches():
        with _one_thread_of_opencv():
            yield from made

    return batches


# ------------------------------------------------------------------------------------ Keras' layers


def with_keras(work):
    """What a user of Keras writes. Exposure is its brightness, which adds and does not scale."""
    a, size = work.augmentation, work.grid.image_size
    layers, grey = keras.layers, {"fill_mode": "constant", "fill_value": GREY / 255}
    steps = []
    if a.flip:
        steps.append(layers.RandomFlip("horizontal", seed=0))
    if a.translate:
        steps.append(layers.RandomTranslation(a.translate, a.translate, seed=1, **grey))
    if a.scale:
        steps.append(layers.RandomZoom((-a.scale, a.scale), (-a.scale, a.scale), seed=2, **grey))
    if a.saturation > 1:  # a factor f scales saturation by f / (1 - f)
        ends = 1 / (1 + a.saturation), a.saturation / (1 + a.saturation)
        steps.append(layers.RandomSaturation(ends, value_range=(0, 1), seed=3))
    if a.exposure > 1:
        steps.append(layers.RandomBrightness((a.exposure - 1) / 2, value_range=(0, 1), seed=4))
    resize = layers.Resizing(size, size)

    def image(path):
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(resize(pixels), tf.float32) / 255

    def augment(images):
        for step in steps:
            images = step(images, training=True)
        return images

    images = tf.data.Dataset.from_tensor_slices(work.paths)
    images = images.shuffle(len(work.dataset), seed=0).repeat().map(image, CORES)
    made = images.batch(work.batch_size, drop_remainder=True).map(augment, CORES).prefetch(AHEAD)
    return lambda: (images for images in made)


# ------------------------------------------------------------------------------------- NVIDIA DALI


def with_dali(work):
    """Its operators for the CPU, in the fastest order that we found: only what the window shows is
    decoded and resized, colours are changed as floating point, and grey is put around at the end.

    Its HSV is a linear approximation, and it does not decode at a fraction of the size.
    """
    from nvidia.dali import fn, math, pipeline_def, types

    a, size = work.augmentation, float(work.grid.image_size)
    numbers = {"dtype": types.FLOAT}

    def factor(most):
        value = 1 + (most - 1) * fn.random.uniform(range=[0, 1])
        up = fn.cast(fn.random.coin_flip(), **numbers)
        return up * value + (1 - up) / value

    @pipeline_def(
        batch_size=work.batch_size,
        num_threads=CORES,
        device_id=None,
        prefetch_queue_depth=AHEAD,
        seed=0,
    )
    def graph():
        encoded, _ = fn.readers.file(files=work.paths, shuffle_after_epoch=True)
        side = 1 + a.scale * fn.random.uniform(range=[-1, 1], shape=2)
        low = 0.5 + a.translate * fn.random.uniform(range=[-1, 1], shape=2) - side / 2
        start, end = math.clamp(low, 0.0, 1.0), math.clamp(low + side, 0.0, 1.0)
        image = fn.decoders.image_slice(encoded, rel_start=start, rel_end=end, axis_names="HW")
        shown = size * (end - start) / side
        image = fn.resize(image, size=shown, **numbers)
        if a.changes_colours:
            saturation, value = factor(a.saturation), factor(a.exposure)
            image = fn.hsv(image, saturation=saturation, value=value, **numbers)
        # Where the part that is shown lies, as a share of the grey around it.
        place = math.clamp(size * (start - low) / side / math.max(size - shown, 1.0), 0.0, 1.0)
        image = fn.crop_mirror_normalize(
            image,
            crop=[size, size],
            crop_pos_y=place[0],
            crop_pos_x=place[1],
            out_of_bounds_policy="pad",
            fill_values=[GREY / 255] * 3,
            mirror=fn.random.coin_flip(probability=a.flip),
            mean=[0.0] * 3,  # a number for each channel, as the grey has
            std=[255.0] * 3,
            output_layout="HWC",
        )
        return math.clamp(image, 0.0, 1.0)

    def batches():
        pipeline = graph()
        while True:  # a batch lives until the next one
            yield pipeline.run()[0].as_tensor()

    return batches
