"""Where each array of a network stands in its weights file."""

import dataclasses
from math import prod

from yolov1.darknet.errors import DarknetError
from yolov1.darknet.plan import Layer, Plan
from yolov1.darknet.shapes import Block

_NORMALIZATION = ("scales", "rolling_mean", "rolling_variance")


@dataclasses.dataclass(frozen=True)
class Stored:
    """A layer's part of a file.

    Attributes:
        layer: of the plan.
        start: how many numbers of the file stand before it.
        blocks: its arrays, in order.
        skipped: numbers at its beginning that are no array of ours (biases of [batchnorm]).
    """

    layer: Layer
    start: int
    blocks: tuple[Block, ...]
    skipped: int = 0

    @property
    def floats(self) -> int:
        return self.skipped + sum(block.size for block in self.blocks)

    @property
    def end(self) -> int:
        return self.start + self.floats


def to_read(plan: Plan, batchnorm_biases: bool = False) -> list[Stored]:
    """What a file holds for `load_weights`: all layers' blocks, less those that the keys
    ``dontload`` and ``dontloadscales`` say are absent.

    Args:
        plan: the network.
        batchnorm_biases: whether [batchnorm] layers' biases stand before them, as AlexeyAB's
            Darknet writes them (4c numbers; 3c at pjreddie).

    Raises:
        DarknetError: the key ``numload``.
    """
    found = []
    for layer in plan.layers:
        section = layer.section
        if section.get("numload", 0):
            raise DarknetError(
                f"{plan.cfg.source}: {section.at('numload')}: reading some of a layer's filters is "
                "not offered. Take the key out and give weights of the whole layer."
            )
        if not layer.blocks or section.get("dontload", 0):
            continue
        without = _NORMALIZATION if section.get("dontloadscales", 0) else ()
        if layer.kind == "batchnorm":
            without = ()  # load_batchnorm_weights does not ask for it
        blocks = tuple(block for block in layer.blocks if block.name not in without)
        skipped = layer.input[0] if layer.kind == "batchnorm" and batchnorm_biases else 0
        found.append(Stored(layer, found[-1].end if found else 0, blocks, skipped))
    return found


def to_write(plan: Plan) -> list[Stored]:
    """What `save_weights` writes: all layers' blocks but those of layers with ``dontsave``.

    Raises:
        DarknetError: the key ``flipped``, whose layers Darknet writes otherwise than it reads them.
    """
    found = []
    for layer in plan.layers:
        if layer.section.get("flipped", 0) and layer.kind == "convolutional":
            raise DarknetError(
                f"{plan.cfg.source}: {layer.section.at('flipped')}: Darknet reads such weights as "
                "[c*k*k][n] but writes them as [n][c*k*k]. Take the key out before saving."
            )
        if layer.blocks and not layer.section.get("dontsave", 0):
            found.append(Stored(layer, found[-1].end if found else 0, layer.blocks))
    return found


def arrays(stored: Stored, flat, transposed: bool):
    """{name: view of `flat`} in the shapes of the blocks, however the file holds them.

    Args:
        stored: the layer's part.
        flat: its numbers, without those before and behind.
        transposed: whether connected weights stand as [inputs][outputs]. Those of a convolutional
            layer with ``flipped`` stand as [c*k*k][n].
    """
    found, start, layer = {}, stored.skipped, stored.layer
    turned = transposed if layer.kind == "connected" else layer.section.get("flipped", 0)
    for block in stored.blocks:
        values = flat[start : start + block.size]
        if turned and block.name == "weights":
            values = values.reshape(prod(block.shape[1:]), block.shape[0]).T
        found[block.name] = values.reshape(block.shape)
        start += block.size
    return found


# Numbers that the files of well-known networks hold, to say whose a file is that does not fit.
KNOWN = {
    197_328_243: "yolov1.cfg (7x7 cells, 3 boxes, 20 classes)",
    27_099_950: "yolov1-tiny.cfg (tiny-yolo, 7x7 cells, 2 boxes, 20 classes)",
    271_703_550: "yolo.cfg of November 2015, the paper's",
    93_970_430: "yolo-small.cfg of November 2015",
    45_089_374: "yolo-tiny.cfg of November 2015",
    188_363_194: "yolo-coco.cfg of November 2015",
    234_210_543: "yolo-coco.cfg of 2016",
    67_055_775: "tiny-coco.cfg of 2016",
    23_455_400: "extraction.cfg since 2016 (a classifier)",
    23_428_136: "extraction.cfg of 2015 (a classifier)",
    97_605_650: "extraction22k.cfg (a classifier)",
    50_983_561: "yolov2.cfg (YOLOv2)",
    50_676_061: "yolov2-voc.cfg (YOLOv2)",
    11_237_145: "yolov2-tiny.cfg (YOLOv2)",
    15_867_885: "yolov2-tiny-voc.cfg (YOLOv2)",
    62_001_757: "yolov3.cfg (YOLOv3)",
    8_858_734: "yolov3-tiny.cfg (YOLOv3)",
    64_429_405: "yolov4.cfg (YOLOv4)",
    6_062_814: "yolov4-tiny.cfg (YOLOv4)",
}
