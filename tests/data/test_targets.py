import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolov1 import data
from yolov1.data import Example
from yolov1.data.targets import (
    LAYOUTS,
    assign_cells,
    encode_example,
    encode_targets,
    encode_targets_in_graph,
)
from yolov1.grid import GridSpec
from yolov1.kernels import COLLISION_RULES

GRID = GridSpec(S=7, B=2, C=3)


def test_one_object_by_hand():
    targets, dropped = encode_targets([[0.5, 0.25, 0.2, 0.4]], [2], GRID)
    assert dropped == 0 and targets.shape == (7, 7, 8) and targets.dtype == np.float32
    # Column 3 (0.5 * 7 = 3.5), row 1 (0.25 * 7 = 1.75).
    np.testing.assert_allclose(targets[1, 3], [0, 0, 1, 1, 0.5, 0.75, 0.2, 0.4], rtol=1e-6)
    targets[1, 3] = 0
    assert not targets.any()


def test_cells_beside_an_object_describe_it_too():
    # Column 3.5, row 1.75: as near to either column's neighbour, nearer to the row below.
    box = [0.5, 0.25, 0.4, 0.4]
    targets, _ = encode_targets([box], [2], GRID, neighbours=True)
    below = targets[2, 3].copy()
    np.testing.assert_allclose(below, [0, 0, 1, 1, 0.5, -0.25, 0.4, 0.4], atol=1e-6)
    assert {tuple(place) for place in np.argwhere(targets[..., 3])} == {(1, 3), (2, 3)}
    # One that does not reach over the middle of that cell; and one right of the middle.
    small, _ = encode_targets([[0.5, 0.25, 0.4, 0.1]], [2], GRID, neighbours=True)
    assert np.count_nonzero(small[..., 3]) == 1
    right, _ = encode_targets([[0.53, 0.25, 0.4, 0.4]], [2], GRID, neighbours=True)
    assert {tuple(place) for place in np.argwhere(right[..., 3])} == {(1, 3), (2, 3), (1, 4)}
    np.testing.assert_allclose(right[1, 4, 4:6], [0.53 * 7 - 4, 0.75], atol=1e-6)
    # A cell between two takes the nearer centre; one that has an object keeps it.
    pair = [[0.5, 0.25, 0.4, 0.4], [0.5, 0.48, 0.4, 0.4]]  # rows 1.75 and 3.36
    both, _ = encode_targets(pair, [2, 1], GRID, neighbours=True)
    assert np.argmax(both[2, 3, :3]) == 2
    full, _ = encode_targets([*pair, [0.5, 0.36, 0.1, 0.1]], [2, 1, 0], GRID, neighbours=True)
    assert full[2, 3, 0] == 1 and full[2, 3, 3] == 1


def test_neighbours_say_the_same_box():
    """Whatever cell describes an object, it is decoded to the same place."""
    rng = np.random.default_rng(3)
    boxes = np.concatenate([rng.uniform(0, 1, (9, 2)), rng.uniform(0.05, 0.6, (9, 2))], 1)
    own, _ = encode_targets(boxes, [0] * 9, GRID)
    targets, _ = encode_targets(boxes, [0] * 9, GRID, neighbours=True)
    rows, columns = np.nonzero(targets[..., 3] - own[..., 3])
    assert len(rows) > 5 and np.array_equal(targets[own[..., 3] == 1], own[own[..., 3] == 1])
    for row, column in zip(rows, columns, strict=True):
        x, y, w, h = targets[row, column, 4:]
        found = np.float32([(column + x) / 7, (row + y) / 7, w, h])
        assert np.abs(found - boxes).max(axis=1).min() < 1e-6


def test_a_centre_at_one_belongs_to_the_last_cell():
    targets, _ = encode_targets([[1.0, 1.0, 0.1, 0.1]], [0], GRID)
    np.testing.assert_array_equal(targets[6, 6, 4:6], [1, 1])


def test_no_object():
    targets, dropped = encode_targets(np.zeros((0, 4)), [], GRID)
    assert not targets.any() and dropped == 0


