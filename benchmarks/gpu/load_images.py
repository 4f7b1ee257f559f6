"""Pixels to an augmented batch for `benchmarks.gpu`: calls, and checks against the CPU's bits."""

import dataclasses

import ml_dtypes  # noqa: F401  # NumPy knows bfloat16 then
import numpy as np

from benchmarks.gpu.device import handed
from yolov1 import kernels
from yolov1.kernels import Pixels

# Heights and widths: least and most of each.
PLACES = {
    "photos": (375, 375, 500, 500),
    "ragged": (1, 90, 1, 90),
    "thin": (1, 3, 1, 200),
    "large": (100, 300, 100, 300),
}
SIZES = (1, 3, 16, 17, 31, 32, 33, 48, 64)
# Of the first image, a number that does not fit.
WRONG = ("offset", "height", "window", "colour")


@dataclasses.dataclass(frozen=True)
class ImagesCase:
    images: int = 3
    size: int = 48
    dtype: str = "float32"
    place: str = "ragged"
    draws: str = "all"  # or "paper": no vertical flip, no transposing, no hue; or "none"
    shrink: bool = True
    sampling: str = "half_pixel"
    offset: int = 0  # of the pixels in bytes, of the result in elements
    wrong: str = ""  # or one of WRONG


def cases(small):
    """Every size with every dtype, every kind of image and draws, and what depends on addresses."""
    for dtype in kernels.IMAGE_DTYPES:
        for k, size in enumerate(SIZES if small else (*SIZES, 112, 320, 448)):
            yield ImagesCase(size=size, dtype=dtype, offset=k % 4)
        for place in PLACES:
            for size in (16, 17) if small else (16, 17, 32, 224):
                yield ImagesCase(size=size, dtype=dtype, place=place, draws="paper")
        for wrong in WRONG:
            yield ImagesCase(size=20, dtype=dtype, wrong=wrong)
    for place in PLACES:
        for shrink in (True, False):
            yield ImagesCase(2, 32, place=place, shrink=shrink, draws="none")
        for sampling in kernels.SAMPLINGS[1:]:
            yield ImagesCase(size=33, place=place, sampling=sampling)
    for images in (0, 1, 33) if small else (0, 1, 33, 300):
        yield ImagesCase(images, 16, draws="paper")
    if not small:
        for dtype in kernels.IMAGE_DTYPES:
            yield ImagesCase(64, 448, dtype, "photos", "paper")


def inputs(checks, case):
    """`Pixels` and draws, as arrays in the order of the op's inputs."""
    generator = checks.generator(dataclasses.replace(case, offset=0))
    return make_inputs(generator, case)


def make_inputs(generator, case):
    least, most = np.reshape(PLACES[case.place], (2, 2)).T
    sizes = generator.integers(least, most + 1, (case.images, 2), np.int32)
    counts = 3 * sizes.prod(1, dtype=np.int64)
    offsets = np.cumsum(counts) - counts
    values = generator.integers(0, 256, counts.sum(), np.uint8)
    windows = np.tile(np.float32([0, 0, 1, 1]), (case.images, 1))
    flips, transpose = np.zeros((case.images, 2), bool), np.zeros(case.images, bool)
    colours = np.tile(np.float32([0, 1, 1]), (case.images, 1))
    if case.draws != "none":
        side = generator.uniform(0.8, 1.2, (case.images, 2))
        centre = generator.uniform(0.3, 0.7, (case.images, 2))
        windows = np.concatenate([centre - side / 2, centre + side / 2], 1).astype(np.float32)
        flips[:, 0] = generator.random(case.images) < 0.5
        colours[:, 1:] = generator.uniform(1 / 1.5, 1.5, (case.images, 2))
    if case.draws == "all":
        flips[:, 1], transpose[:] = generator.random((2, case.images)) < 0.5
        colours[:, 0] = generator.uniform(-0.5, 0.5, case.images)
        colours[generator.random(case.images) < 0.3] = 0, 1, 1
    made = values, offsets, sizes, windows, flips, transpose, colours
    return [np.ascontiguousarray(x) for x in made]


def options_of(case):
    return {name: getattr(case, name) for name in ("size", "dtype", "shrink", "sampling")}


def shown_bytes(sizes, windows) -> int:
    """Of the pixels that windows show, where images are not shrunk."""
    sides = sizes[:, ::-1].astype(np.float32)
    low, high = (np.rint(windows[:, at] * sides) for at in (slice(0, 2), slice(2, 4)))
    shown = np.minimum(np.maximum(high, low + 1), sides) - np.maximum(low, 0)
    return int(3 * np.maximum(shown, 0).prod(1).sum())


def damage(case, arrays):
    """The arrays with a number of the first image that does not fit."""
    values, offsets, sizes, windows, flips, transpose, colours = (x.copy() for x in arrays)
    if case.wrong == "offset":
        offsets[0] = len(values) - 2
    if case.wrong == "height":
        sizes[0, 0] = -1
    if case.wrong == "window":
        windows[0, 2] = np.nan
    if case.wrong == "colour":
        colours[0, 1] = -1
    return values, offsets, sizes, windows, flips, transpose, colours


class ImagesCall:
    """One call on the device, its inputs there and its output poisoned."""

    def __init__(self, device, case, *arrays):
        values, *others = arrays
        self._options = options_of(case)
        self._inputs = [device.put(values, case.offset), *map(device.put, others)]
        shape = case.images, case.size, case.size, 3
        self._output = device.poisoned(shape, np.dtype(case.dtype), case.offset)

    def __call__(self, stream):
        inputs = [*map(handed, self._inputs)]
        out = handed(self._output.array)
        kernels.augment_images(
            Pixels(*inputs[:3]), *inputs[3:], **self._options, stream=stream, out=out
        )

    def read(self):
        return [self._output.read()]


def check(checks, case):
    arrays = inputs(checks, case)
    call = ImagesCall(checks.device, case, *damage(case, arrays))
    call(checks.device.stream())
    checks.device.synchronize()
    (got,) = call.read()
    want = kernels.augment_images(Pixels(*arrays[:3]), *arrays[3:], **options_of(case))
    if case.wrong:
        filled = np.isnan(got[0].astype(np.float32)) if case.dtype != "uint8" else got[0] == 0
        checks.near("images, one that does not fit", case, filled, np.ones(filled.shape), 0)
        got, want = got[1:], want[1:]
    checks.same("images, CPU", case, [got], [want])
