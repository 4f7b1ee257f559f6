"""The kernel against the NumPy reference, and what holds for any boxes whatever."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import iou_numpy
from tests.ops.iou_cases import DTYPES, FORMATS, KINDS, OPS, in_format, random_upstream
from yolov1 import kernels

pytestmark = pytest.mark.on_cpu

# The same examples in every run.
PROFILE = settings(max_examples=600, deadline=None, derandomize=True, database=None)
several = pytest.mark.parametrize("examples", (100, pytest.param(600, marks=pytest.mark.slow)))
# Of the value, of the gradient (of the largest): roundings of lengths of at least 1 / 8.
TOLERANCES = {8: (1e-14, 2e-13), 4: (4e-6, 4e-5), 2: (2**-8, 2**-7)}
Case = collections.namedtuple("Case", "op a b valid_a valid_b options threads version")


@st.composite
def boxes(draw, shape, box_format):
    """Corners on a grid of 1 / 8, full of ties, or anywhere at all; some inverted."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = generator.integers(0, 9, (*shape, 2)) / 8
    size = generator.integers(draw(st.sampled_from((-2, 0, 1))), 9, (*shape, 2)) / 8
    if draw(st.booleans()):
        low, size = (x + generator.uniform(0, 0.125, x.shape) for x in (low, size + 0.125))
    return in_format(np.concatenate([low, low + size], -1), box_format)


@st.composite
def cases(draw):
    op, box_format = draw(st.sampled_from(OPS)), draw(st.sampled_from(FORMATS))
    leading = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    dtype, sides = draw(st.sampled_from(DTYPES)), []
    for _ in range(2):
        shape = tuple(size if draw(st.booleans()) else 1 for size in leading)
        shape = shape[draw(st.integers(0, len(shape))) :]
        if op == "pairwise_iou":
            shape += (draw(st.integers(0, 40)),)
        array = draw(boxes(shape, box_format)).astype(dtype)
        masked = draw(st.booleans())
        mask = np.random.default_rng(len(sides)).random(shape) < 0.7 if masked else None
        sides.append((array, mask))
    (a, valid_a), (b, valid_b) = sides
    options = dict(kind=draw(st.sampled_from(KINDS)), box_format=box_format)
    version = draw(st.sampled_from(kernels.box_iou_versions()))
    return Case(op, a, b, valid_a, valid_b, options, draw(st.integers(1, 4)), version)


def run(case, a=None, b=None, upstream=None):
    """Value, and gradients where there is an `upstream`."""
    a, b = case.a if a is None else a, case.b if b is None else b
    options = case.options | dict(valid_a=case.valid_a, valid_b=case.valid_b)
    options |= dict(threads=case.threads, version=case.version)
    if upstream is None:
        return getattr(kernels, case.op)(a, b, **options)
    return getattr(kernels, f"{case.op}_gradient")(a, b, upstream, **options)


def rounded_alike(case):
    """Whether the dtype rounds no corner: else a tie may be one on one side only."""
    exact = case.options["box_format"] == "xyxy" or case.a.dtype == np.float64
    return exact or case.a.dtype.itemsize == 2


@several
def test_kernel_is_the_numpy_reference(examples):
    seen = collections.Counter()

    @settings(PROFILE, max_examples=examples)
    @given(cases())
    def check(case):
        tolerance, slope = TOLERANCES[case.a.dtype.itemsize]
        masks = case.valid_a, case.valid_b
        want = iou_numpy.iou(case.op, case.a, case.b, 1, *masks, **case.options)[0]
        got = run(case)
        assert got.shape == want.shape and got.dtype == case.a.dtype
        np.testing.assert_allclose(got.astype(float), want, rtol=tolerance, atol=tolerance)
        seen["pairs"] += want.size
        seen["overlapping"] += np.count_nonzero(want)
        if not rounded_alike(case):
            return
        upstream = random_upstream(want.shape, case.a.dtype)
        want = iou_numpy.iou(case.op, case.a, case.b, upstream, *masks, **case.options)
        for one, other in zip(run(case, upstream=upstream), want[1:], strict=True):
            most = np.abs(other).max(initial=8)
            np.testing.assert_allclose(one.astype(float), other, rtol=0, atol=slope * most)
        seen["gradients"] += 1

    check()
    assert seen["overlapping"] > 17 * examples and seen["gradients"] > examples / 2, seen


@several
def test_range_symmetry_and_units(examples):
    @settings(PROFILE, max_examples=examples)
    @given(cases())
    def check(case):
        value, kind, dtype = run(case).astype(float), case.options["kind"], case.a.dtype
        margin = 4 * {8: 2.0**-53, 4: 2.0**-24}.get(dtype.itemsize, 2.0**-24)
        ordered = case.options["box_format"] == "xyxy" and all(
            (boxes[..., 2:] >= boxes[..., :2]).all() for boxes in (case.a, case.b)
        )
        low = {"iou": 0, "giou": -1, "diou": -1, "ciou": -2}[kind]
        if ordered or kind in ("iou", "giou"):
            assert (value >= low).all() and (value <= 1 + (kind != "iou") * margin).all()

        swapped = case._replace(valid_a=case.valid_b, valid_b=case.valid_a)
        back = run(swapped, case.b, case.a)
        back = np.swapaxes(back, -1, -2) if case.op == "pairwise_iou" else back
        assert back.tobytes() == run(case).tobytes()

        # In a unit half or an eighth as long, exactly; and the other axis first.
        for factor in (2.0, 8.0):
            scaled = run(case, *((boxes * factor).astype(dtype) for boxes in (case.a, case.b)))
            assert scaled.tobytes() == run(case).tobytes()
        if kind != "ciou":  # which takes the angle from the width
            turned = run(case, *(boxes[..., [1, 0, 3, 2]] for boxes in (case.a, case.b)))
            np.testing.assert_allclose(turned.astype(float), value, rtol=0, atol=margin * 4)

    check()


@PROFILE
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.sampled_from(FORMATS))
def test_shifts_that_are_exact_change_nothing(seed, kind, box_format):
    generator = np.random.default_rng(seed)
    low, size = generator.integers(0, 64, (2, 20, 2)), generator.integers(0, 40, (2, 20, 2))
    corners = np.concatenate([low, low + size], -1) / 4
    options = dict(kind=kind, box_format=box_format)
    values = []
    for shift in (0.0, 3.0, -128.0):
        a, b = (in_format(boxes + shift, box_format).astype(np.float32) for boxes in corners)
        value = kernels.pairwise_iou(a, b, **options)
        upstream = np.ones_like(value)
        gradients = kernels.pairwise_iou_gradient(a, b, upstream, **options)
        values.append([array.tobytes() for array in (value, *gradients)])
    assert values[0] == values[1] == values[2]
