"""Batched IoU as TensorFlow calls it: tapes, traced functions, dtypes, lists; what it refuses."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.iou_cases import IMPLS, OPS, random_boxes, value_and_gradients
from yolov1 import kernels, ops
from yolov1.ops import _library


def boxes(*shape, seed=0, dtype=np.float32):
    return tf.constant(random_boxes(*shape, seed=seed, dtype=dtype))


@pytest.mark.first_case
@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_gradients_that_are_not_asked_for(impl, graph):
    """One side alone, both sides the same tensor, no tape, a tape that is asked twice."""
    a, b = boxes(5), boxes(3, seed=1)

    def gradients(sources):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(sources)
            value = ops.pairwise_iou(a, b, kind="giou", impl=impl)
        return [tape.gradient(value, source) for source in sources]

    def run(sources):  # closed over: as arguments of the graph they would be other tensors
        function = functools.partial(gradients, sources)
        return (tf.function(function) if graph else function)()

    both = run([a, b])
    # A TensorFlow graph adds gradients with AddN, which may begin with any of them.
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if graph and impl == "reference" else {"rtol": 0}
    np.testing.assert_allclose(run([a])[0], both[0], **tolerance)
    np.testing.assert_allclose(run([b])[0], both[1], **tolerance)

    def with_itself():
        with tf.GradientTape() as tape:
            tape.watch(a)
            value = ops.pairwise_iou(a, a, kind="giou", impl=impl)
        return tape.gradient(value, a)

    _, by_a, by_b = value_and_gradients(
        "pairwise_iou", a.numpy(), a.numpy(), impl=impl, kind="giou"
    )
    got = (tf.function(with_itself) if graph else with_itself)()
    np.testing.assert_allclose(got, by_a + by_b, rtol=1e-6, atol=1e-6)


@pytest.mark.first_case
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("impl", IMPLS)
def test_tape_around_a_traced_function(impl, op):
    """The function is traced without a tape in sight; its gradient must still be right."""
    a, b = boxes(2, 3), boxes(3, seed=1)
    function = tf.function(lambda a, b: getattr(ops, op)(a, b, kind="ciou", impl=impl))
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        value = function(a, b)
    want = value_and_gradients(op, a, b, impl=impl, kind="ciou")
    for got, other in zip((value, *tape.gradient(value, [a, b])), want, strict=True):
        np.testing.assert_allclose(got, other, rtol=1e-5, atol=1e-6)


def test_a_variable_is_watched():
    variable, b = tf.Variable(boxes(4)), boxes(4, seed=1)
    for impl in IMPLS:
        with tf.GradientTape() as tape:
            value = ops.aligned_iou(variable, b, kind="diou", impl=impl)
        assert np.abs(tape.gradient(value, variable)).max() > 0


@pytest.mark.parametrize("op", OPS)
def test_second_derivative_is_refused_by_fused_and_taken_by_reference(op):
    a, b = boxes(4), boxes(4, seed=1)

    def second(impl):
        with tf.GradientTape() as outer:
            outer.watch(a)
            with tf.GradientTape() as inner:
                inner.watch(a)
                value = getattr(ops, op)(a, b, kind="giou", impl=impl)
            gradient = inner.gradient(value, a)
        return outer.gradient(gradient, a)

    assert np.abs(second("reference")).max() > 0
    for run in (second, tf.function(second, autograph=False)):
        with pytest.raises(LookupError, match=f"{op}: .*no second derivative; use impl='ref"):
            run("fused")


@pytest.mark.parametrize("impl", IMPLS)
def test_lists_take_the_dtype_of_the_other_boxes(impl):
    unit = [[0.0, 0.0, 1.0, 1.0]]
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        b = tf.constant([[0, 0, 1, 0.5]], dtype)
        for arguments in ((unit, b), (b, unit)):
            value = ops.pairwise_iou(*arguments, impl=impl)
            assert value.dtype == dtype and value.numpy().item() == 0.5
    assert ops.aligned_iou(unit, unit, impl=impl).dtype == tf.float32
    assert ops.aligned_iou(unit, np.array(unit), impl=impl).dtype == tf.float64


@pytest.mark.first_case
@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("impl", IMPLS)
def test_masks_and_counts_of_any_kind(impl, graph):
    """Counts of every integer dtype, Python numbers and lists; below 0 none, beyond M all."""
    a, b = boxes(2, 3), boxes(2, 4, seed=1)
    whole = ops.pairwise_iou(a, b, impl=impl).numpy()

    def run(**masks):
        function = lambda: ops.pairwise_iou(a, b, impl=impl, **masks)  # noqa: E731
        return (tf.function(function) if graph else function)().numpy()

    for count, kept in ((-3, 0), (0, 0), (2, 2), (3, 3), (9, 3)):
        want = whole * (np.arange(3) < kept)[:, None]
        np.testing.assert_array_equal(run(valid_a=[count, count]), want)
    counts = np.array([1, 4])
    want = whole * (np.arange(4) < counts[:, None])[:, None]
    for dtype in (np.int8, np.uint8, np.int32, np.int64, np.uint16):
        np.testing.assert_array_equal(run(valid_b=counts.astype(dtype)), want)
    np.testing.assert_array_equal(run(valid_b=[[True, False, False, False], [True] * 4]), want)
    one = ops.pairwise_iou(a[0], b[0], valid_a=2, impl=impl)
    np.testing.assert_array_equal(one, whole[0] * (np.arange(3) < 2)[:, None])


def test_auto_takes_the_fused_op_where_there_is_one(device):
    """And where it is not to be asked for."""
    for op in OPS:
        assert traced_fused(op, boxes(3)) == (device not in _library.ON_REQUEST.get(op, ()))


def traced_fused(op, a):
    graph = tf.function(getattr(ops, op)).get_concrete_function(a, a).graph
    return any(o.type.startswith("Yolov1>") for o in graph.get_operations())


@pytest.mark.on_cpu
def test_auto_goes_by_the_device_around_a_function(monkeypatch):
    """On a machine with a GPU, where the tensors of a trace have no place yet."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    monkeypatch.setattr(_library, "ON_REQUEST", {"pairwise_iou": ("GPU",)})
    a = boxes(3)
    for scope, fused in (("CPU:0", True), (None, False)):
        with tf.device(scope):
            assert traced_fused("pairwise_iou", a) == fused


