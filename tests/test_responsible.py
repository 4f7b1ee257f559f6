"""`responsible_boxes`: by hand, and against the NumPy reference of the loss."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import loss_numpy
from tests.ops.loss_cases import (
    GRIDS,
    IMPLS,
    VARIANTS,
    empty_undecided,
    random_case,
    tie_boxes,
    to_planes,
)
from yolov1.grid import GridSpec
from yolov1.responsible import responsible_boxes
from yolov1.semantics import PRESETS

GRID = GridSpec(S=2, B=2, C=3, image_size=16)
CELL = 2  # of the one object: row 1, column 0


def one_object():
    """An object in the middle of cell 2, half as wide and high as the image.

    Box 0 (confidence 0.6) has its centre and half its width, so that their IoU is 1/2. Box 1
    (confidence 0.9) has its size, and its centre half a cell to the right: IoU 1/3.
    """
    predictions = np.full((1, *GRID.prediction_shape), 0.25, np.float32)
    targets = np.zeros((1, *GRID.target_shape), np.float32)
    root = np.sqrt(0.5)
    cell = [0.1, 0.7, 0.4, 0.6, 0.9, 0.5, 0.5, 0.5, root, 1.0, 0.5, root, root]
    predictions.reshape(-1, GRID.channels)[CELL] = cell
    targets.reshape(-1, GRID.target_channels)[CELL] = [0, 1, 0, 1, 0.5, 0.5, 0.5, 0.5]
    return predictions, targets


def fit_of(predictions, targets, grid=GRID, **options):
    fit = responsible_boxes(tf.constant(predictions), tf.constant(targets), grid=grid, **options)
    return {name: value.numpy() for name, value in fit._asdict().items()}


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("layout", ["cells", "planes"])
def test_one_cell_by_hand(layout, impl):
    predictions, targets = one_object()
    if layout == "planes":
        predictions = to_planes(predictions, GRID)
    fit = fit_of(predictions, targets, layout=layout, impl=impl)
    expected = {
        "has_object": True,
        "iou": 0.5,
        "class_probability": 0.7,
        "any_class_probability": 0.4,
        "object_confidence": 0.6,
    }
    for name, value in expected.items():
        of_cells = np.zeros((1, 4))
        of_cells[0, CELL] = value
        np.testing.assert_allclose(fit[name], of_cells, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(fit["any_confidence"], [(6 * 0.25 + 0.6 + 0.9) / 8], rtol=1e-6)


def reference_of(predictions, targets, grid, semantics):
    """The same from what the NumPy reference says of the cells, in float64."""
    cells = loss_numpy.object_cells(predictions, targets, grid, semantics)
    chosen = loss_numpy.choose(cells, semantics)[1]
    clamped = dataclasses.replace(semantics, iou_overlap="clamped")
    overlap = loss_numpy.overlaps(cells, clamped)[0]
    classes, confidences, _ = loss_numpy.split(predictions.astype(float), grid)
    truth = targets.reshape(-1, grid.cells, grid.target_channels)[cells.at][:, : grid.C]
    values = {
        "has_object": np.ones(len(chosen)),
        "iou": np.average(overlap, axis=1, weights=chosen),
        "class_probability": np.average(classes[cells.at], axis=1, weights=truth),
        "any_class_probability": classes[cells.at].mean(1),
        "object_confidence": np.average(confidences[cells.at], axis=1, weights=chosen),
    }
    fit = {"any_confidence": confidences.mean((1, 2))}
    for name, of_objects in values.items():
        fit[name] = np.zeros(confidences.shape[:2])
        fit[name][cells.at] = of_objects
    return fit


@pytest.mark.each_value
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("semantics", VARIANTS.values(), ids=VARIANTS)
def test_against_the_numpy_reference(semantics, grid):
    predictions, targets = random_case(grid, 8, 0.4, seed=4)
    predictions[..., grid.box_channels][..., 2:4] *= 0.3  # so that some boxes miss the object
    tie_boxes(predictions[4:], grid)
    targets, left_out = empty_undecided(predictions, targets, grid, semantics)
    expected = reference_of(predictions, targets, grid, semantics)
    assert left_out < expected["has_object"].sum()
    fit = fit_of(predictions, targets, grid, semantics=semantics)
    for name, value in expected.items():
        np.testing.assert_allclose(fit[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("ties, confidence", [("first", 0.6), ("last", 0.9), ("all", 0.75)])
def test_equal_boxes(ties, confidence):
    predictions, targets = one_object()
    cell = predictions.reshape(-1, GRID.channels)[CELL]
    cell[-4:] = cell[-8:-4]
    semantics = dataclasses.replace(PRESETS["paper"], ties=ties)
    fit = fit_of(predictions, targets, semantics=semantics)
    assert fit["iou"][0, CELL] == pytest.approx(0.5, rel=1e-6)
    assert fit["object_confidence"][0, CELL] == pytest.approx(confidence, rel=1e-6)


def test_the_choice_is_the_losss_own_and_the_iou_is_not():
    """Two boxes beside the object: `abs` sees an overlap where there is none."""
    predictions, targets = one_object()
    boxes = predictions.reshape(-1, GRID.channels)[CELL, GRID.box_channels]
    boxes[:] = [1.5, 0.5, 0.5, 0.5, 2.5, 0.5, 0.5, 0.5]
    fit = fit_of(predictions, targets, semantics="tf2_person")
    assert fit["iou"][0, CELL] == 0 and fit["object_confidence"][0, CELL] == np.float32(0.9)
    fit = fit_of(predictions, targets, semantics="darknet")  # the nearer one
    assert fit["iou"][0, CELL] == 0 and fit["object_confidence"][0, CELL] == np.float32(0.6)


@pytest.mark.parametrize("images", [0, 3])
def test_without_objects(images):
    predictions, targets = random_case(GRID, images, 0.0)
    fit = fit_of(predictions, targets)
    confidences = predictions[..., GRID.confidence_channels]
    np.testing.assert_allclose(fit.pop("any_confidence"), confidences.mean((1, 2, 3)), rtol=1e-6)
    for name, values in fit.items():
        assert values.shape == (images, GRID.cells) and not values.any(), name


def test_soft_classes_weigh():
    predictions, targets = one_object()
    targets.reshape(-1, GRID.target_channels)[CELL, :3] = [0.25, 0.75, 0]
    predictions.reshape(-1, GRID.channels)[CELL, 2] = np.nan  # not asked for
    fit = fit_of(predictions, targets)
    assert fit["class_probability"][0, CELL] == pytest.approx(0.25 * 0.1 + 0.75 * 0.7, rel=1e-6)


def test_what_is_not_read_has_no_effect():
    predictions, targets = one_object()
    expected = fit_of(predictions, targets)
    cells = predictions.reshape(-1, GRID.channels)
    cells[:CELL, GRID.box_channels] = np.nan
    cells[:CELL, GRID.class_channels] = np.inf
    cells[CELL, GRID.box_channels][4:] = np.nan  # its overlap counts as 0
    cells[CELL, 4] = expected["any_confidence"][0]  # of box 1, which is not responsible
    targets.reshape(-1, GRID.target_channels)[3, -4:] = np.nan  # behind a flag of 0
    fit = fit_of(predictions, targets)
    for name in set(expected) - {"any_confidence"}:
        np.testing.assert_array_equal(fit[name], expected[name], err_msg=name)


def test_a_nan_box_has_no_overlap():
    predictions, targets = one_object()
    predictions.reshape(-1, GRID.channels)[CELL, GRID.box_channels] = np.nan
    fit = fit_of(predictions, targets)
    assert fit["iou"][0, CELL] == 0 and fit["object_confidence"][0, CELL] == np.float32(0.6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_and_gradient(dtype):
    predictions, targets = (tf.cast(x, dtype) for x in one_object())
    with tf.GradientTape() as tape:
        tape.watch([predictions, targets])
        fit = responsible_boxes(predictions, targets, grid=GRID)
    assert fit.iou.dtype == ("float64" if dtype == "float64" else "float32")
    assert fit.iou.numpy()[0, CELL] == pytest.approx(0.5, abs=0.01)
    assert tape.gradient(fit.iou, [predictions, targets]) == [None, None]


@pytest.mark.first_case
@pytest.mark.parametrize("xla", [False, True])
def test_in_a_graph_for_any_batch(xla):
    @tf.function(jit_compile=xla)
    def function(predictions, targets):
        return responsible_boxes(predictions, targets, grid=GRID)._asdict()

    any_batch = [
        tf.TensorSpec([None, *shape]) for shape in (GRID.prediction_shape, GRID.target_shape)
    ]
    call = function if xla else function.get_concrete_function(*any_batch)
    for images in (1, 5):
        case = random_case(GRID, images, 0.5)
        values = call(*map(tf.constant, case))
        for name, expected in fit_of(*case).items():
            np.testing.assert_allclose(values[name], expected, rtol=1e-6, err_msg=name)


def test_wrong_shapes_are_refused():
    predictions, targets = one_object()
    with pytest.raises(ValueError, match=r"targets must be \[N, 2, 2, 8\] .* got \[1, 2, 2, 7\]"):
        fit_of(predictions, targets[..., :7])
    with pytest.raises(ValueError, match="layout must be one of"):
        fit_of(predictions, targets, layout="rows")
