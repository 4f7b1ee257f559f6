"""Values at the edge of what floats hold: defined results, the same from both implementations."""

import functools

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    IMPLS,
    VARIANTS,
    loss_function,
    random_case,
    tie_boxes,
    to_planes,
    value_and_gradient,
)
from yolov1 import kernels, ops
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, LossSemantics

GRIDS = {
    "one box": GridSpec(S=2, B=1, C=3, image_size=32),  # responsible whatever it looks like
    "three boxes": GridSpec(S=2, B=3, C=3, image_size=32),
}
DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
# No square of these lies near float32's largest number, where the order of a sum would matter.
SPECIAL = (np.nan, np.inf, 1e38, 1e30, 1e20, 3e4, 1.0, 0.0, 1e-20, 1e-30, 1e-38, 1e-42, 1e-45)
LARGE = 16.0
VALUES = np.array([sign * value for value in SPECIAL for sign in (1, -1)])


def one_at_a_time(grid):
    """An image for each special value in each number of an object cell and of an empty one, in
    predictions and in targets."""
    predictions, targets = random_case(grid, 1, 1.0, seed=2)
    targets[0, 1] = 0  # row 0 holds objects, row 1 none
    tie_boxes(predictions[:, :, 1], grid)
    images = ([], [])
    for changed, array in enumerate((predictions, targets)):
        for row, channel in np.ndindex(2, array.shape[-1]):
            pair = [np.repeat(x, 2 * len(VALUES), axis=0) for x in (predictions, targets)]
            for col in (0, 1):
                pair[changed][col::2, row, col, channel] = VALUES
            for list_, x in zip(images, pair, strict=True):
                list_.append(x)
    return [np.concatenate(list_) for list_ in images]


def together(grid):
    """Images in which every tenth number is a special value."""
    generator = np.random.default_rng(11)
    arrays = random_case(grid, 400, 0.5, seed=3)
    for array in arrays:
        here = generator.random(array.shape) < 0.1
        array[here] = generator.choice(VALUES, here.sum())
    return arrays


def make_case(kind, grid, layout, dtype):
    with np.errstate(over="ignore", under="ignore"):
        predictions, targets = (array.astype(dtype) for array in kind(grid))
    return to_planes(predictions, grid) if layout == "planes" else predictions, targets


def moderate(case, semantics):
    """The case with no large numbers, but infinite ones, where the overlaps of its boxes are
    differentiated: their fourth powers overflow, and 1 beside them is rounded away, each in an
    order that is an implementation's own."""
    if semantics.box == "squared":
        return case
    return [np.where(np.isfinite(array), array.clip(-LARGE, LARGE), array) for array in case]


