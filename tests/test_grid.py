import numpy as np
import pytest

from yolov1.grid import GridSpec


@pytest.mark.parametrize(("S", "B", "C", "D"), [(7, 2, 20, 30), (3, 1, 1, 6), (5, 4, 7, 27)])
def test_sizes(S, B, C, D):
    grid = GridSpec(S=S, B=B, C=C)
    assert grid.channels == D
    assert grid.prediction_shape == (S, S, D)
    assert grid.target_shape == (S, S, C + 5)
    assert grid.flat_size == S * S * D
    assert grid.predicted_boxes == S * S * B


def test_papers_grid_is_the_default():
    """Section 2: S = 7, B = 2, C = 20, a 7 x 7 x 30 tensor, 448 pixels, 98 boxes."""
    grid = GridSpec()
    assert (grid.prediction_shape, grid.image_size) == ((7, 7, 30), 448)
    assert grid.predicted_boxes == 98


@pytest.mark.parametrize(("B", "C"), [(2, 20), (1, 1), (4, 7)])
def test_channel_blocks_tile_the_cell(B, C):
    grid = GridSpec(B=B, C=C)
    channels = np.arange(grid.channels)
    blocks = (grid.class_channels, grid.confidence_channels, grid.box_channels)
    np.testing.assert_array_equal(np.concatenate([channels[b] for b in blocks]), channels)
    assert [len(channels[b]) for b in blocks] == [C, B, 4 * B]
    target = np.arange(grid.target_channels)
    parts = [target[grid.class_channels], [grid.target_object_channel]]
    parts.append(target[grid.target_box_channels])
    np.testing.assert_array_equal(np.concatenate(parts), target)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "7", None])
def test_refuses_what_is_not_a_positive_integer(value):
    with pytest.raises(ValueError, match="GridSpec: S must be an integer of at least 1, got"):
        GridSpec(S=value)
