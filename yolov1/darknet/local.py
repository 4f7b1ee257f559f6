"""Darknet's ``[local]`` layer, which Keras 3 has no more: a convolution with weights of its own at
every place of the output."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="yolov1")
class LocallyConnected2D(keras.layers.Layer):
    """``[N, H, W, c]`` to ``[N, H', W', filters]``, ``H' = (H + 2 padding - size) // stride + 1``.

    The kernel is ``[H' * W', filters, c * size * size]``, the order of Darknet's files, and the
    bias ``[H', W', filters]``. A call is one batched product over the places, which reads the
    kernel once, where it lies: at 115.6 M weights that is all its time.

    Args:
        filters, size, stride: as of a convolution.
        padding: zeros on every side.
        kernel_initializer: by default Darknet's, uniform in ``+-sqrt(2 / (c * size * size))``, but
            at every place: Darknet draws for the first and leaves all others 0.
    """

    def __init__(self, filters, size, stride=1, padding=0, kernel_initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.stride, self.padding = filters, size, stride, padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        _, height, width, _ = self.compute_output_shape(input_shape)
        values = input_shape[-1] * self.size**2
        limit = math.sqrt(2 / values)
        self.kernel = self.add_weight(
            shape=(height * width, self.filters, values),
            name="kernel",
            initializer=self.kernel_initializer or keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(
            shape=(height, width, self.filters), name="bias", initializer="zeros"
        )

    def call(self, inputs):
        _, height, width, filters = self.compute_output_shape(inputs.shape)
        border = (self.padding, self.padding)
        x = ops.pad(inputs, [(0, 0), border, border, (0, 0)]) if self.padding else inputs
        rows, columns = ((n - 1) * self.stride + 1 for n in (height, width))
        taps = [
            x[:, r : r + rows : self.stride, c : c + columns : self.stride]
            for r in range(self.size)
            for c in range(self.size)
        ]
        places, _, values = self.kernel.shape
        patches = ops.reshape(ops.stack(taps, axis=-1), (-1, places, values))
        # Not by ops.transpose and ops.matmul, which copy the kernel first where nothing is traced.
        products = ops.einsum("npv,pfv->npf", patches, self.kernel)
        return ops.reshape(products, (-1, height, width, filters)) + self.bias

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        sides = [(side + 2 * self.padding - self.size) // self.stride + 1 for side in sides]
        return (batch, *sides, self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters,
            "size": self.size,
            "stride": self.stride,
            "padding": self.padding,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer)
            if self.kernel_initializer
            else None,
        }
