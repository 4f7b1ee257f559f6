"""Targets as boxes: the bits of the encoder and the loss, in every way to call it."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.ops.box_cases import encoded, random_boxes
from tests.ops.loss_cases import GRIDS, loss_function, random_case, to_planes
from yolov1 import kernels, ops
from yolov1.kernels import COLLISION_RULES, Boxes
from yolov1.losses import YoloLoss
from yolov1.responsible import responsible_boxes
from yolov1.semantics import PRESETS

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
GRID = GRIDS["paper"]


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def predictions_of(grid, images, dtype=np.float32):
    return random_case(grid, images, 0, seed=5, dtype=dtype)[0]


@pytest.mark.parametrize("on_collision", COLLISION_RULES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_kernel_has_the_bits_of_encoder_and_loss(grid, dtype, on_collision):
    predictions = predictions_of(grid, 5, dtype)
    for k, (version, semantics) in enumerate(
        (version, semantics)
        for version in kernels.yolo_loss_versions()
        for semantics in PRESETS.values()
    ):
        boxes = random_boxes(grid, 5, 7, seed=k, mask=k % 2 == 0)
        layout = ("cells", "planes")[k // 2 % 2]
        given = predictions if layout == "cells" else to_planes(predictions, grid)
        options = {"grid": grid, "semantics": semantics, "layout": layout, "version": version}
        want = kernels.yolo_loss(given, encoded(boxes, grid, on_collision), **options)
        got = kernels.yolo_loss(given, boxes, on_collision=on_collision, **options)
        assert_same(got, want)
        overwritten = given.copy()
        options |= {"on_collision": on_collision, "gradient": "in_place"}
        got = kernels.yolo_loss(overwritten, boxes, **options)
        assert got[2] is overwritten
        assert_same(got, want)


def test_in_place_where_the_batch_does_not_stay_in_the_caches():
    predictions, targets = random_case(GRID, 40, 0.3)
    bound = kernels.extension().streaming_bound()
    try:
        kernels.extension().set_streaming_bound(1)
        want = kernels.yolo_loss(predictions, targets, grid=GRID)
        got = kernels.yolo_loss(predictions, targets, grid=GRID, gradient="in_place", threads=2)
    finally:
        kernels.extension().set_streaming_bound(bound)
    assert_same(got, want)


def test_in_place_needs_an_array_that_can_be_written():
    predictions, targets = random_case(GRID, 2, 0.3)
    fixed = predictions.copy()
    fixed.flags.writeable = False
    for given in (fixed, predictions.tolist(), predictions[:, ::-1]):
        given = np.float32(given) if isinstance(given, list) else given
        if given.flags.c_contiguous and given.flags.writeable:
            given = given.astype(">f4")
        with pytest.raises(ValueError, match="for a gradient in place the predictions must be"):
            kernels.yolo_loss(given, targets, grid=GRID, gradient="in_place")


def test_only_objects_are_read():
    predictions, boxes = predictions_of(GRID, 4), random_boxes(GRID, 4, 6, mask=True)
    hidden = boxes._replace(boxes_cxcywh=boxes.boxes_cxcywh.copy(), labels=boxes.labels.copy())
    hidden.boxes_cxcywh[~boxes.valid] = np.nan
    hidden.labels[~boxes.valid] = -9
    want = kernels.yolo_loss(predictions, boxes, grid=GRID)
    assert_same(kernels.yolo_loss(predictions, hidden, grid=GRID), want)
    loss = [ops.yolo_loss(predictions, b, grid=GRID, impl="reference")[0] for b in (boxes, hidden)]
    assert_same(loss[:1], loss[1:])


@pytest.mark.parametrize("impl", ("fused", "reference"))
@pytest.mark.parametrize("channel", range(4))
def test_a_broken_box_is_noticed(channel, impl):
    """Wherever the NaN is, and whatever the rule, that image's loss is NaN, and no other's."""
    boxes = random_boxes(GRID, 3, 1)._replace(valid=np.int32([1, 1, 1]))
    boxes.boxes_cxcywh[1, 0, channel] = np.nan
    for rule in COLLISION_RULES:
        loss = ops.yolo_loss(
            predictions_of(GRID, 3), boxes, grid=GRID, on_collision=rule, impl=impl
        ).loss
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False])


@pytest.mark.parametrize("version", kernels.yolo_loss_versions())
def test_a_label_beyond_the_classes_is_no_class(version):
    predictions, boxes = predictions_of(GRID, 4), random_boxes(GRID, 4, 5)
    for wrong in (-1, GRID.C, 2**31 - 1):
        unknown = boxes._replace(labels=np.full_like(boxes.labels, wrong))
        targets = encoded(boxes, GRID)
        targets[..., : GRID.C] = 0
        want = kernels.yolo_loss(predictions, targets, grid=GRID, version=version)
        assert_same(kernels.yolo_loss(predictions, unknown, grid=GRID, version=version), want)


@pytest.mark.parametrize("images, most", [(0, 3), (3, 0)])
def test_no_images_and_no_boxes(images, most):
    predictions = predictions_of(GRID, images)
    boxes = random_boxes(GRID, images, most)
    empty = np.zeros((images, *GRID.target_shape), np.float32)
    for mean in ("none", "mean"):
        want = kernels.yolo_loss(predictions, empty, grid=GRID, reduction=mean)
        if most == 0:
            assert_same(kernels.yolo_loss(predictions, boxes, grid=GRID, reduction=mean), want)
        for impl in ("fused", "reference"):
            got = ops.yolo_loss(predictions, boxes, grid=GRID, reduction=mean, impl=impl)
            np.testing.assert_allclose(got.loss, want[0], rtol=1e-6)


# ------------------------------------------------------------------------------------- the op


@pytest.mark.each_value
@pytest.mark.parametrize("impl", ("fused", "reference"))
@pytest.mark.parametrize("graph", (False, True), ids=("eager", "graph"))
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_op_has_the_bits_of_encoder_and_op(dtype, graph, impl):
    predictions = predictions_of(GRID, 6, dtype)
    for mask, rule, reduction in ((False, "last", "none"), (True, "largest", "mean")):
        boxes = random_boxes(GRID, 6, 5, mask=mask)
        options = {"grid": GRID, "impl": impl, "reduction": reduction}
        want = loss_function(**options)(predictions, encoded(boxes, GRID, rule))

        def compute(predictions, boxes, options=options, rule=rule):
            with tf.GradientTape() as tape:
                tape.watch(predictions)
                out = ops.yolo_loss(predictions, boxes, on_collision=rule, **options)
            return *out, tape.gradient(out.loss, predictions)

        function = tf.function(compute, autograph=False) if graph else compute
        got = function(tf.constant(predictions), Boxes(*map(tf.constant, boxes)))
        assert_same(got, want)


@pytest.mark.slow
@pytest.mark.on_cpu
def test_tf_data_carries_them():
    boxes = random_boxes(GRID, 6, 4)
    dataset = tf.data.Dataset.from_tensor_slices((predictions_of(GRID, 6), boxes)).batch(3)
    step = tf.function(lambda p, b: ops.yolo_loss(p, b, grid=GRID).loss)
    got = np.concatenate([step(p, b) for p, b in dataset])
    assert_same([got], [kernels.yolo_loss(predictions_of(GRID, 6), boxes, grid=GRID)[0]])


@pytest.mark.on_cpu
@pytest.mark.parametrize("needed", (False, True))
def test_the_gradient_takes_the_place_of_what_nobody_else_needs(needed):
    """In a graph, of a sum that the loss alone reads; not of one that is read again behind it."""
    predictions, boxes = predictions_of(GRID, 64), random_boxes(GRID, 64, 4)
    want = kernels.yolo_loss(predictions, boxes, grid=GRID)[2]
    places = []

    def look(array):
        places.append(array.__array_interface__["data"][0])
        return np.int64(0)

    @tf.function(autograph=False)
    def step(x, boxes):
        with tf.GradientTape() as tape:
            raw = x * 2  # exact, and nothing that Grappler leaves out
            tape.watch(raw)
            with tf.control_dependencies([tf.numpy_function(look, [raw], tf.int64)]):
                loss = ops.yolo_loss(raw, boxes, grid=GRID, impl="fused").loss
        gradient = tape.gradient(loss, raw)
        with tf.control_dependencies([tf.numpy_function(look, [gradient], tf.int64)]):
            kept = tf.identity(raw) if needed else x * 2
        return tf.identity(gradient), kept

    x = tf.constant(predictions / 2)
    for _ in range(3):
        assert_same(step(x, Boxes(*map(tf.constant, boxes))), [want, predictions])
        assert (places[-2] == places[-1]) == (not needed)


def test_eagerly_what_the_caller_holds_stays():
    predictions, boxes = predictions_of(GRID, 64), random_boxes(GRID, 64, 4)
    x = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = ops.yolo_loss(x, boxes, grid=GRID).loss
    want = kernels.yolo_loss(predictions, boxes, grid=GRID)[2]
    assert_same([tape.gradient(loss, x), x], [want, predictions])


@pytest.mark.parametrize("mask", (False, True))
def test_vectorized_map(mask):
    """One op for all iterations: the numbers of one call each."""
    boxes = random_boxes(GRID, 6, 4, mask=mask)
    predictions = predictions_of(GRID, 6)

    def one(arguments):
        raw, objects = arguments
        return ops.yolo_loss(raw, objects, grid=GRID, activations="softmax", impl="fused").loss

    arguments = tf.nest.map_structure(
        lambda x: tf.reshape(x, [3, 2, *x.shape[1:]]), (predictions, boxes)
    )
    got = tf.vectorized_map(one, arguments, fallback_to_while_loop=False)
    want = kernels.yolo_loss(predictions, boxes, grid=GRID, activations="softmax")[0]
    assert_same([got], [want.reshape(3, 2)])


def test_metrics_and_losses_take_them():
    boxes = random_boxes(GRID, 6, 4)
    predictions, targets = predictions_of(GRID, 6), encoded(boxes, GRID, "last")
    loss = YoloLoss(GRID, on_collision="last")
    assert_same([loss(boxes, predictions)], [loss(targets, predictions)])
    got, want = (
        responsible_boxes(predictions, t, grid=GRID, on_collision="last") for t in (boxes, targets)
    )
    assert_same(got, want)


WRONG = {
    "boxes": lambda b: b._replace(boxes_cxcywh=b.boxes_cxcywh[:, 1:]),
    "sides": lambda b: b._replace(boxes_cxcywh=b.boxes_cxcywh[..., :3]),
    "labels": lambda b: b._replace(labels=b.labels[:3]),
    "count": lambda b: b._replace(valid=b.valid[:-1]),
    "images": lambda b: Boxes(*(x[:-1] for x in b)),
}


@pytest.mark.parametrize("what", WRONG)
def test_shapes_that_do_not_fit_are_refused_alike(what):
    predictions, boxes = predictions_of(GRID, 4), WRONG[what](random_boxes(GRID, 4, 5))
    shapes = ", ".join(str(list(x.shape)) for x in boxes[:2]) + f" and {list(boxes[2].shape)}"
    message = (
        "yolo_loss: objects must be boxes [N, M, 4], labels [N, M] and a count [N] or mask [N, M] "
        f"with N = 4 as in the predictions, got {shapes}."
    )
    for call in (kernels.yolo_loss, ops.yolo_loss):
        with pytest.raises(ValueError) as error:
            call(predictions, boxes, grid=GRID)
        assert str(error.value) == message


@pytest.mark.parametrize("call", (kernels.yolo_loss, ops.yolo_loss), ids=("kernel", "op"))
def test_unknown_rule(call):
    with pytest.raises(ValueError, match="on_collision must be one of 'first', .*, got 'best'"):
        call(predictions_of(GRID, 1), random_boxes(GRID, 1, 1), grid=GRID, on_collision="best")


def test_loss_is_rebuilt_with_its_options():
    loss = YoloLoss(GRID, from_logits=True, activations="sigmoid", on_collision="largest")
    again = YoloLoss.from_config(loss.get_config())
    assert again.options == loss.options and again.options["activations"]["classes"] == "sigmoid"
    assert dataclasses.asdict(again.grid) == dataclasses.asdict(GRID)
