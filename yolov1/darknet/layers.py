"""Darknet's layers where Keras has none that computes the same.

Maps are ``[N, H, W, channels]`` and vectors ``[N, values]``. The formulas are those of Darknet's C
code on a CPU (pjreddie/darknet, src/batchnorm_layer.c, maxpool_layer.c, crop_layer.c,
activations.h). All layers are saved and loaded by their configuration.
"""

import keras
import numpy as np
from keras import ops

from yolov1.darknet.cfg import parse_cfg
from yolov1.darknet.plan import plan
from yolov1.heads import YoloReshape

_serializable = keras.saving.register_keras_serializable(package="yolov1")

EPSILON_IN = ("deviation", "variance")
GRADIENTS = ("darknet", "exact")


def require_word(name: str, value, allowed):
    """Raises `ValueError` where the value of an option is none of the words allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


@ops.custom_gradient
def _standardize(x, mean, variance, deviation):
    """``(x - mean) / deviation`` with Darknet's gradient; all of them of one dtype."""
    centred = x - mean

    def gradient(*upstreams, upstream=None):
        d = upstreams[0] if upstream is None else upstream
        count = _count(x)
        rate = ops.rsqrt(variance + 1e-5)  # inside the root, whatever the forward pass had
        d_mean = -rate * _sum(d)
        d_variance = -0.5 * rate**3 * _sum(d * centred)
        dx = d * rate + (2 / count) * d_variance * centred + d_mean / count
        # All that x does is in its own gradient: none comes back through its statistics.
        return dx, *[ops.zeros_like(mean)] * 3

    return centred / deviation, gradient


def _sum(values):
    return ops.sum(values, axis=tuple(range(len(values.shape) - 1)))


def _count(values):
    """How many values of a channel there are, in the dtype of the values."""
    return ops.cast(ops.prod(ops.shape(values)[:-1]), values.dtype)


@_serializable
class DarknetBatchNormalization(keras.layers.Layer):
    """Batch normalisation over the last axis of a map or a vector, as Darknet has it.

    ``y = (x - mean) / deviation * gamma + beta``. In training mean and variance are the batch's,
    the variance with a divisor of N - 1 (N values of a channel in the batch), and the moving
    averages take .01 of them at each call: at each of a step's subdivisions. At inference they are
    the moving averages, and `moving_variance` is the plain variance of a weights file, so that it
    comes out of a network as it went in.

    Of a single value (N = 1) Darknet's variance is 0 / 0, NaN, and with it all that follows and
    the moving average for good. Here it is 0: the output is beta.

    Computed in float32 under every policy but float64.

    Args:
        epsilon_in: ``deviation``: ``sqrt(variance) + 1e-6``, Darknet on a CPU and all of it until
            2017; ``variance``: ``sqrt(variance + 1e-5)``, its GPU builds since.
        gradient: ``darknet``: its backward pass, which is not the derivative of its forward pass:
            ``r = (variance + 1e-5)^-1/2`` in the place of 1 / deviation, and 1 / N where the
            variance has 1 / (N - 1). ``exact``: the derivative.

    Raises:
        ValueError: an unknown word.
    """

    def __init__(self, epsilon_in="deviation", gradient="darknet", **kwargs):
        super().__init__(**kwargs)
        require_word("DarknetBatchNormalization: epsilon_in", epsilon_in, EPSILON_IN)
        require_word("DarknetBatchNormalization: gradient", gradient, GRADIENTS)
        self.epsilon_in, self.gradient = epsilon_in, gradient

    def build(self, input_shape):
        def add(name, initializer, **kwargs):
            return self.add_weight(
                shape=(input_shape[-1],),
                name=name,
                initializer=initializer,
                dtype=keras.backend.result_type(self.variable_dtype, "float32"),
                autocast=False,
                **kwargs,
            )

        self.gamma, self.beta = add("gamma", "ones"), add("beta", "zeros")
        averages = {"trainable": False, "aggregation": "mean"}
        self.moving_mean = add("moving_mean", "zeros", **averages)
        self.moving_variance = add("moving_variance", "ones", **averages)

    def call(self, inputs, training=None):
        x = ops.cast(inputs, self.gamma.dtype)
        if not (training and self.trainable):
            scale = self.gamma / self._deviation(self.moving_variance)
            return ops.cast((x - self.moving_mean) * scale + self.beta, inputs.dtype)
        count = _count(x)
        mean = _sum(x) / count
        variance = _sum(ops.square(x - mean)) / ops.maximum(count - 1, 1)
        deviation = self._deviation(variance)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(0.99 * moving + 0.01 * ops.stop_gradient(batch))
        if self.gradient == "exact":
            normalized = (x - mean) / deviation
        else:
            normalized = _standardize(x, mean, variance, deviation)
        return ops.cast(normalized * self.gamma + self.beta, inputs.dtype)

    def _deviation(self, variance):
        if self.epsilon_in == "deviation":
            return ops.sqrt(variance) + 1e-6
        return ops.sqrt(variance + 1e-5)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"epsilon_in": self.epsilon_in, "gradient": self.gradient}


