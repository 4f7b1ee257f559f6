"""Layers that several networks share, and where their heads start."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops


def usual_prior(grid) -> dict:
    """What the outputs of a head start at, as `heads.PriorBias` takes it: the centre of each range,
    but few cells that hold an object."""
    return {"classes": 1 / (grid.C + 1), "confidences": 0.05, "xy": 0.5, "wh": 0.4}


def area_weights(size: int, cells: int) -> np.ndarray:
    """``[cells, size]``: the share that each of `size` pixels has in the mean over each cell.

    Pixels and cells both tile [0, 1]; a pixel counts by the length it has in the cell, so every
    row sums to 1. With ``size % cells == 0`` this is average pooling; with ``size < cells`` a cell
    takes the pixels that it lies in.
    """
    pixels = np.arange(size + 1) / size
    edges = np.arange(cells + 1) / cells
    left = np.maximum(pixels[None, :-1], edges[:-1, None])
    right = np.minimum(pixels[None, 1:], edges[1:, None])
    return (np.maximum(right - left, 0) * cells).astype(np.float32)


@keras.saving.register_keras_serializable(package="yolov1")
class AreaResample(keras.layers.Layer):
    """``[N, H, W, F]`` to ``[N, S, S, F]``: every cell becomes the mean over its area.

    A grid cell keeps seeing exactly its own part of the image, whatever H, W and S are.
    """

    def __init__(self, S, **kwargs):
        super().__init__(**kwargs)
        self.S = S

    def call(self, inputs):
        height, width = inputs.shape[1:3]
        if (height, width) == (self.S, self.S):
            return inputs
        if height % self.S == 0 and width % self.S == 0:
            pool = (height // self.S, width // self.S)
            return ops.average_pool(inputs, pool, strides=pool)
        rows = ops.convert_to_tensor(area_weights(height, self.S), dtype=inputs.dtype)
        columns = ops.convert_to_tensor(area_weights(width, self.S), dtype=inputs.dtype)
        return ops.einsum("rh,cw,nhwf->nrcf", rows, columns, inputs)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.S, self.S, input_shape[-1])

    def get_config(self):
        return super().get_config() | {"S": self.S}


@keras.saving.register_keras_serializable(package="yolov1")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation with TensorFlow's fused kernel for float32 training batches.

    Keras composes the training pass from single ops; the fused kernel took 15 to 20 % off a whole
    training step of the laptop network (2-core CPU, 112 and 224 px). Values, gradients and moving
    averages are those of the Keras layer. Half precision (where the fused CPU kernel is slower),
    synchronised statistics and inference go through Keras.
    """

    def call(self, inputs, training=None, mask=None):
        fused = inputs.dtype == "float32" and len(inputs.shape) == 4 and mask is None
        if not (training and self.trainable and fused) or self.synchronized or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The kernel gives the unbiased variance n / (n - 1); Keras averages the plain one.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
        variance *= tf.maximum(count - 1, 1) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs
