"""A cfg for a network that came from none, where Darknet has all of its layers.

Such as ``paper`` and ``fast`` of `yolov1.models`, whose layers are walked from first to last.
"""

import warnings

import keras

from yolov1.darknet.cfg import Cfg, Section
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.transfer import Parameters
from yolov1.heads import YoloReshape
from yolov1.semantics import LossSemantics

# How yolov1.cfg is trained; nothing in a Keras model says so.
_NET = {
    "batch": 64,
    "subdivisions": 8,
    "height": 0,
    "width": 0,
    "channels": 3,
    "momentum": 0.9,
    "decay": 0.0005,
    "saturation": 1.5,
    "exposure": 1.5,
    "hue": 0.1,
    "learning_rate": 0.0005,
    "policy": "steps",
    "steps": "200,400,600,20000,30000",
    "scales": "2.5,2,2,.1,.1",
    "max_batches": 40000,
}


def describe(model: keras.Model, semantics=None):
    """The cfg of a network, and where its parameters are.

    Args:
        model: a chain of layers that ends in `heads.YoloReshape`.
        semantics: see `network.cfg_of`.

    Returns:
        (`Cfg`, {index of a section: `Parameters`}).

    Raises:
        DarknetError: names the first layer that Darknet lacks, and why.
    """
    walk = _Walk(model)
    for layer in model.layers:
        walk.take(layer)
    return walk.finish(LossSemantics.of(semantics or "darknet"))


class _Walk:
    """The sections of the layers seen so far.

    Attributes:
        sections: (name, options) in order.
        parameters: {index of a section: `Parameters`}.
        padding: zeros of a ZeroPadding2D, which go into the next section.
        last: the layer before.
        flat: whether a map was flattened and no dense layer came since: its values are in Keras'
            order.
    """

    def __init__(self, model):
        self.model, self.sections, self.parameters = model, [], {}
        self.padding, self.last, self.flat = 0, None, False

    def refuse(self, layer, why):
        raise DarknetError(
            f"Darknet cannot express model {self.model.name!r}: its layer {layer.name!r} "
            f"({type(layer).__name__}) {why}."
        )

    def take(self, layer):
        kind = type(layer).__name__
        try:
            inputs, _ = layer.input, layer.output
        except (AttributeError, ValueError):  # none, or several
            self.refuse(layer, "is called never, or not by one tensor that gives one: no chain")
        rule = (
            getattr(self, f"_{kind}", None)
            if type(layer).__module__.startswith("keras")
            else (self._YoloReshape if type(layer) is YoloReshape else None)
        )
        if rule is None:
            self.refuse(layer, "is none of Darknet's layers")
        if self.last is not None:
            if isinstance(self.last, YoloReshape):
                self.refuse(layer, "comes behind the predictions, where a cfg ends")
            if inputs is not self.last.output:
                self.refuse(layer, "does not take just what the layer before gives")
        if self.padding and kind != "Conv2D":
            self.refuse(self.last, "is followed by no convolution: only those pad with zeros")
        rule(layer)
        self.last = layer

    def add(self, name, options, layer=None):
        if layer is not None:
            self.parameters[len(self.sections)] = Parameters(layer)
        self.sections.append((name, options))

    def _InputLayer(self, layer):
        _, height, width, channels = layer.output.shape if len(layer.output.shape) == 4 else [0] * 4
        if self.sections or self.last or not height or height != width:
            self.refuse(layer, "must be the first, of square images of a fixed size")
        self.side, self.channels = height, channels

    def _Rescaling(self, layer):
        if self.sections or (layer.scale, layer.offset) != (2, -1):
            self.refuse(
                layer,
                f"gives {layer.scale}x + {layer.offset}: Darknet's [crop] gives 2x - 1, of the "
                "images only",
            )
        size = {"crop_height": self.side, "crop_width": self.side}
        self.add("crop", size | {"flip": 0, "angle": 0, "saturation": 1, "exposure": 1})

    def _ZeroPadding2D(self, layer):
        sides = {side for pair in layer.padding for side in pair}
        if len(sides) > 1:
            self.refuse(layer, f"pads by {layer.padding}: Darknet pads all sides by the same")
        self.padding = sides.pop()

    def _Conv2D(self, layer):
        size, stride = self._square(layer, "kernel_size"), self._square(layer, "strides")
        self._require_linear(layer)
        if layer.dilation_rate != (1, 1):
            self.refuse(layer, f"has the dilation {layer.dilation_rate}: Darknet has none")
        pads = [_padding(layer, side, size, stride) for side in layer.input.shape[1:3]]
        if len(set(pads)) > 1 or pads[0] is None:
            self.refuse(
                layer,
                "pads less on the left and top than on the right and bottom (Keras' 'same'): "
                "Darknet pads all sides by the same",
            )
        pad = self.padding + pads[0]
        self.padding = 0
        options = {"filters": layer.filters, "size": size, "stride": stride}
        options |= {"pad": 1} if pad == size // 2 else {"padding": pad}
        options |= {"groups": layer.groups} if layer.groups > 1 else {}
        self.add("convolutional", options | {"activation": "linear"}, layer)

    def _Dense(self, layer):
        self._require_linear(layer)
        if len(layer.input.shape) != 2:
            self.refuse(layer, "takes a map: Darknet's [connected] takes all of it at once")
        self.add("connected", {"output": layer.units, "activation": "linear"}, layer)
        self.flat = False

    def _BatchNormalization(self, layer):
        index = len(self.sections) - 1
        parameters = self.parameters.get(index)
        if parameters is None or parameters.layer is not self.last:
            self.refuse(layer, "follows no convolution or dense layer, whose part it is in Darknet")
        if self.last.use_bias:
            self.refuse(layer, f"follows {self.last.name!r}, which has biases of its own")
        if layer.axis not in (-1, len(layer.input.shape) - 1):
            self.refuse(layer, f"has the axis {layer.axis}: Darknet's is that of the channels")
        self.parameters[index] = Parameters(self.last, layer)
        name, options = self.sections[index]
        self.sections[index] = (name, {"batch_normalize": 1} | options)

    def _LeakyReLU(self, layer):
        if abs(layer.negative_slope - 0.1) > 1e-7:
            self.refuse(layer, f"has the slope {layer.negative_slope}: Darknet's leaky has 0.1")
        index = len(self.sections) - 1
        parameters = self.parameters.get(index)
        if parameters is None or self.last not in (parameters.layer, parameters.norm):
            self.refuse(
                layer,
                "follows no convolution or dense layer, of which Darknet's activation is part",
            )
        self.sections[index][1]["activation"] = "leaky"

    def _MaxPooling2D(self, layer):
        size, stride = self._square(layer, "pool_size"), self._square(layer, "strides")
        found = [_pool_padding(layer, *sides, size, stride) for sides in _sides(layer)]
        both = [pad for pad in found[0] if pad in found[1]]
        if not both:
            self.refuse(layer, "lays its windows otherwise than Darknet can")
        pad = {} if size - 1 in both else {"padding": both[0]}
        self.add("maxpool", {"size": size, "stride": stride} | pad)

    def _Flatten(self, layer):
        self.flat = len(layer.input.shape) > 2

    def _Dropout(self, layer):
        if layer.noise_shape is not None:
            self.refuse(layer, "has a noise_shape: Darknet drops values one by one")
        self.add("dropout", {"probability": layer.rate})

    def _YoloReshape(self, layer):
        others = {k: v for k, v in layer.activations.items() if k != "classes"}
        if set(others.values()) != {"linear"} or layer.activations["classes"] == "sigmoid":
            self.refuse(
                layer,
                f"has the activations {layer.activations}: Darknet's [detection] has none but a "
                "softmax over the classes",
            )
        if self.flat or not self.sections or self.sections[-1][0] not in ("connected", "dropout"):
            self.refuse(layer, "follows no dense layer")
        self.head = layer

    def _require_linear(self, layer):
        if layer.activation is not keras.activations.linear:
            self.refuse(layer, "has an activation inside: give it as a layer of its own")
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            self.refuse(layer, "has its channels first")

    def _square(self, layer, name):
        sides = set(getattr(layer, name))
        if len(sides) > 1:
            self.refuse(layer, f"has the {name} {getattr(layer, name)}: Darknet's are square")
        return sides.pop()

    def finish(self, semantics):
        if not isinstance(self.last, YoloReshape):
            self.refuse(self.last, "is the last one: a detector's cfg ends in [detection]")
        net = _NET | {"height": self.side, "width": self.side, "channels": self.channels}
        sections = [("net", net), *self.sections, ("detection", _detection(self.head, semantics))]
        made = [
            Section(name, tuple((key, _text(value)) for key, value in options.items()))
            for name, options in sections
        ]
        return Cfg(tuple(made), f"the cfg of model {self.model.name!r}"), self.parameters


