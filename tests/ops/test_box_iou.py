"""The numbers of batched IoU, value and both gradients, against the NumPy reference."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.ops import iou_numpy
from tests.ops.iou_cases import (
    DTYPES,
    FORMATS,
    IMPLS,
    KINDS,
    OPS,
    iou_function,
    random_boxes,
    random_upstream,
    value_and_gradients,
)
from tests.ops.loss_cases import assert_near
from yolov1 import kernels, ops

# Implementation and way of calling. The reference in XLA takes seconds to compile: once below.
WAYS = [(impl, mode) for impl in IMPLS for mode in ("eager", "graph")]
WAYS += [("fused", "xla")] * (kernels.build_info()["xla"] == "ON")
# Of the largest number, for the value and for the gradients: a value is rounded once to its dtype,
# a gradient once, and the upstream gradient too.
TOLERANCES = {
    np.dtype(np.float64): (1e-14, 1e-13),
    np.dtype(np.float32): (1e-6, 4e-6),
    np.dtype(np.float16): (2**-11, 2**-11),
    np.dtype(ml_dtypes.bfloat16): (2**-8, 2**-8),
}
# Leading dimensions that are broadcast, on either side or both.
LEADING = (((), ()), ((3,), ()), ((), (2, 3)), ((2, 1), (3,)), ((2, 1, 3), (2, 4, 1)), ((1,), (1,)))
# M and K: 1, few, and around the counts of lanes.
SIZES = ((1, 1), (5, 3), (3, 15), (2, 16), (7, 17), (33, 31), (1, 64), (18, 1))


def check(function, op, a, b, seed=0, valid_a=None, valid_b=None, **options):
    """One call against the NumPy reference, with an upstream gradient that is not 1."""
    value_tolerance, tolerance = TOLERANCES[a.dtype]
    want = iou_numpy.iou(op, a, b, valid_a=valid_a, valid_b=valid_b, **options)
    upstream = random_upstream(want[0].shape, a.dtype, seed)
    want = iou_numpy.iou(op, a, b, upstream, valid_a, valid_b, **options)
    got = function(a, b, upstream, valid_a, valid_b)
    for one, other, allowed in zip(got, want, (value_tolerance, tolerance, tolerance), strict=True):
        assert one.dtype == a.dtype and one.shape == other.shape
        assert_near(one.astype(np.float64), other, allowed)
    return got


def boxes_for(op, leading, sizes=(5, 3), **options):
    """Boxes of both sides; of aligned ones the sizes are ignored."""
    sizes = [(size,) if op == "pairwise_iou" else () for size in sizes]
    return [
        random_boxes(*lead, *size, seed=seed, **options)
        for seed, (lead, size) in enumerate(zip(leading, sizes, strict=True), 1)
    ]


@pytest.mark.each_value
@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl", IMPLS)
def test_every_kind_broadcast(impl, op, kind, box_format):
    options = dict(kind=kind, box_format=box_format)
    function = iou_function(op, impl=impl, **options)
    for leading in LEADING:
        check(function, op, *boxes_for(op, leading, box_format=box_format), **options)


@pytest.mark.each_value
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl, mode", WAYS)
def test_matrix(impl, op, mode, dtype):
    """Every implementation, op, way of calling and dtype; the sizes within."""
    which = DTYPES.index(dtype)
    options = dict(kind=KINDS[which], box_format=FORMATS[(which + OPS.index(op)) % 2])
    how = dict(graph=mode == "graph", unknown=mode == "graph", xla=mode == "xla")
    function = iou_function(op, impl=impl, **how, **options)
    for sizes in SIZES[4:5] if mode == "xla" else SIZES:  # compiling takes half a second a piece
        leading = ((2,), (2,)) if op == "pairwise_iou" else (sizes, (sizes[1],))
        a, b = boxes_for(op, leading, sizes, box_format=options["box_format"], dtype=dtype)
        check(function, op, a, b, **options)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_reference_compiles_with_xla(op):
    function = iou_function(op, impl="reference", xla=True, kind="ciou")
    check(function, op, *boxes_for(op, ((2, 5), (5,)), dtype=np.float32), kind="ciou")


@pytest.mark.first_case
@pytest.mark.parametrize("kind", KINDS)
def test_borders_of_tiles(kind):
    """Where the kernel goes from one tile to the next, and from lanes to the rest."""
    function = iou_function("pairwise_iou", impl="fused", kind=kind)
    for sizes in ((127, 9), (128, 512), (129, 513), (257, 3), (3, 1025)):
        check(function, "pairwise_iou", *boxes_for("pairwise_iou", ((), ()), sizes), kind=kind)
        a, b = boxes_for("pairwise_iou", ((2, 1), (3,)), sizes[:1] + (2,), dtype=np.float32)
        check(function, "pairwise_iou", a, b, kind=kind)


@pytest.mark.parametrize("count", (127, 128, 511, 513, 4099))
def test_many_aligned_boxes(count):
    function = iou_function("aligned_iou", impl="fused", kind="ciou")
    for leading in (((count,), (count,)), ((count,), ()), ((3, count), (count,))):
        check(function, "aligned_iou", *boxes_for("aligned_iou", leading), kind="ciou")


@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_nothing_to_do(impl, graph):
    """No element, no box on one side or on both: shapes as ever, gradients of 0."""
    functions = {op: iou_function(op, impl=impl, graph=graph, unknown=graph) for op in OPS}
    for op, a, b in (
        ("pairwise_iou", (0, 5), (0, 3)),
        ("pairwise_iou", (2, 0), (2, 3)),
        ("pairwise_iou", (2, 5), (2, 0)),
        ("pairwise_iou", (0,), (0,)),
        ("pairwise_iou", (0, 5), (3,)),
        ("aligned_iou", (0,), (0,)),
        ("aligned_iou", (3, 0), ()),
    ):
        boxes = random_boxes(*a), random_boxes(*b)
        value, by_a, by_b = functions[op](*boxes)
        assert value.shape == iou_numpy.iou(op, *boxes)[0].shape
        assert by_a.shape == boxes[0].shape and by_b.shape == boxes[1].shape
        assert not by_a.any() and not by_b.any()


# ----------------------------------------------------------------------------------------- masks


def masks_for(op, a, b):
    """Pairs of masks, and for pairwise boxes of counts: some, none and all of the boxes."""
    generator = np.random.default_rng(3)
    mask_a, mask_b = (generator.random(boxes.shape[:-1]) < 0.6 for boxes in (a, b))
    yield from ((mask_a, None), (None, mask_b), (mask_a, mask_b))
    yield np.zeros_like(mask_a), mask_b
    yield mask_a, np.ones_like(mask_b)
    if op == "pairwise_iou":
        counts_a, counts_b = (
            generator.integers(-1, boxes.shape[-2] + 2, boxes.shape[:-2]) for boxes in (a, b)
        )
        yield counts_a.astype(np.int32), counts_b
        yield None, counts_b.astype(np.uint8) % 3


@pytest.mark.each_value
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl, mode", WAYS)
def test_what_a_mask_hides_is_not_read(impl, op, mode):
    """Neither value nor gradient of it: NaN there, and above such pairs, has no effect."""
    leading = ((2, 1), (3,)) if op == "pairwise_iou" else ((2, 1, 5), (3, 5))
    a, b = boxes_for(op, leading, (5, 19))
    for k, (valid_a, valid_b) in enumerate(masks_for(op, a, b)):
        if mode != "eager" and k not in (2, 5):  # tracing and compiling take long
            continue
        options = dict(kind=KINDS[k % 4])
        how = dict(graph=mode == "graph", unknown=mode == "graph", xla=mode == "xla")
        function = iou_function(op, impl=impl, **how, **options)
        clean = check(function, op, a, b, k, valid_a, valid_b, **options)
        upstream = random_upstream(clean[0].shape, seed=k)
        hidden = [~iou_numpy.as_mask(valid, boxes) for valid, boxes in ((valid_a, a), (valid_b, b))]
        for value in (np.nan, np.inf, 1e300):
            dirty = [
                np.where(mask[..., None], value, boxes)
                for mask, boxes in zip(hidden, (a, b), strict=True)
            ]
            pair = hidden
            if op == "pairwise_iou":
                pair = hidden[0][..., :, None], hidden[1][..., None, :]
            above = np.where(pair[0] | pair[1], value, upstream)
            got = function(*dirty, above, valid_a, valid_b)
            for one, other in zip(got, clean, strict=True):
                assert one.tobytes() == other.tobytes()
        assert not got[1][hidden[0]].any() and not got[2][hidden[1]].any()
        assert hidden[0].any() or hidden[1].any()


@pytest.mark.each_value
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", (np.nan, np.inf))
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl", IMPLS)
def test_a_box_whose_pairs_are_all_hidden_has_no_gradient(impl, op, value, kind):
    """An image without objects, say: 0 and not 0 * NaN, even for a box that is not finite."""
    a, b = random_boxes(2, 20), random_boxes(2, 20, seed=1)
    a[0, 3, 2] = value
    nowhere = np.zeros((2, 20), bool)
    nowhere[1] = True
    _, by_a, by_b = value_and_gradients(op, a, b, None, None, nowhere, impl=impl, kind=kind)
    assert not by_a[0].any() and not by_b[0].any()
    assert by_a[1].any() and np.isfinite(by_a).all() and np.isfinite(by_b).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_counts_beyond_32_bits(impl):
    boxes = random_boxes(3, 5)
    counts = np.array([2**32, 2**31, 1])
    value = ops.pairwise_iou(boxes, boxes, valid_a=counts, impl=impl).numpy()
    assert (value[0] != 0).any(-1).all() and (value[1] != 0).any(-1).all()
    assert value[2, 0].any() and not value[2, 1:].any()


@pytest.mark.parametrize("impl", IMPLS)
def test_an_empty_mask_is_no_mask_for_boxes_of_unknown_shape(impl):
    """By [0] the op means that there is none."""
    function = tf.function(
        lambda a, valid: ops.pairwise_iou(a, a, valid_a=valid, impl=impl),
        input_signature=[tf.TensorSpec(None, tf.float64), tf.TensorSpec(None, tf.bool)],
    )
    boxes = tf.constant(random_boxes(5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="valid_a is empty"):
        function(boxes, tf.zeros(0, tf.bool))
    assert function(boxes, tf.zeros(5, tf.bool)).numpy().tolist() == np.zeros((5, 5)).tolist()
    assert function(boxes[:0], tf.zeros(0, tf.bool)).shape == (0, 0)
