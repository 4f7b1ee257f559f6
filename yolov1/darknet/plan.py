"""What network a cfg describes: the shape and the parameters of every layer, without building it.

`yolov1.darknet.shapes` has the formulas.
"""

import dataclasses
from math import prod

from yolov1.darknet.cfg import Cfg, Section
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.keys import KEYS, OLD_DETECTION, OTHERS
from yolov1.darknet.shapes import MAKE, NO_IMAGE, Block, make, positive, refusal
from yolov1.grid import GridSpec
from yolov1.semantics import LossSemantics

OLD_DETECTOR = (
    "is of the detection layer of May to September 2015: 25 values per cell (an objectness, the "
    "classes and one box) behind a logistic, another detector than YOLOv1 as published, which "
    "today's Darknet misreads without a word. No weights of it were published. Use a cfg of "
    "November 2015 or later (keys num, side, sqrt)"
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One section of a cfg but [net], with its shapes.

    Attributes:
        index: from 0, as ``darknet partial`` counts.
        section: of the cfg.
        kind: the section's name.
        input, output: (c, h, w); (n, 1, 1) of a vector; an input is (n,) where no image can come of
            it: the network's own, where that is a vector, and what stands behind a softmax.
        blocks: its parameters in the order of the file.
    """

    index: int
    section: Section
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def floats(self) -> int:
        """Numbers among its parameters."""
        return sum(block.size for block in self.blocks)

    def __str__(self):
        line = f" (line {self.section.line})" if self.section.line else ""
        return f"layer {self.index} [{self.kind}]{line}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network as its cfg describes it.

    Attributes:
        cfg: where it is from.
        layers: of `Layer`, in order.
        head: ``detection``, or ``classifier`` where the last output is a vector, or ``features``.
        remarks: those of the cfg, and what of its loss is not expressed here.
        unsupported: sentences on what is counted but cannot be built (XNOR layers); empty where
            the network can be.
    """

    cfg: Cfg
    layers: tuple[Layer, ...]
    head: str
    remarks: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()

    @property
    def floats(self) -> int:
        """Numbers that its weights file holds behind the header."""
        return sum(layer.floats for layer in self.layers)

    @property
    def input(self) -> tuple[int, ...]:
        """(c, h, w) of the network's input, or (n,)."""
        return self.layers[0].input

    @property
    def image_size(self) -> int:
        """Side of the square input, in pixels."""
        return self.input[-1]

    @property
    def detection(self) -> Section | None:
        """The [detection] section."""
        return self.layers[-1].section if self.head == "detection" else None

    @property
    def classes(self) -> int:
        """Classes of the detector or the classifier."""
        if self.detection is not None:
            return self.detection.get("classes", 1)
        return prod(self.layers[-1].output)

    @property
    def grid(self) -> GridSpec | None:
        """The geometry of a detector's predictions; None of another network."""
        if self.detection is None:
            return None
        side, boxes = self.detection.get("side", 7), self.detection.get("num", 1)
        return GridSpec(side, boxes, self.classes, self.image_size)

    @property
    def wh(self) -> str:
        """What the outputs w and h of a detector mean, as `LossSemantics.wh`."""
        squared = self.detection is None or self.detection.get("sqrt", 0)
        return "predict_sqrt" if squared else "plain"

    @property
    def semantics(self) -> LossSemantics | None:
        """The loss that the [detection] layer minimises; None of another network.

        Raises:
            DarknetError: a scale that is negative or not finite.
        """
        section = self.detection
        if section is None:
            return None
        coordinates = section.get("coord_scale", 1.0)
        try:
            return dataclasses.replace(
                LossSemantics.preset("darknet"),
                weight_xy=coordinates,
                weight_wh=coordinates,
                weight_object=section.get("object_scale", 1.0),
                weight_no_object=section.get("noobject_scale", 1.0),
                weight_class=section.get("class_scale", 1.0),
                wh=self.wh,
                confidence_target="iou" if section.get("rescore", 0) else "one",
            )
        except ValueError as error:
            raise DarknetError(f"{self.cfg.source}: {section.at()}: {error}") from None


def plan(cfg: Cfg, refuse: bool = True) -> Plan:
    """Shapes and parameters of a cfg's network.

    Args:
        cfg: as `read_cfg` gives it.
        refuse: whether the detectors of May to September 2015 are refused; False only counts them.

    Raises:
        DarknetError: no network of YOLOv1's family, or one that Darknet cannot run; names the
            section, its line and the key.
    """
    if isinstance(cfg, Plan):
        return cfg
    shape, layers, unsupported = _input(cfg), [], []
    for index, section in enumerate(cfg.sections[1:]):
        if section.name not in MAKE:
            raise _unknown(cfg, section)
        layer = Layer(index, section, section.name, shape, *make(cfg, section, shape))
        layers.append(layer)
        shape = _behind(layer)
        unsupported += _unsupported(cfg, layer)
        if section.name == "detection":
            _check_detection(cfg, layer, refuse)
            if index + 2 != len(cfg.sections):
                raise refusal(cfg, section, None, "must be the last section")
    if not layers:
        raise DarknetError(f"{cfg.source}: there is no layer after {cfg.net.at()}.")
    kind = layers[-1].kind
    vector = layers[-1].output[1:] == (1, 1)
    head = "detection" if kind == "detection" else "classifier" if vector else "features"
    if head == "detection" and layers[0].input[1:2] != layers[0].input[2:]:
        height, width = cfg.net.at("height"), cfg.net.at("width")
        unsupported.append(
            f"{cfg.source}: {height} and {width}: a detector's input must be a square image here."
        )
    remarks = (*cfg.remarks, *(_loss_remarks(layers[-1].section) if head == "detection" else ()))
    return Plan(cfg, tuple(layers), head, remarks, tuple(unsupported))


def _behind(layer):
    """The shape of the next layer's input."""
    if layer.kind == "dropout":
        return layer.input
    return layer.output[:1] if layer.kind in NO_IMAGE else layer.output


def _unknown(cfg, section):
    if section.name == "net":
        return refusal(cfg, section, None, "must be there once, as the first section")
    if section.name in OTHERS:
        return refusal(
            cfg,
            section,
            None,
            f"is a layer of {OTHERS[section.name]}, which YOLOv1 never had: this is the cfg of "
            "another network. Use a cfg of YOLOv1 (its last section is [detection])",
        )
    meant = section.name.lower().lstrip("[").partition("]")[0]
    hint = f" Was [{meant}] meant?" if meant in KEYS else ""
    return refusal(
        cfg,
        section,
        None,
        "is no section that Darknet knows. Names are in lower case, and nothing may follow them in "
        f"their line; expected one of {', '.join(f'[{name}]' for name in sorted(MAKE))}.{hint}",
    )


def _input(cfg):
    net = cfg.net
    height, width, channels = (net.get(key, 0) for key in ("height", "width", "channels"))
    if net.get("subdivisions", 1) == 0:
        raise refusal(cfg, net, "subdivisions", "divides the batch: it must be at least 1")
    _check_policy(cfg, net)
    if "inputs" in net and not (height and width and channels):
        return (positive(cfg, net, "inputs", 0),)
    shape = tuple(positive(cfg, net, key, 0) for key in ("channels", "height", "width"))
    if net.get("inputs", prod(shape)) != prod(shape):
        raise refusal(
            cfg, net, "inputs", f"is not height * width * channels = {prod(shape)}: leave it out"
        )
    return shape


def _check_policy(cfg, net):
    if net.get("policy", "constant") != "steps":
        return
    for key in ("steps", "scales"):
        if net.text(key) is None:
            raise refusal(cfg, net, "policy", f"needs the key {key}, which is absent")
    steps, scales = net.ints("steps"), net.floats("scales")
    if len(scales) < len(steps):
        raise refusal(
            cfg,
            net,
            "scales",
            f"has {len(scales)} values for {len(steps)} steps: each step needs its own (Darknet "
            "crashes here)",
        )


def _check_detection(cfg, layer, refuse):
    section = layer.section
    old = next((key for key in OLD_DETECTION if key in section), None)
    if old and refuse and "num" not in section:
        raise refusal(cfg, section, old, OLD_DETECTOR)
    side, boxes = positive(cfg, section, "side", 7), positive(cfg, section, "num", 1)
    classes, coords = positive(cfg, section, "classes", 1), section.get("coords", 1)
    if coords != 4:
        absent = "" if "coords" in section else " (what Darknet takes without the key)"
        raise refusal(
            cfg, section, "coords", f"must be 4 (x, y, w, h of a box), got {coords}{absent}"
        )
    expected = side * side * ((1 + coords) * boxes + classes)
    if layer.output[0] != expected:
        raise refusal(
            cfg,
            section,
            None,
            f"needs side*side*((1+coords)*num+classes) = {side}*{side}*(5*{boxes}+{classes}) = "
            f"{expected} numbers, but the layer before gives {layer.output[0]}. Correct its output "
            "(or filters)",
        )


def _unsupported(cfg, layer):
    section = layer.section
    where = f"{cfg.source}: {section.at()}"
    for key in ("xnor", "binary"):
        if section.get(key, 0) and layer.kind == "convolutional":
            yield (
                f"{cfg.source}: {section.at(key)}: layers with binary weights and inputs (XNOR-Net)"
                " are counted here but not built."
            )
    if layer.kind == "batchnorm":
        yield (
            f"{where}: a [batchnorm] layer of its own belongs to Darknet's XNOR networks, crashes "
            "Darknet on a CPU and is not built here. Use batch_normalize=1 of the layer before."
        )


def _loss_remarks(section):
    texts = {
        "softmax": "the loss here takes class outputs as they are: Darknet's gradient behind its "
        "softmax (without the softmax's own derivative) is not expressed",
        "forced": "the loss here takes the box of the largest overlap: Darknet's forced choice by "
        "the object's size is not expressed",
        "random": "the loss here takes the box of the largest overlap: Darknet's random choice in "
        "the first 64000 images is not expressed",
    }
    for key, text in texts.items():
        if section.get(key, 0):
            yield f"{section.at(key)}: {text}"
