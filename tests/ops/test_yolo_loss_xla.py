"""The fused YOLO loss inside XLA-compiled functions: the same bits as outside."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.losses import cases
from tests.ops.loss_cases import GRIDS, random_case, to_planes
from tests.ops.test_yolo_loss_calls import BAD_SHAPES
from tests.shared import ROOT
from yolov1 import kernels, ops
from yolov1.grid import GridSpec
from yolov1.losses import YoloLoss
from yolov1.ops import _library
from yolov1.semantics import PRESETS

pytestmark = pytest.mark.skipif(
    kernels.build_info()["xla"] != "ON", reason="built without XLA (YOLOV1_XLA=OFF)"
)

DTYPES = (  # of predictions and targets
    *((tf.float32, tf.float32), (tf.float64, tf.float64), (tf.float16, tf.float32)),
    *((tf.float16, tf.float16), (tf.bfloat16, tf.float32), (tf.bfloat16, tf.bfloat16)),
)


def train(jit_compile, grid, dtypes=DTYPES[0], layout="cells", **options):
    """A function of any batch: predictions, targets, upstream to loss, terms, gradient."""
    shape = kernels.prediction_shape(grid, layout)
    sums = tf.float64 if dtypes[0] == tf.float64 else tf.float32
    mean = options.get("reduction") == "mean"
    signature = [
        tf.TensorSpec((None, *shape), dtypes[0]),
        tf.TensorSpec((None, *grid.target_shape), dtypes[1]),
        tf.TensorSpec(() if mean else (None,), sums),
    ]

    @tf.function(jit_compile=jit_compile, input_signature=signature)
    def function(predictions, targets, upstream):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            out = ops.yolo_loss(
                predictions, targets, grid=grid, layout=layout, impl="fused", **options
            )
        return *out, tape.gradient(out.loss, predictions, output_gradients=upstream)

    return function


def case(grid, images, dtypes=DTYPES[0], layout="cells", mean=False):
    """Arguments for `train`; the upstream gradient holds 1, other values, 0 and negative ones."""
    predictions, targets = random_case(grid, images, 0.3)
    if layout == "planes":
        predictions = to_planes(predictions, grid)
    upstream = np.resize([0.5, 1, -2, 0, 3], () if mean else images)
    sums = tf.float64 if dtypes[0] == tf.float64 else tf.float32
    return (
        tf.cast(predictions, dtypes[0]),
        tf.cast(targets, dtypes[1]),
        tf.cast(upstream, sums),
    )


def assert_same_bits(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.each_value
@pytest.mark.parametrize("reduction", ("none", "mean"))
@pytest.mark.parametrize("layout", kernels.LAYOUTS)
@pytest.mark.parametrize("dtypes", DTYPES, ids=lambda pair: "-".join(d.name for d in pair))
def test_every_dtype_layout_and_reduction(dtypes, layout, reduction):
    grid = GRIDS["many boxes"]
    options = dict(grid=grid, dtypes=dtypes, layout=layout, reduction=reduction)
    arguments = case(grid, 5, dtypes, layout, reduction == "mean")
    assert_same_bits(train(True, **options)(*arguments), train(False, **options)(*arguments))


@pytest.mark.each_value
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("semantics", PRESETS)
def test_every_preset_and_grid(semantics, name):
    grid = GRIDS[name]
    arguments, options = case(grid, 5), dict(grid=grid, semantics=semantics)
    assert_same_bits(train(True, **options)(*arguments), train(False, **options)(*arguments))


@pytest.mark.on_cpu
@pytest.mark.parametrize("reduction", ("none", "mean"))
def test_every_batch_through_one_function(reduction):
    """Each size compiles anew. The largest is shared out among threads, which changes no bit."""
    grid = GRIDS["paper"]
    compiled = train(True, grid=grid, reduction=reduction)
    for images in (3, 1, 0, 64, 700, 3):
        predictions, targets, upstream = case(grid, images, mean=reduction == "mean")
        got = compiled(predictions, targets, upstream)
        loss, terms, gradient = kernels.yolo_loss(
            predictions.numpy(), targets.numpy(), grid=grid, reduction=reduction
        )
        scale = upstream.numpy().reshape(-1, 1, 1, 1)
        assert_same_bits(got, [tf.constant(x) for x in (loss, terms, gradient * scale)])


@pytest.mark.on_cpu
def test_a_tape_outside_and_a_function_inside():
    grid = GRIDS["paper"]
    predictions, targets, _ = case(grid, 4)
    want = kernels.yolo_loss(predictions.numpy(), targets.numpy(), grid=grid)

    @tf.function
    def inner(p):
        return ops.yolo_loss(p, targets, grid=grid, impl="fused").loss

    def outside(function):
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            loss = function(predictions)
        return loss, tape.gradient(loss, predictions)

    inner(predictions)  # traced outside XLA first
    nested = tf.function(lambda p: inner(p) * 1, jit_compile=True)
    nested_tape = tf.function(lambda: outside(inner), jit_compile=True)
    for got in (outside(nested), nested_tape()):
        assert_same_bits(got, [tf.constant(want[0]), tf.constant(want[2])])


@pytest.mark.on_cpu
def test_only_what_is_used_is_computed():
    """The gradient on request alone, and no multiplication by an upstream gradient of one."""
    grid = GRIDS["paper"]
    predictions, targets, _ = case(grid, 4)

    def optimized(reduction, with_gradient):
        @tf.function(jit_compile=True)
        def function(p, t):
            with tf.GradientTape() as tape:
                if with_gradient:
                    tape.watch(p)
                loss = ops.yolo_loss(p, t, grid=grid, reduction=reduction, impl="fused").loss
                loss = tf.reduce_sum(loss)
            return tape.gradient(loss, p) if with_gradient else loss

        return function.experimental_get_compiler_ir(predictions, targets)(stage="optimized_hlo")

    for reduction in ("none", "mean"):
        program = optimized(reduction, True)
        assert program.count("custom-call(") == 1
        assert "multiply" not in program and "fusion" not in program
        assert "f32[4,7,7,30]{3,2,1,0}, f32[" in program.split("custom-call(")[0].split("(")[-1]
        assert "f32[0]{0}" in optimized(reduction, False).split("custom-call(")[0].split("(")[-1]


@pytest.mark.slow
@pytest.mark.on_cpu
def test_keras_trains_with_the_fused_op_under_xla():
    def fit(impl, jit_compile=True):
        loss = YoloLoss(grid=cases.GRID, impl=impl)
        compiled = {"jit_compile": jit_compile}
        return cases.fit(cases.small_model(), data, loss=loss, compiled=compiled)["loss"]

    data = cases.small_data()
    fused, reference = fit("fused"), fit("reference", jit_compile=False)
    np.testing.assert_allclose(fused, reference, rtol=1e-4)
    np.testing.assert_array_equal(fused, fit("auto"))


@pytest.mark.slow
def test_loading_after_the_first_compilation():
    """TensorFlow reads its list of XLA kernels at the first compilation of a process."""
    code = """
