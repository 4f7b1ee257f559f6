"""The baselines compute the loss that they are compared with."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import native, posts_loss, strong_tf
from tests.ops.loss_cases import GRIDS, assert_near, random_case, value_and_gradient
from yolov1.grid import GridSpec


@pytest.mark.each_value
@pytest.mark.parametrize(
    ("form", "way"),
    [(form, way) for form in (strong_tf.dense, strong_tf.sparse) for way in ("eager", "graph")]
    + [(strong_tf.dense, "xla")],
)
@pytest.mark.parametrize("share", (0.0, 0.3, 1.0))
def test_strong_forms_are_the_reference(form, way, share):
    for grid in GRIDS.values():
        arrays = random_case(grid, 3, share)
        want_loss, _, want_gradient = value_and_gradient(*arrays, grid=grid, impl="reference")

        def compute(p, t, grid=grid):
            return form(p, t, grid)

        if way != "eager":
            compute = tf.function(compute, jit_compile=way == "xla", autograph=False)
        loss, gradient = compute(*map(tf.constant, arrays))
        assert_near(loss.numpy(), want_loss, 1e-6)
        assert_near(gradient.numpy(), want_gradient, 1e-6)
        assert form(*arrays, grid, gradient=False)[1] is None
        assert_near(form(*arrays, grid, gradient=False)[0].numpy(), want_loss, 1e-6)


@pytest.mark.parametrize("form", (strong_tf.dense, strong_tf.sparse))
def test_strong_forms_choose_the_first_of_equal_boxes(form):
    grid = GRIDS["many boxes"]
    predictions, targets = random_case(grid, 2, 0.5)
    boxes = predictions[..., grid.box_channels]
    boxes[..., 4:8] = boxes[..., :4]
    want = value_and_gradient(predictions, targets, grid=grid, impl="reference")
    loss, gradient = form(predictions, targets, grid)
    assert_near(loss.numpy(), want[0], 1e-6)
    assert_near(gradient.numpy(), want[2], 1e-6)


@pytest.mark.parametrize("form", (strong_tf.dense, strong_tf.sparse))
def test_strong_forms_take_halves(form):
    arrays = random_case(GridSpec(), 2, 0.3)
    halves = [tf.cast(array, tf.bfloat16) for array in arrays]
    loss, gradient = form(*halves, GridSpec())
    want = form(*(tf.cast(half, tf.float32) for half in halves), GridSpec())
    assert gradient.dtype == tf.bfloat16
    np.testing.assert_array_equal(loss, want[0])
    np.testing.assert_array_equal(gradient, tf.cast(want[1], tf.bfloat16))


@pytest.mark.first_case
@pytest.mark.parametrize("graph", (False, True))
@pytest.mark.parametrize("post", (posts_loss.keras_voc, posts_loss.tf2_person))
def test_posts_are_their_preset(post, graph):
    for share in (0.1, 1.0):
        for grid in (GridSpec(), GridSpec(C=3)):  # the presets' weights are those of S=7
            predictions, targets = random_case(grid, 3, share)
            if post is posts_loss.keras_voc:  # both boxes of some cells touch nothing: a tie
                predictions[..., grid.box_channels][:, :2, :, :] = [1.5, 1.5, 0.01, 0.01] * 2
            options = dict(grid=grid, semantics=post.__name__, impl="reference")
            want = value_and_gradient(predictions, targets, **options)

            def compute(p, t, grid=grid):
                with tf.GradientTape() as tape:
                    tape.watch(p)
                    loss = post(p, t, grid)
                return loss, tape.gradient(loss, p)

            compute = tf.function(compute, autograph=False) if graph else compute
            loss, gradient = compute(tf.constant(predictions), tf.constant(targets))
            assert_near(loss.numpy(), want[0].sum(), 1e-6)
            # Pixels and back round differently from fractions.
            assert_near(gradient.numpy(), want[2], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", (tf.float32, tf.bfloat16))
@pytest.mark.parametrize("graph", (False, True))
def test_noop_op_has_the_shapes_of_the_loss(graph, dtype):
    grid = GridSpec()
    predictions = tf.zeros([3, *grid.prediction_shape], dtype)
    targets = tf.zeros([3, *grid.target_shape])

    def compute(p, t):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss, terms, gradient = native.noop_op()(p, t, Tloss=tf.float32)
        return loss, terms, gradient, tape.gradient(loss, p)

    outputs = (tf.function(compute) if graph else compute)(predictions, targets)
    assert [tuple(o.shape) for o in outputs] == [(3,), (3, 5), (3, 7, 7, 30), (3, 7, 7, 30)]
    assert [o.dtype for o in outputs] == [tf.float32, tf.float32, dtype, dtype]


@pytest.mark.slow
def test_noop_op_infers_shapes_of_an_unknown_batch():
    spec = [tf.TensorSpec([None, 7, 7, 30]), tf.TensorSpec([None, 7, 7, 25])]
    function = tf.function(lambda p, t: native.noop_op()(p, t, Tloss=tf.float32))
    loss, terms, gradient = function.get_concrete_function(*spec).structured_outputs
    assert loss.shape.as_list() == [None]
    assert terms.shape.as_list() == [None, 5]
    assert gradient.shape.as_list() == [None, 7, 7, 30]


@pytest.mark.parametrize("non_temporal", (False, True))
def test_a_copy_copies_everything(non_temporal):
    for threads in (1, 2, 3):
        copy, rounds = native.copier(2 * 64 * 1001, non_temporal, threads)
        source, destination = copy.buffers
        source[:] = np.arange(source.size) % 251
        copy()
        np.testing.assert_array_equal(source, destination)
        assert rounds >= 3


def test_a_store_stores_everything():
    for threads in (1, 2, 3):
        store, rounds = native.storer(64 * 1001, threads)
        _, destination = store.buffers
        destination[:] = 1
        store()
        assert destination.size == 64 * 1001
        assert not destination.any()
        assert rounds >= 3


def test_a_compiler_error_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "broken.cc").write_text("not C++")
    with pytest.raises(RuntimeError, match="broken.cc could not be compiled"):
        native.build("broken.cc")
