"""What the loss tests share: inputs, semantics, and the op with its gradient."""

import numpy as np
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.matrix import GRIDS as GRIDS
from tests.ops.matrix import VARIANTS as VARIANTS
from yolov1 import kernels, ops

IMPLS = ("fused", "reference")


def random_case(grid, images, share, seed=0, dtype=np.float32):
    """Predictions and targets with about `share` of the cells holding an object."""
    generator = np.random.default_rng(seed)
    predictions = generator.uniform(0.05, 0.95, (images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (images, *grid.target_shape))
    has_object = generator.random((images, grid.S, grid.S)) < share
    targets[..., grid.target_object_channel] = 1
    return predictions.astype(dtype), (targets * has_object[..., None]).astype(dtype)


def tie_boxes(predictions, grid):
    """Gives every second cell of `predictions`, in place, B equal boxes."""
    cells = predictions.reshape(-1, grid.channels)
    cells[::2, grid.box_channels] = np.tile(cells[::2, grid.box_channels][:, :4], grid.B)


def empty_undecided(predictions, targets, grid, semantics, layout="cells"):
    """Targets without the objects whose responsible box float32 may see otherwise than float64
    does, and how many those were."""
    doubtful = loss_numpy.undecided(predictions, targets, grid, semantics, layout)
    kept = ~doubtful.reshape(*targets.shape[:3], 1)
    return np.where(kept, targets, targets.dtype.type(0)), int(doubtful.sum())


def to_planes(predictions, grid):
    """``[N, S, S, D]`` to the flat layout."""
    return loss_numpy.join(*loss_numpy.split(predictions, grid), grid, "planes")


def loss_function(*, graph=False, xla=False, upstream=None, **options):
    """(predictions, targets) to loss, terms and d(sum of upstream * loss) / d predictions.

    The graph is traced once, for a batch of unknown size; XLA sees the size.
    """

    def compute(p, t, upstream=None):
        with tf.GradientTape() as tape:
            tape.watch(p)
            out = ops.yolo_loss(p, t, **options)
        return *out, tape.gradient(out.loss, p, output_gradients=upstream)

    def any_batch(x):
        return tf.TensorSpec([None, *x.shape[1:]], x.dtype)

    # Not rewritten by AutoGraph, which takes longer than tracing; the XLA tests' functions are.
    traced = tf.function(compute, jit_compile=xla, autograph=False)
    function = traced if graph or xla else compute

    def run(predictions, targets, upstream=upstream):
        arguments = [predictions, targets] if upstream is None else [predictions, targets, upstream]
        arguments = [tf.constant(argument) for argument in arguments]
        call = function.get_concrete_function(*map(any_batch, arguments)) if graph else function
        return [x.numpy() for x in call(*arguments)]

    return run


def value_and_gradient(predictions, targets, **options):
    return loss_function(**options)(predictions, targets)


def check_kernel(predictions, targets, want, tolerances, **options):
    """Every version of the CPU's kernel near `want` (loss, terms, gradient), with the same bits on
    threads, in place of the predictions and without the gradient; one for all levels of SIMD."""
    results = {}
    for version in kernels.yolo_loss_versions():
        options["version"] = version
        got = kernels.yolo_loss(predictions, targets, **options)
        results[version] = [x.tobytes() for x in got]
        for one, other, tolerance in zip(got, want, tolerances, strict=True):
            assert_near(one.astype(np.float64), other, tolerance)
        for more in ({"threads": 3}, {"gradient": "in_place"}):
            got = kernels.yolo_loss(predictions.copy(), targets, **more, **options)
            assert [x.tobytes() for x in got] == results[version]
        loss, terms, _ = kernels.yolo_loss(predictions, targets, gradient=False, **options)
        assert [loss.tobytes(), terms.tobytes()] == results[version][:2]
    results.pop("naive")  # whose sums have another order
    assert len(set(map(tuple, results.values()))) == 1


def assert_near(got, want, tolerance):
    scale = max(np.abs(want).max(initial=0), 1e-30)
    assert np.abs(got - want).max(initial=0) <= tolerance * scale