def _stair(x):
    floor, half = ops.floor(x), ops.floor(x / 2)
    return ops.where(floor == 2 * half, half, x - floor + half)


def _elu(x, scale, alpha):
    return ops.where(x >= 0, scale * x, scale * alpha * (ops.exp(ops.minimum(x, 0)) - 1))


# Darknet's gradients, which it takes from the output, are the derivatives of these.
ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: ops.leaky_relu(x, 0.1),
    "relu": ops.relu,
    "ramp": lambda x: ops.relu(x) + 0.1 * x,
    "logistic": ops.sigmoid,
    "tanh": ops.tanh,
    "elu": lambda x: _elu(x, 1.0, 1.0),
    "selu": lambda x: _elu(x, 1.0507, 1.6732),
    "relie": lambda x: ops.leaky_relu(x, 0.01),
    "hardtan": lambda x: ops.clip(x, -1, 1),
    "lhtan": lambda x: ops.where(x < 0, 0.001 * x, ops.where(x > 1, 0.001 * (x - 1) + 1, x)),
    "loggy": lambda x: 2 * ops.sigmoid(x) - 1,
    "plse": lambda x: ops.where(
        x < -4, 0.01 * (x + 4), ops.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)
    ),
    "stair": _stair,
}


@_serializable
class DarknetActivation(keras.layers.Layer):
    """One of `ACTIVATIONS`, by Darknet's name.

    Raises:
        ValueError: an unknown name. (Darknet takes ReLU then; who reads a cfg decides that.)
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"DarknetActivation: activation must be one of {', '.join(ACTIVATIONS)}, "
                f"got {activation!r}."
            )
        self.activation = activation

    def call(self, inputs):
        return ACTIVATIONS[self.activation](inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"activation": self.activation}


@_serializable
class DarknetMaxPooling2D(keras.layers.Layer):
    """Maxima over windows of `size`, `padding` values in all being added to each side's length.

    The first window starts at ``-(padding // 2)``; there are ``(n + padding - size) // stride + 1``
    of them, and what is outside of the map counts as the lowest finite number.

    Args:
        size, stride: of a window, pixels.
        padding: Darknet's default is ``size - 1``.
    """

    def __init__(self, size, stride, padding, **kwargs):
        super().__init__(**kwargs)
        self.size, self.stride, self.padding = size, stride, padding

    def call(self, inputs):
        before = self.padding // 2
        widths = []
        for length, windows in zip(
            inputs.shape[1:3], self.compute_output_shape(inputs.shape)[1:3], strict=True
        ):
            after = (windows - 1) * self.stride + self.size - before - length
            widths.append((before, max(0, after)))
        if widths != [(0, 0), (0, 0)]:
            lowest = np.finfo("float16" if inputs.dtype == "float16" else "float32").min
            inputs = ops.pad(inputs, [(0, 0), *widths, (0, 0)], constant_values=float(lowest))
        return ops.max_pool(inputs, self.size, self.stride, "valid")

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        windows = [(side + self.padding - self.size) // self.stride + 1 for side in sides]
        return (batch, *windows, channels)

    def get_config(self):
        own = {"size": self.size, "stride": self.stride, "padding": self.padding}
        return super().get_config() | own


@_serializable
class ImageCrop(keras.layers.Layer):
    """The middle of the images, moved from [0, 1] to [-1, 1]: Darknet's ``[crop]`` at inference.

    In training too: Darknet's random place and flip, and the colours of its GPU builds, belong to
    the data's augmentation here.

    Args:
        height, width: of what is left, pixels.
        adjust: whether to give 2x - 1 rather than x.
    """

    def __init__(self, height, width, adjust=True, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width, self.adjust = height, width, adjust

    def call(self, inputs):
        top = (inputs.shape[1] - self.height) // 2
        left = (inputs.shape[2] - self.width) // 2
        x = inputs[:, top : top + self.height, left : left + self.width]
        return 2 * x - 1 if self.adjust else x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self):
        own = {"height": self.height, "width": self.width, "adjust": self.adjust}
        return super().get_config() | own


@_serializable
class Detection(YoloReshape):
    """The last layer of a detector from a cfg: `YoloReshape` that keeps the cfg's text.

    Attributes:
        cfg: the text, which a saved network carries with it.
    """

    def __init__(self, S, B, C, activations="linear", cfg="", **kwargs):
        super().__init__(S, B, C, activations, **kwargs)
        self.cfg = cfg

    @property
    def semantics(self):
        """The `LossSemantics` of the cfg: what w and h mean, and the scales of the loss."""
        return plan(parse_cfg(self.cfg)).semantics

    def get_config(self):
        return super().get_config() | {"cfg": self.cfg}


@_serializable
class ClassifierOutput(keras.layers.Layer):
    """The last layer of a classifier from a cfg: gives what it gets, and keeps the cfg's text.

    Attributes:
        cfg: the text, which a saved network carries with it.
    """

    def __init__(self, cfg="", **kwargs):
        super().__init__(**kwargs)
        self.cfg = cfg

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"cfg": self.cfg}
