"""The layers that several networks share."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yolov1.models.layers import AreaResample, FusedBatchNormalization, area_weights


@pytest.mark.parametrize("size, cells", [(14, 7), (14, 9), (7, 7), (15, 4), (3, 7), (1, 3)])
def test_every_cell_is_the_mean_over_its_area(size, cells):
    weights = area_weights(size, cells)
    assert weights.shape == (cells, size)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=0), cells / size, rtol=1e-5)
    fine = np.repeat(np.arange(size, dtype=float), cells)  # every pixel in `cells` equal slices
    expected = fine.reshape(cells, size).mean(axis=1)
    np.testing.assert_allclose(weights @ np.arange(size), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("height, width", [(14, 14), (7, 7), (14, 21), (13, 9), (4, 4)])
def test_area_resample_agrees_with_the_weights(height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    got = AreaResample(7)(x)
    expected = np.einsum("rh,cw,nhwf->nrcf", area_weights(height, 7), area_weights(width, 7), x)
    assert got.shape == (2, 7, 7, 3)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_area_resample_keeps_half_precision():
    layer = AreaResample(3, dtype="mixed_bfloat16")
    assert layer(tf.zeros([1, 7, 7, 2])).dtype == tf.bfloat16


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (1, 1, 2, 3)])
def test_fused_batch_normalisation_is_keras_own(shape):
    x = np.random.default_rng(1).normal(2, 3, size=shape).astype(np.float32)
    upstream = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    results = []
    for cls in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = cls(momentum=0.8)
        layer.build(shape)
        layer.set_weights(
            [np.array(w) for w in ([1.0, 2, 3], [-1.0, 0, 1], [0.5, 0.5, 0.5], [2.0, 2, 2])]
        )
        images = tf.Variable(x)
        with tf.GradientTape() as tape:
            outputs = layer(images, training=True)
            loss = tf.reduce_sum(outputs * upstream)
        gradients = tape.gradient(loss, [images, *layer.trainable_variables])
        results.append([outputs, *gradients, *layer.get_weights(), layer(x, training=False)])
    for reference, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, reference, rtol=1e-4, atol=1e-4)


def test_fused_batch_normalisation_leaves_frozen_layers_alone():
    layer = FusedBatchNormalization()
    layer.build((2, 2, 2, 3))
    layer.trainable = False
    before = [w.copy() for w in layer.get_weights()]
    layer(tf.random.normal([2, 2, 2, 3]), training=True)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fused_batch_normalisation_repeats_its_bits():
    x = tf.random.stateless_normal([8, 28, 28, 24], seed=[1, 2])
    layer = FusedBatchNormalization()
    layer.build(x.shape)
    runs = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) ** 3)
        gradient = tape.gradient(loss, [x, *layer.trainable_variables])
        runs.append(b"".join(g.numpy().tobytes() for g in gradient))
    assert runs[0] == runs[1] == runs[2]
