"""What a network computes for one image."""

import itertools
import math

import keras

from yolov1.darknet.local import LocallyConnected2D

# Layer -> how often a weight of its kernel is multiplied, of its input's and output's shape
# without the batch and the channels: once for each place where the kernel is laid.
_PLACES = {
    keras.layers.Conv2D: lambda inputs, outputs: outputs,
    keras.layers.DepthwiseConv2D: lambda inputs, outputs: outputs,
    keras.layers.SeparableConv2D: lambda inputs, outputs: outputs,
    keras.layers.Conv2DTranspose: lambda inputs, outputs: inputs,
    keras.layers.Dense: lambda inputs, outputs: outputs,
    LocallyConnected2D: lambda inputs, outputs: (),  # a kernel for each place
}


def multiply_adds(model: keras.Model) -> int:
    """Multiplications of a weight and a value, each with its addition, that one image takes.

    Counted are convolutions (with groups, depthwise, separable, transposed, local) and dense
    layers: the weights of a kernel times the places where it is laid, those in the padding too.
    Twice that is what Darknet prints as operations. Biases, batch normalisation, activations,
    pooling and resizing are not counted.

    Args:
        model: a functional network with a fixed input size; networks in it count with theirs, and
            a layer as often as it is called.

    Raises:
        ValueError: a layer with other weights, or whose places depend on the size of the input.
    """
    functional = keras.Model(model.inputs, model.outputs, name=model.name)
    # (Keras says nowhere else how often a layer is called, and on what.)
    calls = itertools.chain(*functional._nodes_by_depth.values())
    return sum(_of_call(model, node.operation, node) for node in calls)


def _of_call(model, layer, node) -> int:
    if isinstance(layer, keras.Model):
        return multiply_adds(layer)
    weights = getattr(layer, "weights", [])  # a bare operation has none
    if type(layer) not in _PLACES:
        if any(len(weight.shape) > 1 for weight in weights):
            _refuse(model, layer, "has weights that nobody counted so far")
        return 0
    inputs, outputs = (tensors[0].shape[1:-1] for tensors in (node.input_tensors, node.outputs))
    places = _PLACES[type(layer)](inputs, outputs)
    if None in places:
        _refuse(model, layer, f"takes inputs of any size, {list(inputs)}")
    kernels = (math.prod(weight.shape) for weight in weights if "kernel" in weight.name)
    return sum(kernels) * math.prod(places)


def _refuse(model, layer, why):
    raise ValueError(
        f"multiply_adds: the layer {layer.name!r} ({type(layer).__name__}) of {model.name!r} {why}."
    )
