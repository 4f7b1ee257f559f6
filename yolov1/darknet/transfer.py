"""Weights between Darknet's arrays and Keras' variables, one layer at a time.

Darknet's kernels are (outputs, channels, rows, columns), Keras' (rows, columns, channels, outputs);
a connected layer on a map has its inputs in the same two orders.
"""

import dataclasses
import mmap

import keras
import numpy as np

from yolov1.darknet.errors import DarknetError
from yolov1.darknet.layers import DarknetBatchNormalization
from yolov1.darknet.plan import Layer

_PIECE = 1 << 24  # bytes of a kernel that are turned at a time


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The Keras layers that hold one section's parameters.

    Attributes:
        layer: with the kernel (and the bias, where there is no `norm`).
        norm: its batch normalisation, or None.
    """

    layer: keras.layers.Layer
    norm: keras.layers.Layer | None = None


def assign(layer: Layer, parameters: Parameters, arrays: dict) -> None:
    """Gives Keras layers the arrays of a weights file.

    The kernel is written in pieces and in place: beside it, there is one piece in memory, also of
    a mapped file, whose pages are given back.
    """
    norm = parameters.norm
    if norm is not None:
        names = ("biases", "scales", "rolling_mean", "rolling_variance")
        variables = (norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance)
        for name, variable in zip(names, variables, strict=True):
            if name in arrays:
                variable.assign(arrays[name])
    else:
        parameters.layer.bias.assign(_to_keras_bias(arrays["biases"]))
    _assign_kernel(layer, parameters.layer.kernel, arrays["weights"])


def _assign_kernel(layer, kernel, weights):
    rows = max(1, _PIECE // (weights[:1].nbytes or 1))
    if rows >= len(weights) or not _in_place(kernel):
        kernel.assign(np.ascontiguousarray(_turned(layer, weights)))
        _give_back(weights)
        return
    for start in range(0, len(weights), rows):
        piece = weights[start : start + rows]
        _write(layer, kernel, start, np.ascontiguousarray(_turned(layer, piece)))
        _give_back(piece)
    _share(kernel)


def arrays_of(layer: Layer, parameters: Parameters) -> dict:
    """The arrays of a layer in Darknet's shapes; the inverse of `assign`.

    Raises:
        DarknetError: a variance that Darknet's formula has no number for.
    """
    keras_layer, norm = parameters.layer, parameters.norm
    kernel = _numpy(keras_layer.kernel)
    if layer.kind == "local":
        bias = _numpy(keras_layer.bias).transpose(2, 0, 1)
        return {"biases": bias, "weights": kernel.reshape(layer.blocks[-1].shape)}
    if layer.kind == "connected":
        c, h, w = (*layer.input, 1, 1)[:3]
        weights = kernel.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[::-1])
    else:
        weights = kernel.transpose(3, 2, 0, 1)
    if norm is None:
        bias = keras_layer.bias
        zeros = np.zeros(len(weights), np.float32)
        return {"biases": zeros if bias is None else _numpy(bias), "weights": weights}
    return _normalization(norm, len(weights)) | {"weights": weights}


def _normalization(norm, n):
    variance = _numpy(norm.moving_variance)
    if not isinstance(norm, DarknetBatchNormalization):
        # Keras: sqrt(variance + epsilon). Darknet: sqrt(variance) + 1e-6.
        inside = variance.astype(np.float64) + norm.epsilon
        if not (inside >= 1e-12).all():
            raise DarknetError(
                f"layer {norm.name!r} has a moving variance of {variance.min()} with an epsilon of "
                f"{norm.epsilon}, which Darknet's sqrt(variance) + 1e-6 cannot express: the sum "
                "must be at least 1e-12."
            )
        variance = np.square(np.sqrt(inside) - 1e-6).astype(np.float32)
    beta, gamma = getattr(norm, "beta", None), getattr(norm, "gamma", None)
    return {
        "biases": np.zeros(n, np.float32) if beta is None else _numpy(beta),
        "scales": np.ones(n, np.float32) if gamma is None else _numpy(gamma),
        "rolling_mean": _numpy(norm.moving_mean),
        "rolling_variance": variance,
    }


def _to_keras_bias(biases):
    return biases.transpose(1, 2, 0) if biases.ndim == 3 else biases


def _turned(layer, weights):
    """The weights of some outputs in Keras' order, outputs last; of some places of [local]."""
    if layer.kind == "local":
        return weights.reshape(*weights.shape[:2], -1)
    if layer.kind != "connected":
        return weights.transpose(2, 3, 1, 0)
    c, h, w = (*layer.input, 1, 1)[:3]
    return weights.reshape(len(weights), c, h, w).transpose(2, 3, 1, 0).reshape(c * h * w, -1)


def _numpy(variable):
    return np.asarray(variable.numpy(), np.float32)


def _in_place(kernel):
    """Whether a part of a variable can be written: not where replicas have it in common."""
    import tensorflow as tf

    return not isinstance(kernel.value, tf.distribute.DistributedValues)


def _write(layer, kernel, start, values):
    """Writes outputs (or places of [local]) from `start` on.

    These are TensorFlow's operations because ``kernel.value[a:b].assign`` takes the slice first,
    which makes the variable be copied before it is written.
    """
    import tensorflow as tf

    handle = kernel.value.handle
    if layer.kind == "local":
        places = np.arange(start, start + len(values), dtype=np.int32)
        tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=places, updates=values)
        return
    before = values.ndim - 1  # axes that are taken whole
    whole = (1 << before) - 1
    tf.raw_ops.ResourceStridedSliceAssign(
        ref=handle,
        begin=[0] * before + [start],
        end=[0] * before + [start + values.shape[-1]],
        strides=[1] * values.ndim,
        value=values,
        begin_mask=whole,
        end_mask=whole,
    )


def _share(kernel):
    """Lets a variable be read without a copy again: TensorFlow makes one at each read, in every
    call of the network, once a part of it was written."""
    import tensorflow as tf

    tf.raw_ops.DisableCopyOnRead(resource=kernel.value.handle)


def _give_back(array):
    """Gives the memory of a mapped file's pages back; they are read again where still needed."""
    base = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    if base is None or not array.flags.c_contiguous or not hasattr(mmap, "MADV_DONTNEED"):
        return
    pages = base._mmap
    start = array.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    aligned = start - start % mmap.PAGESIZE
    pages.madvise(mmap.MADV_DONTNEED, aligned, start + array.nbytes - aligned)
