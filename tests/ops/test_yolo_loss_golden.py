"""The loss against the published systems' own numbers (../shared/golden)."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.shared import SHARED, shared
from yolov1 import ops
from yolov1.data.targets import from_layout
from yolov1.grid import GridSpec
from yolov1.ops.reference.yolo_loss import _heron10
from yolov1.semantics import PRESETS, LossSemantics

TOLERANCE = 2e-5  # of the largest value
IMPLS = ("fused", "reference")
DARKNET = (
    "allobjects",
    "noobjects",
    "norescore",
    "person_s7b2c1",
    "tie",
    "v1_s7b2c20",
    "v1full_s7b3c20",
)


def deviation(got, want):
    """Largest difference, as a share of the largest value."""
    return float(np.abs(got - want).max() / np.abs(want).max())


def run(predictions, targets, **options):
    predictions = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        loss = ops.yolo_loss(predictions, tf.constant(targets), **options).loss
    return loss.numpy(), tape.gradient(loss, predictions).numpy()


def test_all_darknet_files_are_named_here():
    shared("golden", "darknet")
    found = {path.stem[4:] for path in (SHARED / "golden/darknet").glob("det_*.npz")}
    assert found == set(DARKNET)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", DARKNET)
def test_darknet_detection_layer(name, impl):
    file = np.load(shared("golden", "darknet", f"det_{name}.npz"))
    config = json.loads(str(file["config"]))
    grid = GridSpec(S=config["side"], B=config["n"], C=config["classes"])
    semantics = dataclasses.replace(
        PRESETS["darknet"],
        weight_xy=config["coord_scale"],
        weight_wh=config["coord_scale"],
        weight_object=config["object_scale"],
        weight_no_object=config["noobject_scale"],
        weight_class=config["class_scale"],
        confidence_target="iou" if config["rescore"] else "one",
    )
    flag, classes, box = np.split(file["truth"], [1, 1 + grid.C], axis=-1)
    targets = np.concatenate([classes, flag, box], axis=-1)
    loss, gradient = run(
        file["pred"], targets, grid=grid, semantics=semantics, layout="planes", impl=impl
    )
    assert deviation(-gradient, file["delta"]) <= TOLERANCE
    # Darknet prints the sum of the squared deltas, which is not what it minimises.
    assert deviation((gradient.astype(float) ** 2).sum(), file["cost"]) <= TOLERANCE
    # What it minimises is 1/2 sum of scale * error^2: here from its deltas, -scale * error each.
    # The scale of a confidence tells whether its box was responsible, so only the bounds are exact.
    squares = (file["delta"].astype(float) ** 2).sum(axis=1)
    scales = [config[f"{name}_scale"] for name in ("coord", "object", "noobject", "class")]
    assert (loss >= squares / (2 * max(scales)) * (1 - TOLERANCE)).all()
    assert (loss <= squares / (2 * min(scales)) * (1 + TOLERANCE)).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_keras_voc(impl):
    file = np.load(shared("golden", "keras_voc", "seedA_wide.npz"))
    targets = from_layout(file["y_true"], GridSpec(), "keras_voc")
    loss, gradient = run(file["y_pred"], targets, grid=GridSpec(), semantics="keras_voc", impl=impl)
    assert loss.astype(float).sum() == pytest.approx(float(file["loss"]), rel=TOLERANCE)
    assert deviation(gradient, file["grad"]) <= TOLERANCE


@pytest.mark.parametrize("impl", IMPLS)
def test_tf2_person(impl):
    file = np.load(shared("golden", "tf2_person", "seedB_wide.npz"))
    loss, gradient = run(
        file["y_pred"], file["y_true"], grid=GridSpec(C=1), semantics="tf2_person", impl=impl
    )
    # The post's grids have x first. The loss of a cell does not depend on where it is, so that
    # rows first, as everywhere else here, gives the same numbers.
    rows_first = from_layout(file["y_true"], GridSpec(C=1), "tf2_person")
    predictions = np.swapaxes(file["y_pred"], 1, 2)
    _, exchanged = run(
        predictions, rows_first, grid=GridSpec(C=1), semantics="tf2_person", impl=impl
    )
    np.testing.assert_array_equal(np.swapaxes(exchanged, 1, 2), gradient)
    assert loss.astype(float).sum() == pytest.approx(float(file["loss"]), rel=TOLERANCE)
    assert deviation(gradient, file["grad"]) <= TOLERANCE


def comparable(rows):
    """Rows whose gradient the float32 iteration gives exactly."""
    return rows[(rows[:, 0] >= 1e-8) | (rows[:, 0] == 0)]


def test_heron_iteration_of_the_reference():
    x, value, _, gradient = comparable(
        np.load(shared("golden", "tf2_person", "customSQRT3.npz"))["rows"]
    ).T
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        root = _heron10(x)
    np.testing.assert_allclose(root, value, rtol=TOLERANCE)
    np.testing.assert_allclose(tape.gradient(root, x), gradient, rtol=TOLERANCE)


@pytest.mark.parametrize("impl", IMPLS)
def test_heron_iteration_inside_the_loss(impl):
    """One cell a row with no error but that of w: loss (q(x) - 1)^2, gradient 2 (q - 1) q'."""
    rows = comparable(np.load(shared("golden", "tf2_person", "customSQRT3.npz"))["rows"])
    grid = GridSpec(S=1, B=1, C=1)
    semantics = LossSemantics(weight_wh=1, weight_object=0, wh="heron10", confidence_target="one")
    box = [0.5, 0.5, 1, 1]
    targets = np.tile(np.float32([1, 1, *box]), (len(rows), 1, 1, 1))
    predictions = np.tile(np.float32([1, 1, *box]), (len(rows), 1, 1, 1))
    predictions[:, 0, 0, 4] = rows[:, 0]
    loss, gradient = run(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    error = rows[:, 1] - 1
    np.testing.assert_allclose(loss, error**2, rtol=TOLERANCE, atol=1e-12)
    want = 2 * error * rows[:, 3]
    np.testing.assert_allclose(gradient[:, 0, 0, 4], want, rtol=TOLERANCE, atol=1e-6)
