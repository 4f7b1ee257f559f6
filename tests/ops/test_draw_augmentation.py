"""The draws of an augmentation: the fused op has the bits of TensorFlow's random ops."""

import numpy as np
import pytest
import tensorflow as tf

from yolov1 import data, ops
from yolov1.data.augmentation import PRESETS, draw

ALL = data.Augmentation(0.7, 0.37, 3.0, 1.2, 0.1, 0.3, 0.6, 0.5, 1.0)
SEEDS = (0, 3, -5, 2**62 + 12345)


def positions():
    rng = np.random.default_rng(0)
    return tf.constant(np.concatenate([np.arange(40), rng.integers(0, 2**62, 40), [-1]]), tf.int64)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.each_value
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*PRESETS, "all"])
def test_bits(name, seed):
    augmentation = ALL if name == "all" else data.Augmentation.preset(name)
    want = draw(augmentation, seed, positions())
    assert_same(ops.draw_augmentation(augmentation, seed, positions(), impl="fused"), want)
    assert_same(ops.draw_augmentation(augmentation, seed, positions(), impl="reference"), want)


def test_bits_in_tf_data():
    def both(position):
        return draw(ALL, 7, position), ops.draw_augmentation(ALL, 7, position, impl="fused")

    want, got = next(iter(tf.data.Dataset.from_tensors(positions()).map(both)))
    assert_same(got, want)


def test_each_position_is_drawn_for_alone():
    whole = ops.draw_augmentation(ALL, 1, positions(), impl="fused")
    parts = [ops.draw_augmentation(ALL, 1, positions()[k : k + 1], impl="fused") for k in range(81)]
    assert_same([tf.concat(part, 0) for part in zip(*parts, strict=True)], whole)


def test_the_ranges_are_filled():
    drawn = ops.draw_augmentation(ALL, 0, tf.range(20000, dtype=tf.int64), impl="fused")
    window, flips, transpose, colour = (part.numpy() for part in drawn)
    size = window[:, 2:] - window[:, :2]
    assert 0.3 - 1e-6 <= size.min() < 0.31 and 1.69 < size.max() <= 1.7 + 1e-6
    np.testing.assert_allclose(flips.mean(axis=0), [0.3, 0.6], atol=0.02)
    np.testing.assert_allclose(transpose.mean(), 0.5, atol=0.02)
    assert -0.1 <= colour[:, 0].min() < -0.099 and 0.099 < colour[:, 0].max() <= 0.1
    np.testing.assert_allclose((colour[:, 1:] >= 1).mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(colour[:, 1:].max(axis=0), [1.2, 3.0], rtol=0.01)
    np.testing.assert_allclose(colour[:, 1:].min(axis=0), [1 / 1.2, 1 / 3], rtol=0.01)


def test_no_position():
    drawn = ops.draw_augmentation(ALL, 0, [], impl="fused")
    assert [part.shape for part in drawn] == [(0, 4), (0, 2), (0,), (0, 3)]


def test_vectorized_map():
    stacked = tf.reshape(positions()[:80], [8, 10])
    mapped = tf.vectorized_map(lambda p: ops.draw_augmentation(ALL, 2, p, impl="fused"), stacked)
    want = ops.draw_augmentation(ALL, 2, positions()[:80])
    assert_same([tf.reshape(a, b.shape) for a, b in zip(mapped, want, strict=True)], want)


def test_errors():
    with pytest.raises(ValueError, match=r"positions must be \[n\], got \(2, 2\)"):
        ops.draw_augmentation(ALL, 0, [[1, 2], [3, 4]])
    with pytest.raises(TypeError, match="seed must be a Python integer, got EagerTensor"):
        ops.draw_augmentation(ALL, tf.constant(3), [1])
    with pytest.raises(ValueError, match="64 bits"):
        ops.draw_augmentation(ALL, 2**63, [1])
    with pytest.raises(ValueError, match="impl must be"):
        ops.draw_augmentation(ALL, 0, [1], impl="fast")