def test_the_layouts_of_the_posts_by_hand():
    """keras_voc: 20 classes, x, y, w, h, response, five zeros. tf2_person: x before y."""
    box = [[0.5, 0.25, 0.2, 0.4]]  # column 3, row 1
    targets, _ = encode_targets(box, [4], GridSpec(), layout="keras_voc")
    assert targets.shape == (7, 7, 30)
    want = np.zeros(30)
    want[[4, 20, 21, 22, 23, 24]] = [1, 0.5, 0.75, 0.2, 0.4, 1]
    np.testing.assert_allclose(targets[1, 3], want, rtol=1e-6)
    assert targets.astype(bool).any(axis=-1).sum() == 1
    targets, _ = encode_targets(box, [0], GridSpec(C=1), "last", layout="tf2_person")
    assert targets.shape == (7, 7, 6)
    np.testing.assert_allclose(targets[3, 1], [1, 1, 0.5, 0.75, 0.2, 0.4], rtol=1e-6)
    assert targets[..., 1].sum() == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_and_back(layout):
    boxes = np.random.default_rng(0).uniform(0.1, 0.9, (9, 4))
    labels = np.arange(9) % 3
    cells, dropped = encode_targets(boxes, labels, GRID)
    other, dropped_too = encode_targets(boxes, labels, GRID, layout=layout)
    assert dropped_too == dropped
    np.testing.assert_array_equal(data.from_layout(other, GRID, layout), cells)
    np.testing.assert_array_equal(data.from_layout(other[None], GRID, layout), cells[None])
    np.testing.assert_array_equal(data.to_layout(cells[None], GRID, layout), other[None])


@pytest.mark.parametrize(
    "convert, layout, shape, expected",
    [
        (data.from_layout, "keras_voc", (7, 7, 8), "7, 7, 13"),
        (data.from_layout, "keras_voc", (13,), "7, 7, 13"),
        (data.from_layout, "tf2_person", (2, 7, 7, 13), "7, 7, 8"),
        (data.from_layout, "cells", (8, 7, 8), "7, 7, 8"),
        (data.to_layout, "keras_voc", (7, 7, 13), "7, 7, 8"),
        (data.to_layout, "tf2_person", (7, 6, 8), "7, 7, 8"),
        (data.to_layout, "cells", (7, 8), "7, 7, 8"),
    ],
)
def test_targets_of_another_shape(convert, layout, shape, expected):
    got = ", ".join(map(str, shape))
    with pytest.raises(ValueError, match=rf"expected .*{expected}\].*'{layout}', got .*\[{got}\]"):
        convert(np.zeros(shape), GRID, layout)


def test_an_unknown_layout():
    with pytest.raises(ValueError, match="layout must be one of 'cells', .* got 'rows'"):
        encode_targets([[0.5, 0.5, 0.1, 0.1]], [0], GRID, layout="rows")


@pytest.mark.parametrize("rule, label", [("first", 0), ("last", 2), ("largest", 1)])
def test_collisions(rule, label):
    boxes = [[0.5, 0.5, w, 0.2] for w in (0.2, 0.4, 0.4)]
    targets, dropped = encode_targets(boxes, [0, 1, 2], GRID, rule)
    assert dropped == 2 and targets[3, 3, :3].argmax() == label
    assert targets[..., 3].sum() == 1


