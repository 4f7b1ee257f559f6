"""The kernel against the NumPy reference, over random grids, semantics, dtypes and inputs."""

import collections

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops import loss_numpy
from tests.ops.loss_cases import empty_undecided, to_planes
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, WEIGHTS, LossSemantics

pytestmark = pytest.mark.on_cpu

# The same examples in every run.
PROFILE = settings(deadline=None, derandomize=True, database=None)
several = pytest.mark.parametrize("examples", (100, pytest.param(1000, marks=pytest.mark.slow)))
EPS = loss_numpy.EPS32
# Predictions, targets, and the relative error of one rounding to the predictions' dtype.
DTYPES = (
    (np.float32, np.float32, EPS),
    (np.float64, np.float64, 2.0**-53),
    (np.float16, np.float16, 2.0**-11),
    (np.float16, np.float32, 2.0**-11),
    (ml_dtypes.bfloat16, ml_dtypes.bfloat16, 2.0**-8),
    (ml_dtypes.bfloat16, np.float32, 2.0**-8),
)
PROBABLE = 0.05, 0.95  # nearer to 0 and 1 logarithms magnify what was rounded
GRIDS = st.builds(GridSpec, *(st.integers(1, most) for most in (9, 5, 23)), st.just(448))
SEMANTICS = st.builds(
    LossSemantics,
    **{name: st.sampled_from((1.0, 0.0, 0.5, 5.0, 5 / 49, 20.0)) for name in WEIGHTS},
    **{name: st.sampled_from(values) for name, values in CHOICES.items()},
)
Case = collections.namedtuple(
    "Case", "grid semantics layout dtypes predictions targets threads version reduction"
)


def make_boxes(generator, kind, images, grid, wh):
    """``[N, L, B, 4]``, sizes not near 0, where overlaps and roots magnify what was rounded."""
    boxes = generator.uniform(0.25, 1, (images, grid.cells, grid.B, 4))
    if kind == "apart":  # nothing overlaps, and two boxes are equally far
        boxes[..., :2] += 40 * generator.choice((-1, 1), boxes[..., :2].shape)
        boxes[:, :, -1] = boxes[:, :, 0]
    elif kind == "equal":  # every tie there is
        boxes[:] = boxes[:, :, generator.integers(0, grid.B, 1)]
    elif kind == "some equal":
        boxes[:, :, -1] = boxes[:, :, 0]
    elif kind == "signs":  # negative centres and sizes
        boxes *= generator.choice((-1, 1), boxes.shape)
        if wh == "heron10":  # chaotic below 0: float32 and float64 have nothing in common there
            boxes[..., 2:] = np.abs(boxes[..., 2:])
    return boxes


@st.composite
def cases(draw):
    grid, dtypes = draw(GRIDS), draw(st.sampled_from(DTYPES))
    images, share = draw(st.integers(0, 6)), draw(st.sampled_from((0.06, 0.0, 0.5, 1.0)))
    kind = draw(st.sampled_from(("plain", "apart", "equal", "some equal", "signs")))
    semantics, generator = draw(SEMANTICS), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    of_classes, of_confidences = (
        PROBABLE if kind == "cross_entropy" else (-1, 1)
        for kind in (semantics.class_loss, semantics.confidence_loss)
    )
    predictions = loss_numpy.join(
        generator.uniform(*of_classes, (images, grid.cells, grid.C)),
        generator.uniform(*of_confidences, (images, grid.cells, grid.B)),
        make_boxes(generator, kind, images, grid, semantics.wh),
        grid,
    )
    targets = generator.uniform(0.25, 1, (images, *grid.target_shape))
    # Flags of any value but 0 count.
    targets[..., grid.target_object_channel] = generator.choice((1, -1, 0.5, 3), targets.shape[:3])
    targets *= (generator.random(targets.shape[:3]) < share)[..., None]
    return Case(
        grid,
        semantics,
        draw(st.sampled_from(kernels.LAYOUTS)),
        dtypes,
        predictions.astype(dtypes[0]),
        targets.astype(dtypes[1]),
        draw(st.integers(1, 4)),
        draw(st.sampled_from(kernels.yolo_loss_versions())),
        draw(st.sampled_from(("none", "mean"))),
    )


def run(case, targets, predictions=None, **options):
    predictions = case.predictions if predictions is None else predictions
    if case.layout == "planes":
        predictions = to_planes(predictions, case.grid)
    return predictions, kernels.yolo_loss(
        predictions,
        targets,
        grid=case.grid,
        semantics=case.semantics,
        layout=case.layout,
        reduction=case.reduction,
        threads=case.threads,
        version=case.version,
        **options,
    )


