"""Images to a batch: the same bits for any threads, SIMD level, alignment and way of writing."""

import ml_dtypes
import numpy as np
import pytest

from tests.ops.test_yolo_loss_bits import shifted
from yolov1 import kernels

pytestmark = pytest.mark.on_cpu
DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.uint8)
SIZES = (1, 3, 15, 16, 17, 31, 112, 448)
COLOURS = {
    "as they are": (0, 1, 1),
    "factors": (0, 0.4, 1.3),
    "hue": (0.37, 1.5, 0.9),
    "darknet": (0.1, 1.5, 0.9),
    "darknet_black_row": (0, 1, 1),
}
WINDOWS = ((0, 0, 1, 1), (0.2, 0.3, 0.7, 0.9), (-0.4, -0.2, 1.3, 1.1), (0.3, 1.2, 0.9, 1.6))
IMAGES = 11


def levels():
    return kernels.extension().versions("Yolov1>AugmentImages", False)


def case(size, colour="as they are", seed=0):
    """A call's config but for the dtype, and its inputs: images of several sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 80, (IMAGES, 2), dtype=np.int32)
    sizes[0] = 2 * size, 2 * size + 3  # it shrinks
    ends = np.cumsum(3 * sizes.prod(axis=1, dtype=np.int64))
    values = shifted(rng.integers(0, 256, ends[-1], dtype=np.uint8), 1)
    windows = np.float32([WINDOWS[k % len(WINDOWS)] for k in range(IMAGES)])
    flips, transpose = rng.random((IMAGES, 2)) < 0.5, np.arange(IMAGES) % 3 == 2
    colours = np.tile(np.float32(COLOURS[colour]), (IMAGES, 1))
    offsets = np.concatenate([[0], ends[:-1]])
    sampling = f" sampling={colour}" if "darknet" in colour else ""
    inputs = values, offsets, sizes, windows, flips, transpose, colours
    return f"size={size} shrink=True{sampling}", inputs


def run(config, inputs, dtype, offset=0, **options):
    """The batch, in memory that begins `offset` elements after a multiple of 64 bytes."""
    size = int(config.split()[0].removeprefix("size="))
    out = shifted(np.zeros((len(inputs[1]), size, size, 3), dtype), offset)
    config = f"{config} dtype={np.dtype(dtype).name}"
    kernels.call("Yolov1>AugmentImages", config, inputs, outputs=[out], **options)
    return out


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", SIZES)
def test_levels_alignments_and_threads(past_caches, size, colour, dtype):
    config, inputs = case(size, colour)
    alone = [  # each image in a call of its own
        run(
            config,
            (inputs[0], *(array[k : k + 1] for array in inputs[1:])),
            dtype,
            version="baseline",
        )
        for k in range(IMAGES)
    ]
    want = np.concatenate(alone).tobytes()
    assert len(set(image.tobytes() for image in alone)) > 1
    for level in levels():
        for offset, threads in ((0, 1), (1, 2), (0, 5)):
            got = run(config, inputs, dtype, offset, threads=threads, version=level)
            assert got.tobytes() == want, (level, offset, threads)


@pytest.mark.parametrize("size", (16, 17))
def test_every_colour_has_the_same_bits(size):
    """All hues, at every level: pixels of few values too, whose channels are equal or nearly so."""
    config, inputs = case(size)
    rng = np.random.default_rng(3)
    for turn in rng.uniform(-2, 2, 20):
        values = rng.integers(0, rng.choice([2, 3, 256]), inputs[0].shape, dtype=np.uint8)
        colours = np.float32(np.stack([np.full(IMAGES, turn), *rng.uniform(0, 3, (2, IMAGES))], 1))
        call = config, (values, *inputs[1:-1], colours), np.float32
        assert len({run(*call, version=level).tobytes() for level in levels()}) == 1


@pytest.mark.parametrize(
    "shapes",
    [
        {1: (IMAGES + 1,)},
        {2: (IMAGES - 1, 2)},
        {3: (IMAGES - 1, 4)},
        {4: (IMAGES + 1, 2)},
        {5: (2 * IMAGES,)},
        {6: (1, 3)},
        {3: (2 * IMAGES, 4), 4: (2 * IMAGES, 2), 5: (2 * IMAGES,), 6: (2 * IMAGES, 3)},
        {3: ()},
        {5: ()},
        {2: ()},
    ],
    ids=str,
)
def test_inputs_of_other_shapes_are_refused(shapes):
    config, inputs = case(16)
    inputs = list(inputs)
    for k, shape in shapes.items():
        inputs[k] = np.zeros(shape, inputs[k].dtype)
    with pytest.raises(ValueError, match="augment_images: .* got "):
        run(config, inputs, np.float32)


def test_files_and_draws_of_other_numbers_are_refused():
    *_, windows, flips, transpose, colours = case(16)[1]
    for contents in ([b""], [b""] * (IMAGES + 1)):
        inputs = np.array(contents, object), windows, flips, transpose, colours
        with pytest.raises(ValueError, match=r"load_images: for n images .* for n = "):
            kernels.call("Yolov1>LoadImages", "size=16 dtype=uint8", inputs)
