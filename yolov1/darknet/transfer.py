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
    weights, kernel = arrays["weights"], parameters.layer.kernel
    rows = max(1, _PIECE // (weights[:1].nbytes or 1))
    local = layer.kind == "local"
    for start in range(0, len(weights), rows):
        chosen = slice(start, start + rows)
        piece = weights[chosen]
        turned = piece.reshape(len(piece), *kernel.shape[1:]) if local else _turned(layer, piece)
        if rows >= len(weights) or _is_distributed(kernel.value):
            # Where replicas share it, a variable is only assigned as a whole.
            whole = weights.reshape(kernel.shape) if local else _turned(layer, weights)
            kernel.assign(np.ascontiguousarray(whole))
            break
        place = kernel.value[chosen] if local else kernel.value[..., chosen]
        place.assign(np.ascontiguousarray(turned))
        _give_back(piece)
    _give_back(weights)


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
    """Some outputs' weights in Keras' order, the outputs last."""
    if layer.kind != "connected":
        return weights.transpose(2, 3, 1, 0)
    c, h, w = (*layer.input, 1, 1)[:3]
    return weights.reshape(len(weights), c, h, w).transpose(2, 3, 1, 0).reshape(c * h * w, -1)


def _numpy(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _is_distributed(value):
    import tensorflow as tf

    return isinstance(value, tf.distribute.DistributedValues)


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