import tensorflow as tf
double = tf.function(lambda x: 2 * x, jit_compile=True)
assert double(tf.ones(())) == 2
from yolov1 import ops
from yolov1.grid import GridSpec
from yolov1.losses import YoloLoss
predictions, targets = tf.ones((1, 7, 7, 30)), tf.zeros((1, 7, 7, 25))
loss = tf.function(
    lambda: ops.yolo_loss(predictions, targets, grid=GridSpec(), impl="fused").loss,
    jit_compile=True,
)
assert loss() == 0.5 * 98
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("message", [m for m in BAD_SHAPES if "layout must" not in m])
def test_shapes_known_only_at_run_time_are_refused(message):
    predictions, targets, layout = BAD_SHAPES[message]

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    def function(p, t):
        return ops.yolo_loss(p, t, grid=GridSpec(), layout=layout, impl="fused").loss

    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        function(tf.zeros(predictions), tf.zeros(targets))


def test_a_batch_whose_size_depends_on_values_is_refused():
    """XLA holds it in a tensor of the largest possible size, which the handler cannot tell."""
    predictions, targets, _ = case(GridSpec(), 4)

    @tf.function(jit_compile=True)
    def function(p, t):
        kept = tf.reshape(tf.where(p[:, 0, 0, 0] > 0.5), [-1])
        return ops.yolo_loss(
            tf.gather(p, kept), tf.gather(t, kept), grid=GridSpec(), impl="fused"
        ).loss

    with pytest.raises(
        tf.errors.UnimplementedError, match="size of input 0 must not depend on values"
    ):
        function(predictions, targets)


@pytest.mark.on_cpu
def test_without_the_kernel_fused_says_so_and_auto_takes_the_reference(monkeypatch):
    grid = GRIDS["odd"]
    predictions, targets, _ = case(grid, 3)
    monkeypatch.setattr(_library, "_kernels", lambda op: {"CPU": ("float32",)})

    def loss(impl):
        return tf.function(
            lambda p: ops.yolo_loss(p, targets, grid=grid, impl=impl).loss, jit_compile=True
        )

    with pytest.raises(NotImplementedError, match="no fused kernel for float32 on XLA_CPU_JIT"):
        loss("fused")(predictions)
    graph = loss("auto").get_concrete_function(predictions).graph
    assert not [op for op in graph.get_operations() if op.type.startswith("Yolov1")]
