"""Darknet's layers against its formulas, written out in NumPy at double precision."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from yolov1.darknet import keys
from yolov1.darknet.layers import (
    ACTIVATIONS,
    EPSILON_IN,
    DarknetActivation,
    DarknetBatchNormalization,
    DarknetMaxPooling2D,
    ImageCrop,
)
from yolov1.darknet.local import LocallyConnected2D

RNG = np.random.default_rng(4)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# Batch normalisation.


def normalization(channels, **options):
    layer = DarknetBatchNormalization(**options)
    layer.build((None, channels))
    for variable in layer.weights:
        variable.assign(RNG.random(channels) + 0.2)
    return layer


def deviation_of(variance, epsilon_in):
    if epsilon_in == "deviation":
        return np.sqrt(variance) + 1e-6
    return np.sqrt(variance + 1e-5)


def trained(layer, x, upstream):
    """Outputs, and the gradients of inputs, gamma and beta, flat over all but the channels."""
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    variables = [inputs, layer.gamma.value, layer.beta.value]
    gradients = tape.gradient(outputs, variables, output_gradients=tf.constant(upstream))
    return [np.asarray(a).reshape(-1, x.shape[-1]) for a in (outputs, *gradients)]


@pytest.mark.parametrize("epsilon_in", EPSILON_IN)
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7, 6), (3, 6)])
def test_training_is_darknets_forward_and_backward(shape, epsilon_in):
    layer = normalization(shape[-1], epsilon_in=epsilon_in)
    gamma, beta, mean_before, variance_before = (np.asarray(v, float) for v in layer.get_weights())
    x, upstream = drawn(*shape), drawn(*shape)
    found = trained(layer, x, upstream)

    flat, d_outputs = (a.reshape(-1, shape[-1]).astype(float) for a in (x, upstream))
    n = len(flat)
    mean, variance = flat.mean(0), flat.var(0, ddof=1)
    normalized = (flat - mean) / deviation_of(variance, epsilon_in)
    d, r = d_outputs * gamma, (variance + 1e-5) ** -0.5
    d_mean, d_variance = -r * d.sum(0), -0.5 * r**3 * (d * (flat - mean)).sum(0)
    dx = d * r + 2 / n * d_variance * (flat - mean) + d_mean / n
    d_gamma, d_beta = (d_outputs * normalized).sum(0), d_outputs.sum(0)
    for got, expected in zip(found, (normalized * gamma + beta, dx, d_gamma, d_beta), strict=True):
        np.testing.assert_allclose(got, np.atleast_2d(expected), rtol=2e-5, atol=1e-5)
    mean_after, variance_after = layer.get_weights()[2:]
    np.testing.assert_allclose(mean_after, 0.99 * mean_before + 0.01 * mean, rtol=1e-5)
    np.testing.assert_allclose(variance_after, 0.99 * variance_before + 0.01 * variance, rtol=1e-5)


@pytest.mark.parametrize("epsilon_in", EPSILON_IN)
def test_the_exact_gradient_is_that_of_differences(epsilon_in):
    layer = normalization(2, epsilon_in=epsilon_in, gradient="exact")
    gamma = layer.gamma.numpy().astype(float)
    x, upstream = drawn(3, 2), drawn(3, 2)

    def loss(values):
        centred = values - values.mean(0)
        scale = gamma / deviation_of(values.var(0, ddof=1), epsilon_in)
        return (centred * scale * upstream).sum()

    numeric = np.zeros_like(x, dtype=float)
    for place in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[place] = 1e-5
        numeric[place] = (loss(x + step) - loss(x - step)) / 2e-5
    found = trained(layer, x, upstream)[1]
    np.testing.assert_allclose(found, numeric, rtol=1e-3, atol=1e-4)
    layer.gradient = "darknet"
    assert np.abs(trained(layer, x, upstream)[1] - numeric).max() > 0.05


@pytest.mark.parametrize("epsilon_in", EPSILON_IN)
def test_inference_uses_the_plain_variance(epsilon_in):
    layer = normalization(4, epsilon_in=epsilon_in)
    layer.moving_variance.assign([1e-10, 1e-7, 1e-3, 2.0])
    x = drawn(2, 3, 3, 4)
    gamma, beta, mean, variance = (np.asarray(v, float) for v in layer.get_weights())
    expected = (x - mean) / deviation_of(variance, epsilon_in) * gamma + beta
    for frozen in (False, True):
        layer.trainable = not frozen
        np.testing.assert_allclose(layer(x, training=frozen), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_variance, np.float32([1e-10, 1e-7, 1e-3, 2.0]))


@pytest.mark.parametrize("gradient", ["darknet", "exact"])
def test_a_single_value_gives_beta(gradient):
    layer = normalization(3, gradient=gradient)
    outputs, dx, *_ = trained(layer, drawn(1, 3), drawn(1, 3))
    np.testing.assert_array_equal(outputs[0], layer.beta)
    assert all(np.isfinite(w).all() for w in layer.get_weights())
    if gradient == "darknet":
        np.testing.assert_array_equal(dx, 0)


def test_half_precision_keeps_float32_statistics():
    layer = DarknetBatchNormalization(dtype="mixed_float16")
    x = (300 + drawn(64, 3)).astype(np.float16)
    outputs = layer(x, training=True)
    assert outputs.dtype == "float16"
    assert {v.dtype for v in layer.weights} == {"float32"}
    np.testing.assert_allclose(np.asarray(outputs, float).std(0, ddof=1), 1, atol=2e-2)


def test_decay_acts_on_kernels_only():
    from yolov1.training.optimizers import decayed_kernels

    layers = [LocallyConnected2D(2, 3), DarknetBatchNormalization(), keras.layers.Conv2D(2, 1)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers])
    kernels = [layers[0].kernel, layers[2].kernel]
    assert [id(v) for v in decayed_kernels(model)] == [id(v) for v in kernels]
    others = {v.name for v in model.trainable_variables} - {"kernel"}
    assert others == {"bias", "gamma", "beta"}


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: DarknetBatchNormalization("inside"), "epsilon_in.*'deviation', 'variance'"),
        (lambda: DarknetBatchNormalization(gradient="odd"), "gradient.*'darknet', 'exact'"),
        (lambda: DarknetActivation("mish"), "linear, leaky, .*got 'mish'"),
    ],
)
def test_unknown_words_are_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


# [local].


@pytest.mark.parametrize("size, stride, padding", [(3, 1, 1), (3, 2, 1), (2, 2, 0), (1, 1, 0)])
def test_local_is_a_product_at_each_place(size, stride, padding):
    layer = LocallyConnected2D(4, size, stride, padding)
    x = drawn(2, 6, 5, 3)
    outputs = np.asarray(layer(x))
    for variable in layer.weights:
        variable.assign(drawn(*variable.shape))
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs**2) / 2
    variables = [inputs, layer.kernel.value, layer.bias.value]
    found = [np.asarray(a) for a in (outputs, *tape.gradient(loss, variables))]

    kernel, bias = (np.asarray(w, float) for w in layer.get_weights())
    border = (padding, padding)
    padded = np.pad(x.astype(float), [(0, 0), border, border, (0, 0)])
    height, width = ((n + 2 * padding - size) // stride + 1 for n in (6, 5))
    expected, dx, d_kernel = np.zeros((2, height, width, 4)), np.zeros_like(padded), 0 * kernel
    for row, column in np.ndindex(height, width):
        place = row * width + column
        window = (
            slice(None),
            slice(row * stride, row * stride + size),
            slice(column * stride, column * stride + size),
        )
        patch = padded[window].transpose(0, 3, 1, 2).reshape(2, -1)  # channel, row, column
        values = patch @ kernel[place].T + bias[row, column]
        expected[:, row, column] = values
        d_kernel[place] = values.T @ patch
        dx[window] += (values @ kernel[place]).reshape(2, 3, size, size).transpose(0, 2, 3, 1)
    dx = dx[:, padding : padding + 6, padding : padding + 5]
    for got, wanted in zip(found, (expected, dx, d_kernel, expected.sum(0)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_local_is_drawn_at_every_place():
    layer = LocallyConnected2D(8, 3, padding=1)
    layer.build((None, 4, 4, 5))
    kernel = layer.kernel.numpy()
    limit = math.sqrt(2 / 45)
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    assert np.abs(kernel).reshape(16, -1).mean(1).min() > 0.4 * limit


# The rest.


@pytest.mark.parametrize("size, stride, padding", [(2, 2, 1), (2, 1, 1), (3, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("side", [6, 7])
def test_pools_are_laid_as_darknet_lays_them(size, stride, padding, side):
    x = drawn(2, side, side, 3)
    windows = (side + padding - size) // stride + 1
    expected = np.full((2, windows, windows, 3), -np.inf, np.float32)
    for row, column, r, c in np.ndindex(windows, windows, size, size):
        y = row * stride - padding // 2 + r
        z = column * stride - padding // 2 + c
        if 0 <= y < side and 0 <= z < side:
            here = expected[:, row, column]
            np.maximum(here, x[:, y, z], out=here)
    layer = DarknetMaxPooling2D(size, stride, padding)
    assert layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_array_equal(layer(x), expected)


# As in activations.h: the value of x, and the gradient from the output y.
FORMULAS = {
    "linear": (lambda x: x, lambda y: 1),
    "leaky": (lambda x: x if x > 0 else 0.1 * x, lambda y: 1 if y > 0 else 0.1),
    "relu": (lambda x: x * (x > 0), lambda y: y > 0),
    "ramp": (lambda x: x * (x > 0) + 0.1 * x, lambda y: (y > 0) + 0.1),
    "logistic": (lambda x: 1 / (1 + math.exp(-x)), lambda y: (1 - y) * y),
    "tanh": (
        lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
        lambda y: 1 - y * y,
    ),
    "elu": (
        lambda x: (x >= 0) * x + (x < 0) * (math.exp(x) - 1),
        lambda y: (y >= 0) + (y < 0) * (y + 1),
    ),
    "selu": (
        lambda x: (x >= 0) * 1.0507 * x + (x < 0) * 1.0507 * 1.6732 * (math.exp(x) - 1),
        lambda y: (y >= 0) * 1.0507 + (y < 0) * (y + 1.0507 * 1.6732),
    ),
    "relie": (lambda x: x if x > 0 else 0.01 * x, lambda y: 1 if y > 0 else 0.01),
    "hardtan": (lambda x: max(-1, min(1, x)), lambda y: -1 < y < 1),
    "lhtan": (
        lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
        lambda y: 1 if 0 < y < 1 else 0.001,
    ),
    "loggy": (
        lambda x: 2 / (1 + math.exp(-x)) - 1,
        lambda y: 2 * (1 - (y + 1) / 2) * (y + 1) / 2,
    ),
    "plse": (
        lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5,
        lambda y: 0.01 if y < 0 or y > 1 else 0.125,
    ),
    "stair": (
        lambda x: math.floor(x / 2) + (x - math.floor(x) if math.floor(x) % 2 else 0),
        lambda y: 0 if math.floor(y) == y else 1,
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_and_their_gradients(name):
    value, slope = FORMULAS[name]
    x = np.array([-7.3, -4.2, -2.5, -1.4, -0.6, -0.01, 0.02, 0.7, 1.3, 2.2, 3.6, 4.4, 8.1])
    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = DarknetActivation(name)(inputs)
    expected = [value(v) for v in x]
    np.testing.assert_allclose(outputs, expected, rtol=2e-5, atol=1e-6)
    found = tape.gradient(outputs, inputs)
    np.testing.assert_allclose(found, [slope(v) for v in expected], rtol=2e-4, atol=2e-6)


def test_there_is_a_formula_for_each_name():
    assert set(FORMULAS) == set(ACTIVATIONS) == set(keys.CHOICES["activation"][0])


@pytest.mark.parametrize("adjust", [True, False])
def test_the_crop_is_the_middle(adjust):
    x = RNG.random((2, 9, 8, 3)).astype(np.float32)
    found = ImageCrop(4, 5, adjust)(x, training=True)
    middle = x[:, 2:6, 1:6]
    np.testing.assert_array_equal(found, 2 * middle - 1 if adjust else middle)
