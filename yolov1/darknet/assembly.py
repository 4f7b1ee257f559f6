"""A network of Keras layers from the plan of a cfg."""

import dataclasses
import math

import keras

from yolov1.darknet.errors import DarknetError
from yolov1.darknet.layers import (
    GRADIENTS,
    ClassifierOutput,
    DarknetActivation,
    DarknetBatchNormalization,
    DarknetMaxPooling2D,
    Detection,
    ImageCrop,
    require_word,
)
from yolov1.darknet.local import LocallyConnected2D
from yolov1.darknet.plan import Layer, Plan
from yolov1.darknet.shapes import NEED_IMAGE, padding

# batch_norm -> epsilon_in of the layer.
BATCH_NORM = {"cpu": "deviation", "gpu": "variance"}


@dataclasses.dataclass(frozen=True)
class _Part:
    """What a layer is made of: its plan, and what all layers have in common."""

    layer: Layer
    dtype: str | None
    norm: dict
    given: bool  # whether weights will be assigned, so that drawing some would be in vain

    def get(self, key, default):
        return self.layer.section.get(key, default)

    def named(self, kind):
        return {"name": name_of(self.layer.index, kind), "dtype": self.dtype}

    def called(self, layer, x, initializer):
        """Calls a layer with a kernel, drawn by `initializer` unless it will be assigned."""
        layer.kernel_initializer = keras.initializers.Zeros() if self.given else initializer
        outputs = layer(x)
        layer.kernel_initializer = initializer  # what a copy from its configuration draws by
        return outputs


def name_of(index: int, kind: str) -> str:
    """The name of a Keras layer: ``l03_convolutional`` has the kernel of section 3."""
    return f"l{index:02}_{kind}"


def is_normalized(layer: Layer) -> bool:
    """Whether there is batch normalisation behind its kernel."""
    return any(block.name == "scales" for block in layer.blocks)


def assemble(plan: Plan, batch_norm="cpu", gradient="darknet", given=(), name=None):
    """The Keras model of a plan.

    Args:
        plan: of `yolov1.darknet.plan`.
        batch_norm, gradient: see `network.build`.
        given: indices of the layers whose weights are going to be assigned.
        name: of the model.

    Raises:
        DarknetError: a layer that is not built here.
        ValueError: an unknown word.
    """
    require_word("batch_norm", batch_norm, BATCH_NORM)
    require_word("batch_norm_gradient", gradient, GRADIENTS)
    if plan.unsupported:
        raise DarknetError(plan.unsupported[0])
    norm = {"epsilon_in": BATCH_NORM[batch_norm], "gradient": gradient}
    # From the last parameters on: small errors, and their sums, need float32 in the head.
    head = max((layer.index for layer in plan.layers if layer.blocks), default=0)
    inputs = x = keras.Input((*plan.input[1:], plan.input[0]), name="images", dtype="float32")
    for layer in plan.layers[:-1] if plan.head == "detection" else plan.layers:
        part = _Part(layer, "float32" if layer.index >= head else None, norm, layer.index in given)
        if layer.kind in NEED_IMAGE and len(x.shape) == 2:
            x = keras.layers.Reshape((1, 1, x.shape[1]), **part.named("image"))(x)
        x = _MAKE[layer.kind](x, part)
    return keras.Model(inputs, _output(x, plan), name=name or "darknet")


def _output(x, plan):
    last, text = plan.layers[-1], plan.cfg.text()
    if plan.head != "detection":
        return ClassifierOutput(text, dtype="float32", name="predictions")(x)
    grid = plan.grid
    activations = {"classes": "softmax" if plan.detection.get("softmax", 0) else "linear"}
    x = _vector(x, _Part(last, "float32", {}, False))
    output = Detection(
        grid.S, grid.B, grid.C, activations, text, dtype="float32", name="predictions"
    )
    return output(x)


def _vector(x, part):
    """The values in Darknet's order: channel, row, column."""
    if len(x.shape) == 2:
        return x
    if x.shape[1:3] != (1, 1):
        x = keras.layers.Permute((3, 1, 2), **part.named("order"))(x)
    return keras.layers.Flatten(**part.named("flatten"))(x)


def _activate(x, part):
    if is_normalized(part.layer):
        x = DarknetBatchNormalization(**part.norm, **part.named("batch_normalization"))(x)
    activation = part.get("activation", "logistic")
    if activation == "linear":
        return x
    return DarknetActivation(activation, **part.named(activation))(x)


def _uniform(inputs):
    limit = math.sqrt(2 / inputs)
    return keras.initializers.RandomUniform(-limit, limit)


def _convolutional(x, part):
    weights = part.layer.blocks[-1].shape
    size, stride, pad = weights[-1], part.get("stride", 1), padding(part.layer.section)
    same = stride == 1 and size % 2 == 1 and pad == size // 2
    if pad and not same:
        x = keras.layers.ZeroPadding2D(pad, **part.named("padding"))(x)
    normal = keras.initializers.RandomNormal(stddev=math.sqrt(2 / math.prod(weights[1:])))
    layer = keras.layers.Conv2D(
        weights[0],
        size,
        stride,
        padding="same" if same else "valid",
        groups=part.get("groups", 1),
        use_bias=not is_normalized(part.layer),
        **part.named("convolutional"),
    )
    return _activate(part.called(layer, x, normal), part)


def _connected(x, part):
    # Darknet's vector is (channel, row, column), Keras' (row, column, channel): the kernel's rows
    # are put in Keras' order once, when weights are read, and not the values at every call.
    if len(x.shape) > 2:
        x = keras.layers.Flatten(**part.named("flatten"))(x)
    layer = keras.layers.Dense(
        part.layer.output[0],
        use_bias=not is_normalized(part.layer),
        **part.named("connected"),
    )
    return _activate(part.called(layer, x, _uniform(x.shape[1])), part)


def _local(x, part):
    weights = part.layer.blocks[-1].shape
    layer = LocallyConnected2D(
        weights[1],
        weights[-1],
        part.get("stride", 1),
        part.get("pad", 0),
        **part.named("local"),
    )
    return _activate(part.called(layer, x, _uniform(math.prod(weights[2:]))), part)


def _maxpool(x, part):
    stride = part.get("stride", 1)
    size = part.get("size", stride)
    pad = part.get("padding", size - 1)
    return DarknetMaxPooling2D(size, stride, pad, **part.named("maxpool"))(x)


def _crop(x, part):
    _, height, width = part.layer.output
    adjust = not part.get("noadjust", 0)
    return ImageCrop(height, width, adjust, **part.named("crop"))(x)


def _avgpool(x, part):
    return keras.layers.GlobalAveragePooling2D(**part.named("avgpool"))(x)


def _dropout(x, part):
    return keras.layers.Dropout(part.get("probability", 0.5), **part.named("dropout"))(x)


def _softmax(x, part):
    x = _vector(x, part)
    groups, values = part.get("groups", 1), x.shape[1]
    if groups > 1:
        x = keras.layers.Reshape((groups, values // groups), **part.named("groups"))(x)
    x = keras.layers.Softmax(**part.named("softmax"))(x)
    return keras.layers.Flatten(**part.named("ungrouped"))(x) if groups > 1 else x


_MAKE = {
    "crop": _crop,
    "convolutional": _convolutional,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "local": _local,
    "dropout": _dropout,
    "connected": _connected,
    "softmax": _softmax,
    "cost": _vector,
}
