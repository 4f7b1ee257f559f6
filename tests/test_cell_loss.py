"""`cell_loss`: its sums are the op's terms, its gradient the op's, its boxes the loss's choice."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import GRIDS, IMPLS, VARIANTS, empty_undecided, random_case
from yolov1 import ops
from yolov1.cell_loss import cell_loss, gradient_by_term
from yolov1.grid import GridSpec
from yolov1.responsible import responsible_boxes
from yolov1.semantics import TERMS


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("grid", ["paper", "many boxes"])
def test_it_sums_up_to_the_loss(grid, variant, impl):
    grid, semantics = GRIDS[grid], VARIANTS[variant]
    predictions, targets = random_case(grid, 3, 0.4)
    targets, _ = empty_undecided(predictions, targets, grid, semantics)
    cells = cell_loss(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    variable = tf.Variable(predictions)
    with tf.GradientTape() as tape:
        loss, terms = ops.yolo_loss(variable, targets, grid=grid, semantics=semantics, impl=impl)
    np.testing.assert_allclose(tf.reduce_sum(cells.terms, 1), terms, rtol=2e-6, atol=1e-7)
    gradient = tape.gradient(loss, variable).numpy()
    np.testing.assert_array_equal(cells.gradient, gradient.reshape(3, grid.cells, -1))
    np.testing.assert_allclose(
        tf.reduce_sum(cells.box_terms, 2), cells.terms[..., :4], rtol=2e-6, atol=1e-7
    )
    fit = responsible_boxes(predictions, targets, grid=grid, semantics=semantics, impl=impl)
    np.testing.assert_array_equal(cells.has_object, fit.has_object)
    responsible = tf.cast(cells.responsible, tf.float32)
    of_responsible = tf.math.divide_no_nan(
        tf.reduce_sum(cells.iou * responsible, -1), tf.reduce_sum(responsible, -1)
    )
    np.testing.assert_allclose(of_responsible, fit.iou, rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_of_each_term_is_its_own(variant):
    """Of the op with all weights but one at 0 the whole gradient is that term's."""
    grid, semantics = GRIDS["paper"], VARIANTS[variant]
    predictions, targets = random_case(grid, 2, 0.4)
    targets, _ = empty_undecided(predictions, targets, grid, semantics)
    cells = cell_loss(predictions, targets, grid=grid, semantics=semantics)
    norms = gradient_by_term(cells, grid, semantics).numpy()
    for k, term in enumerate(TERMS):
        others = {f"weight_{name}": 0.0 for name in TERMS if name != term}
        alone = dataclasses.replace(semantics, **others)
        gradient = cell_loss(predictions, targets, grid=grid, semantics=alone).gradient
        np.testing.assert_allclose(norms[..., k], tf.norm(gradient, axis=-1), rtol=1e-5, atol=1e-7)
    whole = np.sqrt((norms.astype(np.float64) ** 2).sum(-1))
    np.testing.assert_allclose(whole, tf.norm(cells.gradient, axis=-1), rtol=1e-5)


def test_one_cell_by_hand():
    grid = GridSpec(S=2, B=2, C=3, image_size=16)
    predictions = np.zeros((1, *grid.prediction_shape), np.float32)
    targets = np.zeros((1, *grid.target_shape), np.float32)
    # Cell (1, 0): box 0 has half the object's width (IoU 1/2), box 1 is the object moved (IoU 1/3).
    root = np.sqrt(0.5)
    predictions[0, 1, 0] = [0.1, 0.7, 0.4, 0.6, 0.9, 0.5, 0.5, 0.5, root, 1.0, 0.5, root, root]
    targets[0, 1, 0] = [0, 1, 0, 1, 0.5, 0.5, 0.5, 0.5]
    predictions[0, 0, 1, 3:5] = 0.2, 0.4  # confidences of an empty cell
    cells = cell_loss(predictions, targets, grid=grid, semantics="paper")
    wh = 5 * (0.5 - root) ** 2
    expected = np.zeros((4, 5))
    expected[2] = 0, wh, 0.1**2, 0.5 * 0.9**2, 0.1**2 + 0.3**2 + 0.4**2
    expected[1] = 0, 0, 0, 0.5 * (0.2**2 + 0.4**2), 0
    np.testing.assert_allclose(cells.terms[0], expected, rtol=1e-5, atol=1e-7)
    boxes = np.zeros((4, 2, 4))
    boxes[2] = [[0, wh, 0.1**2, 0], [0, 0, 0, 0.5 * 0.9**2]]
    boxes[1, :, 3] = 0.5 * 0.2**2, 0.5 * 0.4**2
    np.testing.assert_allclose(cells.box_terms[0], boxes, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(cells.responsible[0], [[0, 0], [0, 0], [1, 0], [0, 0]])
    np.testing.assert_allclose(cells.iou[0], [[0, 0], [0, 0], [1 / 2, 1 / 3], [0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(cells.confidences[0, 1], np.float32([0.2, 0.4]))
    moved = np.flatnonzero(np.abs(cells.gradient[0]).sum(axis=1))
    np.testing.assert_array_equal(moved, [1, 2])


def test_what_does_not_fit_is_refused():
    grid = GridSpec(S=2, B=2, C=3, image_size=16)
    with pytest.raises(ValueError, match=r"must be \[N, 2, 2, 13\]"):
        cell_loss(np.zeros((1, 2, 2, 12)), np.zeros((1, *grid.target_shape)), grid=grid)