def tolerances(case, targets):
    """What rounding may do to a term, as a share of it and absolutely before its weight; and to a
    gradient, absolutely before its weight. Values are of the order of 1 (centres "apart": 40)."""
    grid, semantics = case.grid, case.semantics
    with np.errstate(all="ignore"):
        boxes = loss_numpy.object_cells(case.predictions, targets, grid, semantics)
        noise = loss_numpy.overlap_noise(boxes, semantics)
    exact = case.dtypes[0] == np.float64
    eps = 2.0**-53 if exact else EPS
    overlap = float(noise.max(initial=0)) * (eps / EPS)
    additions = grid.cells * grid.B + grid.C + 16
    return additions * eps, grid.cells * grid.B * (16 * eps + 2 * overlap), 16 * eps + overlap


def block_weights(semantics):
    """The largest factor of a gradient in each block: classes, confidences, boxes."""
    s, steepest = semantics, {"squared": 1, "cross_entropy": 1 / PROBABLE[0]}
    return [
        2 * s.factor * weight
        for weight in (
            s.weight_class * steepest[s.class_loss],
            max(s.weight_object, s.weight_no_object) * steepest[s.confidence_loss],
            max(s.weight_xy, s.weight_wh) * 40,
        )
    ]


def check_gradient(case, got, want, tolerance):
    rounding = case.dtypes[2]
    tiny = 2.0**-25 if case.dtypes[0] == np.float16 else 0.0  # half a subnormal
    scale = 1 / max(1, len(want)) if case.reduction == "mean" else 1.0
    blocks = [loss_numpy.split(x, case.grid, case.layout) for x in (got.astype(float), want)]
    weights = block_weights(case.semantics)
    for one, other, weight in zip(*blocks, weights, strict=True):
        allowed = (8 * EPS + rounding) * np.abs(other) + tolerance * weight * scale + tiny
        if case.dtypes[0] == np.float64:
            allowed = 8 * rounding * np.abs(other) + tolerance * weight * scale
        assert (np.abs(one - other) <= allowed).all()


@several
def test_kernel_is_the_numpy_reference(examples):
    seen = collections.Counter()

    @settings(PROFILE, max_examples=examples)
    @given(cases())
    def check(case):
        targets, emptied = empty_undecided(
            case.predictions, case.targets, case.grid, case.semantics
        )
        seen["emptied"] += emptied
        seen["objects"] += np.count_nonzero(case.targets[..., case.grid.target_object_channel])
        predictions, (loss, terms, gradient) = run(case, targets)
        want = loss_numpy.yolo_loss(predictions, targets, case.grid, case.semantics, case.layout)
        share, absolute, slope = tolerances(case, targets)
        s = case.semantics
        weights = s.weight_xy, s.weight_wh, s.weight_object, s.weight_no_object, s.weight_class
        allowed = share * want.terms + absolute * s.factor * np.array(weights)
        assert (np.abs(terms - want.terms) <= allowed).all()
        want_loss, want_gradient, allowed = want.loss, want.gradient, allowed.sum(-1)
        if case.reduction == "mean":
            images = max(1, len(want_loss))
            want_loss, want_gradient = want_loss.sum() / images, want_gradient / images
            allowed = allowed.sum() / images
        assert (np.abs(loss - want_loss) <= allowed + 8 * share * np.abs(want_loss)).all()
        check_gradient(case, gradient, want_gradient, slope)

    check()
    assert seen["objects"] > 10 * examples
    assert seen["emptied"] <= 0.001 * seen["objects"], seen  # near ties are left out, but few


@several
def test_what_the_loss_does_not_read_has_no_effect(examples):
    """NaN into the classes and boxes of empty cells, in predictions and targets: the same bits."""

    @settings(PROFILE, max_examples=examples)
    @given(cases())
    def check(case):
        _, clean = run(case, case.targets)
        grid = case.grid
        empty = case.targets[..., grid.target_object_channel] == 0
        predictions, targets = case.predictions.copy(), case.targets.copy()
        for array, read in (
            (predictions, grid.confidence_channels),
            (targets, slice(grid.target_object_channel, grid.target_object_channel + 1)),
        ):
            cells = np.full_like(array[empty], np.nan)
            cells[:, read] = array[empty][:, read]
            array[empty] = cells
        _, dirty = run(case, targets, predictions)
        assert [a.tobytes() for a in clean] == [a.tobytes() for a in dirty]

    check()