def _detection(head, semantics):
    if semantics.weight_xy != semantics.weight_wh:
        warnings.warn(
            "Darknet has one coord_scale for positions and sizes: that of the positions, "
            f"{semantics.weight_xy}, is written, not {semantics.weight_wh}.",
            stacklevel=4,
        )
    grid = head.grid
    return {
        "classes": grid.C,
        "coords": 4,
        "rescore": int(semantics.confidence_target == "iou"),
        "side": grid.S,
        "num": grid.B,
        "softmax": int(head.activations["classes"] == "softmax"),
        "sqrt": int(semantics.wh == "predict_sqrt"),
        "jitter": 0.2,
        "object_scale": semantics.weight_object,
        "noobject_scale": semantics.weight_no_object,
        "class_scale": semantics.weight_class,
        "coord_scale": semantics.weight_xy,
    }


def _text(value):
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _sides(layer):
    return zip(layer.input.shape[1:3], layer.output.shape[1:3], strict=True)


def _padding(layer, side, size, stride):
    """Zeros on both sides that make up a convolution's "same"; None where they differ."""
    if layer.padding == "valid":
        return 0
    total = max(0, (-(-side // stride) - 1) * stride + size - side)
    return None if total % 2 else total // 2


def _pool_padding(layer, side, windows, size, stride):
    """The values of Darknet's ``padding`` that lay the windows as a Keras layer does."""
    total = max(0, (windows - 1) * stride + size - side) if layer.padding == "same" else 0
    return [
        pad
        for pad in range(2 * size)
        if pad // 2 == total // 2 and (side + pad - size) // stride + 1 == windows
    ]
