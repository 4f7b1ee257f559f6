"""What a kernel of the YOLO loss must do: values, ties, properties, bits, special values.

The reference is the tests' second implementation in NumPy (`tests.ops.loss_numpy`), in float64: it
gathers the cells that hold an object and computes those alone. Objects whose responsible box
float32 cannot tell are left out. A *kernel* is here a function of ``(predictions, targets, grid,
layout)`` to ``(loss [N], gradient)`` or ``(loss, gradient, terms [N, 5])``, all NumPy's in float32.
"""

import numpy as np

from tests.ops import loss_numpy
from tests.ops.matrix import GRIDS
from yolov1.grid import GridSpec

NEAR = 4e-5  # of an array's largest value: what float32 may be off by
SHARES = (0.0, 0.06, 0.5, 1.0)  # of cells that hold an object
SMALL = GridSpec(S=2, B=3, C=3, image_size=32)
# No square of these lies near float32's largest number, where the order of a sum would matter.
SPECIAL = (np.nan, np.inf, 1e30, 1e20, 3e4, 1.0, 0.0, 1e-20, 1e-30)
SPECIAL = np.array([sign * value for value in SPECIAL for sign in (1, -1)], np.float32)


def random_case(generator, grid, images, share, ties=False):
    """Predictions and targets in float32; with `ties`, the boxes of every second cell are equal."""
    predictions = generator.uniform(0.05, 0.95, (images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (images, *grid.target_shape))
    targets[..., grid.target_object_channel] = 1
    targets *= generator.random((images, grid.S, grid.S, 1)) < share
    if ties:
        cells = predictions.reshape(-1, grid.channels)
        cells[::2, grid.box_channels] = np.tile(cells[::2, grid.box_channels][:, :4], grid.B)
    return predictions.astype(np.float32), targets.astype(np.float32)


def decided(predictions, targets, grid, semantics):
    """Targets without the objects whose responsible box float32 may see otherwise."""
    doubtful = loss_numpy.undecided(predictions, targets, grid, semantics)
    return np.where(doubtful.reshape(*targets.shape[:3], 1), np.float32(0), targets)


def cases(checks, semantics):
    """(name, grid, predictions, targets): every grid, density and number of images."""
    for name, grid in GRIDS.items():
        for images, share in [(0, 0.5), (1, 1.0), *((5, share) for share in SHARES)]:
            for ties in (False, True) if share >= 0.5 and images else (False,):
                case = f"{name}, N={images}, {share:.0%} objects{', ties' * ties}"
                pair = random_case(checks.generator(case), grid, images, share, ties)
                yield case, grid, pair[0], decided(*pair, grid, semantics)
    yield "boxes apart", *_apart(checks, semantics)


def _apart(checks, semantics):
    """Nothing overlaps, and no two boxes are equally far."""
    grid = GRIDS["many boxes"]
    predictions, targets = random_case(checks.generator("apart"), grid, 4, 0.5)
    boxes = predictions[..., grid.box_channels]
    boxes += np.where(np.arange(4 * grid.B) % 4 < 2, 40, 0).astype(np.float32)
    return grid, predictions, decided(predictions, targets, grid, semantics)


def check(checks, kernel, semantics, layout="cells"):
    """All checks of a kernel, into `checks`."""

    def run(predictions, targets, grid):
        if layout == "planes":
            predictions = loss_numpy.join(*loss_numpy.split(predictions, grid), grid, "planes")
        return kernel(predictions, targets, grid, layout)

    for case, grid, predictions, targets in cases(checks, semantics):
        arrays = predictions, targets, grid
        checks.run("values", case, lambda a=arrays, c=case: _values(checks, run, semantics, c, *a))
    grid = GRIDS["many boxes"]
    predictions, targets = random_case(checks.generator("properties"), grid, 6, 0.3)
    arrays = predictions, decided(predictions, targets, grid, semantics), grid
    for name, test in PROPERTIES.items():
        checks.run("properties", name, lambda t=test, n=name: t(checks, n, run, *arrays))
    checks.run("same bits", "again and elsewhere", lambda: _bits(checks, run, *arrays))
    for which in (0, 1):
        name = ("predictions", "targets")[which]
        checks.run("special values", name, lambda w=which: _special(checks, run, semantics, w))


def _values(checks, run, semantics, case, predictions, targets, grid):
    given = predictions.copy(), targets.copy()
    want = loss_numpy.yolo_loss(predictions, targets, grid, semantics)
    got = run(*given, grid)
    checks.near("values, loss", case, got[0], want.loss, NEAR)
    checks.near("values, gradient", case, _as_cells(got[1], grid), want.gradient, NEAR)
    if len(got) > 2:
        checks.near("values, terms", case, got[2], want.terms, NEAR)
    checks.same("inputs left alone", case, given, (predictions, targets))


def _as_cells(gradient, grid):
    """A gradient of either layout as one of cells."""
    if np.ndim(gradient) == 2:
        gradient = loss_numpy.join(*loss_numpy.split(gradient, grid, "planes"), grid)
    return gradient


# ------------------------------------------------------------------------------------- properties


def _alike(checks, name, got, want):
    for one, other in zip(got[:2], want[:2], strict=True):
        checks.near("properties", name, one, other, NEAR)


def _alone(checks, name, run, predictions, targets, grid):
    whole = run(predictions, targets, grid)
    for k in range(len(predictions)):
        alone = run(predictions[k : k + 1], targets[k : k + 1], grid)
        _alike(checks, name, alone, [array[k : k + 1] for array in whole])


def _permuted(checks, name, run, predictions, targets, grid):
    order = np.arange(len(predictions))[::-1]
    whole = run(predictions, targets, grid)
    other = run(*(np.ascontiguousarray(x[order]) for x in (predictions, targets)), grid)
    _alike(checks, name, other, [np.asarray(array)[order] for array in whole[:2]])


def _unread(checks, name, run, predictions, targets, grid):
    """Classes and boxes of cells without an object are not read, in predictions and targets."""
    empty = targets[..., grid.target_object_channel] == 0
    p, t = predictions.copy(), targets.copy()
    for array, channels in (
        (p, (grid.class_channels, grid.box_channels)),
        (t, (slice(0, grid.C), grid.target_box_channels)),
    ):
        for block in channels:
            array[..., block][empty] = 7.5
    _alike(checks, name, run(p, t, grid), run(predictions, targets, grid))


def _flags(checks, name, run, predictions, targets, grid):
    """An object flag of any value but 0 counts as 1 does."""
    other = targets.copy()
    other[..., grid.target_object_channel] *= -0.25
    _alike(checks, name, run(predictions, other, grid), run(predictions, targets, grid))


PROPERTIES = {
    "an image has the loss that it has alone": _alone,
    "the order of images does not matter": _permuted,
    "what the loss does not read has no effect": _unread,
    "a flag of any value but 0 is an object": _flags,
}


# ----------------------------------------------------------------------------- bits, special values


def shifted(array, elements):
    """A copy whose address is so many elements behind a multiple of 64."""
    memory = np.empty(array.nbytes + 64 + elements * array.itemsize, np.uint8)
    begin = -memory.ctypes.data % 64 + elements * array.itemsize
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _bits(checks, run, predictions, targets, grid):
    first = [np.array(array) for array in run(predictions, targets, grid)]
    for offset in (0, 0, 1, 3):
        again = run(shifted(predictions, offset), shifted(targets, offset), grid)
        checks.same("same bits", f"offset {offset}", list(map(np.asarray, again)), first)


def special_case(which):
    """An image for each special value in each number of an object cell and of an empty one, in
    predictions (0) or targets (1)."""
    grid = SMALL
    arrays = random_case(np.random.default_rng(2), grid, 1, 1.0)
    arrays[1][0, 1] = 0  # row 0 holds objects, row 1 none
    images = [[], []]
    for row, channel in np.ndindex(2, arrays[which].shape[-1]):
        pair = [np.repeat(array, len(SPECIAL), axis=0) for array in arrays]
        pair[which][:, row, 0, channel] = SPECIAL
        for several, array in zip(images, pair, strict=True):
            several.append(array)
    return grid, *map(np.concatenate, images)


def _special(checks, run, semantics, which):
    """Against the reference in float32, which overflows too: finite in the same places, and near
    each other there."""
    grid, predictions, targets = special_case(which)
    with np.errstate(all="ignore"):
        want = loss_numpy.yolo_loss(predictions, targets, grid, semantics, dtype=np.float32)
    got = run(predictions, targets, grid)
    pairs = (got[0], want.loss), (_as_cells(got[1], grid), want.gradient)
    for name, (mine, true) in zip(("loss", "gradient"), pairs, strict=True):
        case = f"{name}, special values in {('predictions', 'targets')[which]}"
        mine, true = np.asarray(mine, np.float64), np.asarray(true, np.float64)
        if mine.shape != true.shape:
            raise ValueError(f"shape {mine.shape}, expected {true.shape}")
        finite = np.isfinite(true)
        checks.same("special values", f"{case}: finite", [np.isfinite(mine)], [finite])
        both = finite & np.isfinite(mine)
        off = np.abs(mine[both] - true[both]) / (1e-5 + 1e-5 * np.abs(true[both]))
        checks.near("special values", case, np.maximum(off, 1), np.ones_like(off), 0.0)