def assert_alike(got, want, rtol=1e-5, atol=1e-5):
    """Finite in the same places, and near each other there."""
    got, want = (np.asarray(array).astype(np.float64) for array in (got, want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isfinite(got), finite)
    np.testing.assert_allclose(got[finite], want[finite], rtol=rtol, atol=atol)


def gradient_tolerance(semantics, dtype):
    """An overlap's gradient is a difference of parts that grow as the enclosing box gets thin; and
    of two values that are near each other, rounding to 16 bits makes neighbours."""
    if semantics.box == "squared":
        return {}
    return {"rtol": max(1e-5, float(ml_dtypes.finfo(dtype).eps)), "atol": 1e-4}


@pytest.mark.each_value
@pytest.mark.on_cpu
@pytest.mark.parametrize("kind", (one_at_a_time, together))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("name", GRIDS)
def test_special_values_in_the_kernel(name, layout, dtype, kind):
    """Against the NumPy reference in the kernel's own precision, where it overflows too."""
    grid = GRIDS[name]
    case = make_case(kind, grid, layout, dtype)
    sums = np.float64 if dtype == np.float64 else np.float32
    for semantics in VARIANTS.values():
        arrays, tolerance = moderate(case, semantics), gradient_tolerance(semantics, dtype)
        want = loss_numpy.yolo_loss(*arrays, grid, semantics, layout, sums)
        got = kernels.yolo_loss(*arrays, grid=grid, semantics=semantics, layout=layout)
        assert_alike(got[0], want.loss)
        assert_alike(got[1], want.terms)
        with np.errstate(over="ignore"):
            assert_alike(got[2], want.gradient.astype(dtype), **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", (one_at_a_time, together))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GRIDS)
def test_special_values_in_tensorflow(name, dtype, kind, device):
    """Both implementations. On a GPU the fused one and the CPU's kernel: there TensorFlow's own
    operations take numbers below the smallest normal one for 0, results too, and the op does not.
    """
    grid = GRIDS[name]
    predictions, targets = make_case(kind, grid, "cells", dtype)
    for semantics in VARIANTS.values():
        p, t = moderate((predictions, targets), semantics)
        compute = functools.partial(value_and_gradient, p, t, grid=grid, semantics=semantics)
        got, tolerance = compute(impl="fused"), gradient_tolerance(semantics, dtype)
        if device == "GPU":
            want = kernels.yolo_loss(p, t, grid=grid, semantics=semantics)
            # Of 16 bits the last may differ, as some functions are rounded otherwise there.
            tolerance = {"rtol": max(1e-5, float(ml_dtypes.finfo(dtype).eps)), **tolerance}
        else:
            want = compute(impl="reference")
        assert_alike(got[0], want[0])
        assert_alike(got[1], want[1])
        if semantics.wh == "heron10":  # its derivative in plain TensorFlow is noise near 0
            near = np.abs(predictions[..., grid.box_channels].astype(np.float64)) < 1e-8
            for gradient in (got[2], want[2]):
                gradient[..., grid.box_channels][near] = 0
        # An infinite target beside a size of 0, whose square root has slope 0 here: the product is
        # NaN in the fused gradient, and never taken in the reference.
        sound = np.isfinite(targets.astype(np.float64)).all((1, 2, 3))
        assert_alike(got[2][sound], want[2][sound], **tolerance)


FLAGS = (
    0.0,
    1e-45,
    1e-42,
    2.0**-127,
    2.0**-126,
    2.0**-125,
    6e-8,
    1e-5,
    5e-324,
    2.0**-1022,
    1.0,
    np.nan,
)


@pytest.mark.first_case
@pytest.mark.parametrize("dtypes", (*zip(DTYPES, DTYPES, strict=True), (np.float16, np.float32)))
def test_subnormal_flags_mark_no_object(dtypes):
    """Each as a cell's flag, in every implementation: an object takes part with its class, 1."""
    grid = GRIDS["one box"]
    with np.errstate(under="ignore"):
        flags = np.array([sign * flag for flag in FLAGS for sign in (1, -1)]).astype(dtypes[1])
    targets = np.zeros((len(flags), *grid.target_shape), dtypes[1])
    targets[:, 1, 0, 0] = 1
    targets[:, 1, 0, grid.target_object_channel] = flags
    predictions = np.zeros((len(flags), *grid.prediction_shape), dtypes[0])
    computed = flags.astype(np.float64 if dtypes[1] == np.float64 else np.float32)
    objects = ~(np.abs(computed) < np.finfo(computed.dtype).tiny)
    assert 4 < objects.sum() < len(flags)
    results = [
        kernels.yolo_loss(predictions, targets, grid=grid, version=version)[1]
        for version in kernels.yolo_loss_versions()
    ]
    results.append(loss_numpy.yolo_loss(predictions, targets, grid, VARIANTS["paper"]).terms)
    for impl in IMPLS:
        for xla in (None, True):
            function = tf.function(ops.yolo_loss, jit_compile=xla)
            for call in (ops.yolo_loss, function):
                results.append(call(predictions, targets, grid=grid, impl=impl).terms.numpy())
    for terms in results:
        np.testing.assert_array_equal(terms[:, 4] == 1, objects)


@pytest.mark.each_value
@pytest.mark.parametrize("box", CHOICES["box"])
@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_values_that_are_not_finite(impl, graph, box):
    grid = GridSpec(S=2, B=2, C=3, image_size=32)
    predictions, targets = random_case(grid, 1, 1.0)
    targets[0, 1] = 0  # row 0 holds objects, row 1 none
    compute = loss_function(grid=grid, semantics=LossSemantics(box=box), impl=impl, graph=graph)
    clean, _, clean_gradient = compute(predictions, targets)
    boxes = clean_gradient[0, 0, 0, grid.box_channels].reshape(2, 4)
    responsible = int(np.flatnonzero(boxes.any(1))[0])
    box = grid.box_channels.start + 4 * responsible
    # A TensorFlow graph adds gradients with AddN, which may begin with any of them.
    rtol = 1e-6 if graph and impl == "reference" else 0

    def run(row, channel, value, into_targets=False):
        p, t = predictions.copy(), targets.copy()
        (t if into_targets else p)[0, row, 0, channel] = value
        loss, _, gradient = compute(p, t)
        return loss[0], gradient

    for value in (np.nan, np.inf, -np.inf):
        # Read: object cells' classes and responsible boxes, every confidence, the targets.
        for channel in (0, grid.C, box, box + 2):
            assert not np.isfinite(run(0, channel, value)[0]), channel
        assert not np.isfinite(run(1, grid.C, value)[0])
        for channel in (0, grid.target_object_channel, grid.C + 1, grid.C + 3):
            assert not np.isfinite(run(0, channel, value, into_targets=True)[0]), channel
        # Not read: all else of an empty cell, in the predictions and in the targets.
        for channel, into_targets in (
            (0, False),
            (grid.C + 2, False),
            (0, True),
            (grid.C + 1, True),
        ):
            loss, gradient = run(1, channel, value, into_targets)
            assert loss == clean[0]
            np.testing.assert_allclose(gradient, clean_gradient, rtol)
    # A NaN overlap counts as 0: the box is not chosen, and the other's terms stay.
    other = grid.box_channels.start + 4 * (1 - responsible)
    assert run(0, other, np.nan)[0] == clean[0]


@pytest.mark.parametrize("wh", CHOICES["wh"])
@pytest.mark.parametrize("impl", IMPLS)
def test_sizes_of_zero_and_below_stay_finite(impl, wh):
    grid = GridSpec(S=1, B=2, C=2, image_size=32)
    semantics = LossSemantics(wh=wh, confidence_target="one")
    _, targets = random_case(grid, 1, 1.0)
    for sizes in ([0, 0, 0, 0], [-0.5, 0.2, -1e-30, 0], [1e-45, 1e-38, 1e-30, 1e-8]):
        predictions = np.full((1, 1, 1, 12), 0.5, np.float32)
        predictions[0, 0, 0, [6, 7, 10, 11]] = sizes
        loss, _, gradient = value_and_gradient(
            predictions, targets, grid=grid, semantics=semantics, impl=impl
        )
        assert np.isfinite(loss).all() and np.isfinite(gradient).all(), sizes
        if wh == "sqrt_in_loss" and max(sizes) <= 0:
            assert not gradient[0, 0, 0, [6, 10]].any()


@pytest.mark.parametrize("impl", IMPLS)
def test_float16_gradient_beyond_its_range_is_infinite(impl):
    grid = GRIDS["one box"]
    predictions, targets = random_case(grid, 1, 1.0, dtype=np.float16)
    predictions[0, 0, 0, :2] = 40000, -40000
    predictions[0, 0, 0, 2] = 30000
    loss, _, gradient = value_and_gradient(predictions, targets, grid=grid, impl=impl)
    assert np.isfinite(loss).all()  # summed in float32
    np.testing.assert_array_equal(gradient[0, 0, 0, :2], [np.inf, -np.inf])
    assert gradient[0, 0, 0, 2] == pytest.approx(60000, rel=1e-3)
    assert np.isfinite(gradient).sum() == gradient.size - 2