@pytest.mark.on_cpu
def test_numpy_arrays_in_another_byte_order():
    for dtype in (np.float32, np.float64, np.float16):
        a, b = (random_boxes(5, seed=seed, dtype=dtype) for seed in (1, 2))
        swapped = [array.astype(array.dtype.newbyteorder()) for array in (a, b)]
        got, want = kernels.pairwise_iou(*swapped), kernels.pairwise_iou(a, b)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


# ------------------------------------------------------------------------------------- refusals

# op, shapes of boxes_a, of boxes_b and of the mask of a.
BAD_SHAPES = {
    "pairwise_iou: boxes_a must be [..., M, 4], got [3, 5].": (
        *("pairwise_iou", (3, 5), (3, 4)),
        None,
    ),
    "pairwise_iou: boxes_b must be [..., K, 4], got [4].": ("pairwise_iou", (3, 4), (4,), None),
    "aligned_iou: boxes_b must be [..., 4], got [].": ("aligned_iou", (3, 4), (), None),
    "pairwise_iou: the leading dimensions of boxes_a and boxes_b must be equal or 1 (they are "
    "broadcast), got [2, 5, 4] and [3, 5, 4].": ("pairwise_iou", (2, 5, 4), (3, 5, 4), None),
    "aligned_iou: the leading dimensions of boxes_a and boxes_b must be equal or 1 (they are "
    "broadcast), got [2, 1, 4] and [3, 5, 4].": ("aligned_iou", (2, 1, 4), (3, 5, 4), None),
    "pairwise_iou: valid_a must be [2, 5] for boxes_a [2, 5, 4], got [5].": (
        *("pairwise_iou", (2, 5, 4), (3, 4)),
        (5,),
    ),
    "aligned_iou: valid_a must be [2] for boxes_a [2, 4], got [3].": (
        *("aligned_iou", (2, 4), (2, 4)),
        (3,),
    ),
}


