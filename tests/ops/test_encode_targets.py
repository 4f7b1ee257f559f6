"""The targets of a batch of windows: the fused op has the bits of the TensorFlow functions, and of
`data.encode_targets` where the window is the whole image."""

import numpy as np
import pytest
import tensorflow as tf

from yolov1 import data, ops
from yolov1.data.augmentation import Draw
from yolov1.grid import GridSpec

GRID = GridSpec(S=7, B=1, C=5)
IMAGES, BATCH = 60, 200
RULES = ("first", "last", "largest")


@pytest.fixture(scope="module")
def boxes():
    """(boxes_cxcywh, labels, splits) of a data set; some images have none."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, IMAGES)
    sides = rng.uniform(0.01, 0.9, (counts.sum(), 2))
    centres = sides / 2 + rng.random(sides.shape) * (1 - sides)
    boxes = np.concatenate([centres, sides], axis=1).astype(np.float32)
    labels = rng.integers(0, GRID.C, len(boxes)).astype(np.int32)
    return boxes, labels, np.concatenate([[0], np.cumsum(counts)])


@pytest.fixture(scope="module")
def batch():
    """(indices, sizes) of a batch."""
    rng = np.random.default_rng(1)
    indices = np.arange(BATCH) % IMAGES
    return indices, rng.integers(8, 600, (IMAGES, 2))[indices]


def whole_windows(count=BATCH):
    windows = np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    flips, colours = np.zeros((count, 2), bool), np.tile(np.float32([0, 1, 1]), (count, 1))
    return Draw(windows, flips, np.zeros(count, bool), colours)


@pytest.mark.each_value
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("preset", ["none", "paper", "dihedral"])
@pytest.mark.parametrize("min_visible", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("neighbours", [False, True])
def test_both_have_the_same_bits(boxes, batch, preset, rule, min_visible, neighbours):
    drawn = ops.draw_augmentation(data.Augmentation.preset(preset), 5, range(BATCH))
    both = {
        impl: ops.encode_targets(
            *(*boxes, *batch, drawn),
            grid=GRID,
            on_collision=rule,
            min_visible=min_visible,
            neighbours=neighbours,
            impl=impl,
        ).numpy()
        for impl in ("fused", "reference")
    }
    assert both["fused"].shape == (BATCH, 7, 7, 10)
    assert both["fused"][..., 5].sum() > BATCH
    np.testing.assert_array_equal(both["fused"], both["reference"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("neighbours", [False, True])
def test_whole_images_are_those_of_data(boxes, batch, rule, neighbours):
    options = {"on_collision": rule, "neighbours": neighbours}
    got = ops.encode_targets(*(*boxes, *batch, whole_windows()), grid=GRID, **options, impl="fused")
    all_boxes, labels, splits = boxes
    for index, targets in zip(batch[0], got.numpy(), strict=True):
        part = slice(splits[index], splits[index + 1])
        want, _ = data.encode_targets(all_boxes[part], labels[part], GRID, **options)
        np.testing.assert_array_equal(targets[..., :6], want[..., :6])
        # The corners of the window's clip may round a box by one bit, and S times that.
        np.testing.assert_allclose(targets[..., 6:], want[..., 6:], atol=2e-6)


def test_flips_and_transpose_mirror_the_grid():
    box, label, splits = np.float32([[0.2, 0.3, 0.2, 0.4]]), [3], [0, 1]
    draws = whole_windows(4)
    draws.flips[1] = [True, False]
    draws.flips[2] = [False, True]
    draws.transpose[3] = True
    targets = ops.encode_targets(
        *(box, label, splits, [0] * 4, [[100, 100]] * 4, draws), grid=GRID, impl="fused"
    ).numpy()
    cells = [tuple(np.argwhere(one[..., 5])[0]) for one in targets]
    assert cells == [(2, 1), (2, 5), (4, 1), (1, 2)]
    np.testing.assert_allclose(targets[3, 1, 2, 8:], [0.4, 0.2], atol=1e-6)


def test_empty_batch_and_no_boxes():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    targets = ops.encode_targets(
        *nothing, [0, 0], [0, 0], [[5, 5]] * 2, whole_windows(2), grid=GRID, impl="fused"
    )
    assert targets.shape == (2, 7, 7, 10) and not targets.numpy().any()
    targets = ops.encode_targets(
        *nothing, [0, 0], [], np.zeros((0, 2)), whole_windows(0), grid=GRID, impl="fused"
    )
    assert targets.shape == (0, 7, 7, 10)


@pytest.mark.parametrize("impl", ["fused", "reference"])
def test_labels_beyond_32_bits_are_of_no_class(impl):
    box, labels = np.float32([[0.2, 0.3, 0.2, 0.4]]), np.array([2**32 + 3])
    targets = ops.encode_targets(
        *(box, labels, [0, 1], [0], [[100, 100]], whole_windows(1)), grid=GRID, impl=impl
    ).numpy()
    assert targets[..., GRID.C].sum() == 1 and not targets[..., : GRID.C].any()


def test_vectorized_map(boxes, batch):
    drawn = ops.draw_augmentation(data.Augmentation(), 5, range(BATCH))
    rows = tf.nest.map_structure(
        lambda x: tf.reshape(x, [10, BATCH // 10, *np.shape(x)[1:]]), (*batch, drawn)
    )
    mapped = tf.vectorized_map(
        lambda row: ops.encode_targets(*boxes, *row, grid=GRID, impl="fused"), rows
    )
    want = ops.encode_targets(*boxes, *batch, drawn, grid=GRID, impl="fused")
    np.testing.assert_array_equal(tf.reshape(mapped, want.shape), want)


def test_errors(boxes, batch):
    def encode(boxes=boxes, indices=batch[0], sizes=batch[1], draws=None, **options):
        draws = draws or whole_windows(len(indices))
        return ops.encode_targets(*boxes, indices, sizes, draws, grid=GRID, **options)

    with pytest.raises(ValueError, match=r"boxes_cxcywh must be \[\?, 4\], got \[3, 5\]"):
        encode(boxes=(np.zeros((3, 5)), [0] * 3, [0, 3]))
    with pytest.raises(ValueError, match="on_collision must be one of"):
        encode(on_collision="any")
    with pytest.raises(ValueError, match="min_visible must be from 0 to 1, got 2"):
        encode(min_visible=2)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"image 1 index 60 must be in \[0, 60"
    ):
        encode(indices=[0, 60, 61], sizes=[[5, 5]] * 3, impl="fused")
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 0 boxes must be among the"):
        encode((boxes[0], boxes[1], boxes[2] + 10000), impl="fused")
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs must be boxes_cxcywh"):
        encode(indices=[0, 1], sizes=[[5, 5]], impl="fused")
    windows = whole_windows(1)
    windows.window[0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 0 must have a size of"):
        encode(indices=[0], sizes=[[5, 5]], draws=windows, impl="fused")
