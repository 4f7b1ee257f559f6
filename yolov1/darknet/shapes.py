"""The shape and the parameters that each kind of layer makes of its input.

Shapes are Darknet's (``make_*_layer`` of pjreddie/darknet, f6afaabc), parameters stand in the order
of its weights files (``load_weights_upto`` of parser.c).
"""

import dataclasses
from math import prod

from yolov1.darknet.cfg import Section
from yolov1.darknet.errors import DarknetError


@dataclasses.dataclass(frozen=True)
class Block:
    """One array of a layer's parameters, in Darknet's shape.

    Attributes:
        name: ``biases``, ``scales``, ``rolling_mean``, ``rolling_variance`` or ``weights``.
        shape: (n,) but for biases of ``local`` (n, h, w) and weights: (n, c, k, k) of
            ``convolutional``, (outputs, inputs) of ``connected``, (h * w, n, c, k, k) of ``local``.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


def refusal(cfg, section, key, sentence):
    return DarknetError(f"{cfg.source}: {section.at(key)} {sentence}.")


def positive(cfg, section, key, default, least=1):
    value = section.get(key, default)
    if value < least:
        raise refusal(cfg, section, key, f"must be a whole number of at least {least}, got {value}")
    return value


# One function a kind of layer: (section, input, positive) -> (output, blocks).


def _crop(section, shape, positive):
    return (shape[0], positive("crop_height", 1), positive("crop_width", 1)), ()


def _normalized(section, n):
    if not section.get("batch_normalize", 0):
        return ()
    return tuple(Block(name, (n,)) for name in ("scales", "rolling_mean", "rolling_variance"))


def padding(section: Section) -> int:
    """Rows and columns of zeros around a [convolutional] layer's input, on every side."""
    size = section.get("size", 1)
    return size // 2 if section.get("pad", 0) else section.get("padding", 0)


def _convolutional(section, shape, positive):
    c, *sides = shape
    n, size, stride = (positive(key, 1) for key in ("filters", "size", "stride"))
    output = (n, *((side + 2 * padding(section) - size) // stride + 1 for side in sides))
    weights = Block("weights", (n, c // positive("groups", 1), size, size))
    return output, (Block("biases", (n,)), *_normalized(section, n), weights)


def _maxpool(section, shape, positive):
    c, *sides = shape
    stride = positive("stride", 1)
    size = positive("size", stride)
    pad = section.get("padding", size - 1)
    return (c, *((side + pad - size) // stride + 1 for side in sides)), ()


def _local(section, shape, positive):
    c, *sides = shape
    n, size, stride = (positive(key, 1) for key in ("filters", "size", "stride"))
    less = 1 if section.get("pad", 0) else size
    h, w = ((side - less) // stride + 1 for side in sides)
    return (n, h, w), (Block("biases", (n, h, w)), Block("weights", (h * w, n, c, size, size)))


def _connected(section, shape, positive):
    n = positive("output", 1)
    blocks = (Block("biases", (n,)), Block("weights", (n, prod(shape))), *_normalized(section, n))
    return (n, 1, 1), blocks


def _batchnorm(section, shape, positive):
    names = ("scales", "rolling_mean", "rolling_variance")
    return shape, tuple(Block(name, (shape[0],)) for name in names)


def _avgpool(section, shape, positive):
    return (shape[0], 1, 1), ()


def _as_before(section, shape, positive):
    return (*shape, 1, 1)[:3], ()


def _vector(section, shape, positive):
    return (prod(shape), 1, 1), ()


MAKE = {
    "crop": _crop,
    "convolutional": _convolutional,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "local": _local,
    "batchnorm": _batchnorm,
    "dropout": _as_before,
    "connected": _connected,
    "softmax": _vector,
    "cost": _vector,
    "detection": _vector,
}
NO_IMAGE = ("softmax", "cost")  # behind these, Darknet knows no height and width
NEED_IMAGE = ("crop", "convolutional", "maxpool", "avgpool", "local", "batchnorm")


def make(cfg, section, shape):
    name = section.name
    if name in NEED_IMAGE and len(shape) == 1:
        raise refusal(
            cfg, section, None, f"needs an image, but the layer before gives {shape[0]} numbers"
        )

    def at_least_1(key, default):
        return positive(cfg, section, key, default)

    for key in ("pad", "padding"):
        positive(cfg, section, key, 0, least=0)

    output, blocks = MAKE[name](section, shape, at_least_1)
    if min(output) < 1:
        raise refusal(
            cfg,
            section,
            "size",
            f"does not fit its input of {shape[1]} x {shape[2]} (h x w): the output would be "
            f"{output[1]} x {output[2]}",
        )
    CHECK.get(name, _nothing)(cfg, section, shape, output)
    return output, blocks


def _nothing(cfg, section, shape, output):
    pass


def _check_crop(cfg, section, shape, output):
    for key, side, cut in zip(("crop_height", "crop_width"), shape[1:], output[1:], strict=True):
        if cut > side:
            raise refusal(cfg, section, key, f"is more than its input's {side} pixels")


def _check_convolutional(cfg, section, shape, output):
    groups = section.get("groups", 1)
    if shape[0] % groups or output[0] % groups:
        raise refusal(
            cfg, section, "groups", f"must divide {shape[0]} channels and {output[0]} filters"
        )


def _check_local(cfg, section, shape, output):
    size, stride, pad = section.get("size", 1), section.get("stride", 1), section.get("pad", 0)
    reached = tuple((side + 2 * pad - size) // stride + 1 for side in shape[1:])
    if reached != output[1:]:
        raise refusal(
            cfg,
            section,
            "pad",
            f"with size={size} gives {reached[0]} x {reached[1]} places, for which Darknet's "
            f"[local] keeps {output[1]} x {output[2]}: it reads beyond its memory. Use size=3 "
            "with pad=1",
        )


def _check_softmax(cfg, section, shape, output):
    groups = positive(cfg, section, "groups", 1)
    if output[0] % groups:
        raise refusal(cfg, section, "groups", f"must divide {output[0]} numbers")


CHECK = {
    "crop": _check_crop,
    "convolutional": _check_convolutional,
    "local": _check_local,
    "softmax": _check_softmax,
}