@pytest.mark.parametrize("message", BAD_SHAPES)
@pytest.mark.parametrize("impl", IMPLS)
def test_wrong_shapes_are_refused(impl, message):
    op, a, b, valid_a = BAD_SHAPES[message]
    valid_a = None if valid_a is None else np.zeros(valid_a, bool)
    for face, options in ((ops, dict(impl=impl)), (kernels, {})):
        with pytest.raises(ValueError, match=re.escape(message)):
            arguments = np.zeros(a, np.float32), np.zeros(b, np.float32)
            getattr(face, op)(*arguments, valid_a=valid_a, **options)


@pytest.mark.parametrize("message", BAD_SHAPES)
def test_op_refuses_shapes_known_only_at_run_time(message):
    op, a, b, valid_a = BAD_SHAPES[message]
    specs = [tf.TensorSpec(None), tf.TensorSpec(None), tf.TensorSpec(None, tf.bool)]

    @tf.function(input_signature=specs)
    def function(a, b, valid):
        return getattr(ops, op)(a, b, valid_a=valid if valid_a else None, impl="fused")

    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        function(tf.zeros(a), tf.zeros(b), tf.zeros(valid_a or (), bool))


@pytest.mark.parametrize("face", (ops, kernels))
def test_counts_of_a_wrong_shape_are_refused(face):
    a = np.zeros((2, 5, 4), np.float32)
    message = "pairwise_iou: valid_b must be counts [2] for boxes_b [2, 5, 4], got [2, 5]."
    with pytest.raises(ValueError, match=re.escape(message)):
        face.pairwise_iou(a, a, valid_b=np.zeros((2, 5), int))
    with pytest.raises(ValueError, match=re.escape("boxes_b must be [..., K, 4], got [4]")):
        face.pairwise_iou(a, a[0, 0], valid_b=3)


@pytest.mark.parametrize("face", (ops, kernels))
def test_wrong_choices_are_refused(face):
    a = np.zeros((3, 4), np.float32)
    for options, message in (
        (dict(kind="siou"), "kind must be one of 'iou', 'giou', 'diou', 'ciou', got 'siou'."),
        (dict(box_format="xywh"), "box_format must be one of 'xyxy', 'cxcywh', got 'xywh'."),
    ):
        for op in OPS:
            with pytest.raises(ValueError, match=f"{op}: {message}"):
                getattr(face, op)(a, a, **options)
    for op, mask, message in (
        ("pairwise_iou", np.ones(3, np.float32), "bool, or integers that count, got float32"),
        ("aligned_iou", np.ones(3, int), "bool, got int64"),
    ):
        with pytest.raises(TypeError, match=f"{op}: valid_a must be {message}"):
            getattr(face, op)(a, a, valid_a=mask)


def test_wrong_dtypes_and_implementations_are_refused():
    a = tf.zeros((3, 4))
    message = "boxes_a and boxes_b must have one dtype, got float32 and float64; cast one of them."
    with pytest.raises(TypeError, match=message):
        ops.pairwise_iou(a, np.zeros((3, 4)))
    with pytest.raises(TypeError, match="aligned_iou: boxes must be floating, got int32; cast"):
        ops.aligned_iou(tf.zeros((3, 4), tf.int32), tf.zeros((3, 4), tf.int32))
    with pytest.raises(ValueError, match="impl must be 'auto', 'fused' or 'reference', got 'xla'"):
        ops.pairwise_iou(a, a, impl="xla")
    with pytest.raises(TypeError, match="must have one dtype, got float32 and float64; convert"):
        kernels.pairwise_iou(a.numpy(), np.zeros((3, 4)))
    with pytest.raises(TypeError, match="float16, bfloat16, got int32; convert"):
        kernels.aligned_iou(np.zeros((3, 4), np.int32), np.zeros((3, 4), np.int32))
