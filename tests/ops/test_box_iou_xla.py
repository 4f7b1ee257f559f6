"""The fused IoU ops inside XLA-compiled functions: the same bits as outside."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.iou_cases import DTYPES, FORMATS, KINDS, OPS, iou_function, random_boxes
from tests.ops.test_box_iou_bits import bits, cases
from tests.ops.test_box_iou_calls import BAD_SHAPES
from yolov1 import kernels, ops
from yolov1.ops import _library

pytestmark = pytest.mark.skipif(
    kernels.build_info()["xla"] != "ON", reason="built without XLA (YOLOV1_XLA=OFF)"
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_every_dtype_with_and_without_masks(op, dtype):
    which = DTYPES.index(dtype)
    options = dict(kind=KINDS[which], box_format=FORMATS[which % 2], impl="fused")
    compiled, plain = (iou_function(op, xla=xla, **options) for xla in (True, False))
    for k, case in enumerate(cases(op, dtype, options["box_format"])):
        case = case if k else case[:3]
        assert bits(compiled(*case)) == bits(plain(*case))


@pytest.mark.on_cpu
@pytest.mark.parametrize("op", OPS)
def test_every_size_through_one_function(op):
    """Each compiles anew, one with nothing in it too."""
    compiled, plain = (iou_function(op, xla=xla, impl="auto", kind="ciou") for xla in (True, False))
    for size in (3, 0, 1, 17):
        a, b = random_boxes(2, size), random_boxes(size, seed=1)
        assert bits(compiled(a, b)) == bits(plain(a, b))


def test_counts():
    a, b, counts = random_boxes(3, 5), random_boxes(3, 7, seed=1), np.array([0, 3, 7])
    compiled, plain = (iou_function("pairwise_iou", xla=xla, impl="fused") for xla in (True, False))
    assert bits(compiled(a, b, None, None, counts)) == bits(plain(a, b, None, None, counts))


def test_a_tape_outside_and_a_function_inside():
    a, b = (tf.constant(random_boxes(5, seed=seed)) for seed in (1, 2))
    inner = tf.function(lambda a: ops.pairwise_iou(a, b, kind="giou", impl="fused"))
    inner(a)  # traced outside XLA first
    nested = tf.function(lambda a: inner(a) * 1, jit_compile=True)

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(a)
            value = function(a)
        return tape.gradient(value, a)

    want = iou_function("pairwise_iou", kind="giou", impl="fused")(a, b)[1]
    within = tf.function(lambda: gradient(inner), jit_compile=True)
    assert bits([gradient(nested).numpy(), within().numpy()]) == bits([want, want])


def test_only_what_is_used_is_computed():
    """One call a direction, and none of the gradient where no one asks for it."""
    a, b = (tf.constant(random_boxes(5, seed=seed)) for seed in (1, 2))

    def calls(with_gradient):
        @tf.function(jit_compile=True)
        def function(a, b):
            with tf.GradientTape() as tape:
                tape.watch(a)
                value = ops.pairwise_iou(a, b, impl="fused")
            return tape.gradient(value, a) if with_gradient else value

        ir = function.experimental_get_compiler_ir(a, b)(stage="optimized_hlo")
        return ir.count("custom-call(")

    assert calls(False) == calls(True) == 1  # the gradient needs no value


@pytest.mark.parametrize("message", BAD_SHAPES)
def test_shapes_known_only_at_run_time_are_refused(message):
    op, boxes_a, boxes_b, valid_a = BAD_SHAPES[message]

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    def function(a, b):
        valid = None if valid_a is None else tf.zeros(valid_a, bool)
        return getattr(ops, op)(a, b, valid_a=valid, impl="fused")

    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        function(tf.zeros(boxes_a), tf.zeros(boxes_b))


def test_a_number_of_boxes_that_depends_on_values_is_refused():
    """XLA holds it in a tensor of the largest possible size, which the handler cannot tell."""

    @tf.function(jit_compile=True)
    def function(a, b):
        kept = tf.reshape(tf.where(a[:, 0] > 0.3), [-1])
        return ops.pairwise_iou(tf.gather(a, kept), b, impl="fused")

    with pytest.raises(
        tf.errors.UnimplementedError, match="size of input 0 must not depend on values"
    ):
        function(tf.constant(random_boxes(9)), tf.constant(random_boxes(4)))


@pytest.mark.on_cpu
def test_without_the_kernel_fused_says_so_and_auto_takes_the_reference(monkeypatch):
    boxes = tf.zeros((3, 4))
    monkeypatch.setattr(_library, "_kernels", lambda op: {"CPU": ("float32",)})

    def iou(impl):
        return tf.function(lambda a: ops.pairwise_iou(a, a, impl=impl), jit_compile=True)

    with pytest.raises(NotImplementedError, match="no fused kernel for float32 on XLA_CPU_JIT"):
        iou("fused")(boxes)
    graph = iou("auto").get_concrete_function(boxes).graph
    assert not [op for op in graph.get_operations() if op.type.startswith("Yolov1")]