@pytest.mark.parametrize(
    "boxes, labels, message",
    [
        ([[0.5, 0.5, 0.1, 0.1]], [3], r"labels must be in \[0, 3\).*got 3"),
        ([[0.5, 0.5, 0.1, 0.1]], [-1], r"got -1"),
        ([[0.5, 0.5, 0.1, 0.1]], [0.0], "integers, got dtype float64"),
        ([[0.5, 0.5, 0.1, 0.1]], [0, 1], "one label for each of the 1 boxes, got 2"),
        ([[0.5, 0.5, 0.0, 0.1]], [0], r"box 0 is \[0.5, 0.5, 0.0"),
        ([[0.5, 0.5, 0.1, 0.1], [9, 9, 4, 4]], [0, 0], "Divide pixels"),
        ([[np.nan, 0.5, 0.1, 0.1]], [0], "box 0 is"),
    ],
)
def test_wrong_input_is_refused(boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        encode_targets(boxes, labels, GRID)


def test_wrong_rule_is_refused():
    with pytest.raises(ValueError, match="'first', 'last', 'largest', got 'best'"):
        encode_targets([], [], GRID, "best")


# TensorFlow flushes subnormal numbers to zero.
fraction = st.floats(0, 1, width=32, allow_subnormal=False)
size = st.floats(np.float32(1e-3), 1, width=32)
objects = st.lists(st.tuples(fraction, fraction, size, size, st.integers(0, 2)), max_size=12)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(objects, min_size=1, max_size=4),
    st.integers(1, 14),
    st.sampled_from(COLLISION_RULES),
    st.booleans(),
)
def test_graph_twin_gives_the_same_bits(images, side, rule, neighbours):
    grid = GridSpec(S=side, B=1, C=3)
    most = max(map(len, images))
    boxes = np.zeros((len(images), most, 4), np.float32)
    labels = np.zeros((len(images), most), np.int32)
    valid = np.zeros((len(images), most), bool)
    for n, rows in enumerate(images):
        # Objects lie anywhere among the places: here at the end.
        places = np.arange(most - len(rows), most)
        boxes[n, places] = np.array([r[:4] for r in rows], np.float32).reshape(-1, 4)
        labels[n, places] = [r[4] for r in rows]
        valid[n, places] = True
    targets, dropped = encode_targets_in_graph(
        boxes, labels, valid, grid, rule, neighbours=neighbours
    )
    for n in range(len(images)):
        objects = boxes[n, valid[n]], labels[n, valid[n]]
        expected, lost = encode_targets(*objects, grid, rule, neighbours=neighbours)
        np.testing.assert_array_equal(targets[n].numpy(), expected)
        assert int(dropped[n]) == lost
        if not neighbours:
            assert lost == valid[n].sum() - expected[..., 3].sum()


@settings(deadline=None, max_examples=40)
@given(objects, st.integers(1, 14))
def test_every_kept_object_can_be_read_back(objects, side):
    grid = GridSpec(S=side, B=1, C=3)
    boxes = np.array([o[:4] for o in objects], np.float32).reshape(-1, 4)
    targets, _ = encode_targets(boxes, [o[4] for o in objects] or np.zeros(0, int), grid)
    rows, columns = np.nonzero(targets[..., 3])
    cells = targets[rows, columns]
    read = np.concatenate(
        [(cells[:, 4:6] + np.stack([columns, rows], 1)) / side, cells[:, 6:]], axis=1
    )
    for box in read:
        assert np.abs(boxes - box).max(axis=1).min() < 1e-6


def test_who_keeps_a_cell_by_hand():
    """Three in cell (0, 0), the second the largest; one alone in the last cell."""
    boxes = [[0.1, 0.1, 0.1, 0.1], [0.1, 0.05, 0.3, 0.3], [0.05, 0.1, 0.2, 0.2], [1, 1, 0.1, 0.1]]
    for rule, keeper in (("first", 0), ("last", 2), ("largest", 1)):
        cells, keepers = assign_cells(boxes, GRID, rule)
        assert cells.tolist() == [0, 0, 0, GRID.cells - 1]
        assert keepers.tolist() == [keeper] * 3 + [3]
        targets, dropped = encode_targets(boxes, [0, 1, 2, 0], GRID, rule)
        assert targets[0, 0].argmax() == keeper and dropped == 2
    assert assign_cells(np.zeros((0, 4)), GRID)[0].shape == (0,)


def test_an_example_is_encoded_without_what_is_difficult():
    example = Example(
        *("a", [[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.2]], [0, 1], [True, False], (8, 8)),
        draw=lambda: np.zeros((8, 8, 3), np.uint8),
    )
    expected, _ = encode_targets(example.boxes_cxcywh[1:], [1], GRID)
    np.testing.assert_array_equal(encode_example(example, GRID), expected)
