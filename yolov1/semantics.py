"""The choices that tell the published YOLOv1 losses apart, each by name.

With t the target cell, p the prediction cell, r_j = 1 for the responsible box(es) of an object
cell, and x, y in units of the cell:

    xy        = weight_xy        * sum r_j [(x_j - x)^2 + (y_j - y)^2]
    wh        = weight_wh        * sum r_j [(q(w_j) - q(w))^2 + (q(h_j) - q(h))^2]
    object    = weight_object    * sum r_j (c_j - target)^2
    no_object = weight_no_object * sum over the `no_object` set of c_j^2
    class     = weight_class     * sum over object cells and classes of (p_k - t_k)^2
    loss      = factor * (xy + wh + object + no_object + class)

The loss of an image is the sum over its cells (paper, section 2.2, equation 3).

With `box` other than ``squared``, a research variant beside the published losses, one term takes
the place of the first two, with K the overlap of box j and the object (`yolov1.ops.box_iou`), both
in the frame in which overlaps are compared:

    xy = weight_xy * sum r_j (1 - K(b_j, b)),    wh = 0

It follows Rezatofighi et al., arXiv 1902.09630 (GIoU), and Zheng et al., arXiv 1911.08287 and
2005.03572 (DIoU, CIoU), whose localisation loss is 1 - K.

With ``cross_entropy`` as `confidence_loss` or `class_loss`, research variants too, logarithms take
the place of squares. With L(p) = -log(p) of p clipped to [2^-20, 1],

    object    = weight_object    * sum r_j [target L(c_j) + (1 - target) L(1 - c_j)]
    no_object = weight_no_object * sum over the `no_object` set of L(1 - c_j)
    class     = weight_class     * sum over object cells and classes of t_k L(p_k)

Redmon and Farhadi, arXiv 1804.02767 (YOLOv3), sections 2.1 and 2.2, train objectness and classes
so. The square of a sigmoid has next to no gradient where a confidence that should be 1 is still
near 0, which on a fine grid all are; here the gradient through the sigmoid is c_j - target, and
through a softmax p_k - t_k.
"""

import dataclasses

CHOICES = {
    "wh": ("predict_sqrt", "sqrt_in_loss", "heron10", "plain"),
    "confidence_target": ("iou", "one"),
    "no_object": ("non_responsible", "empty_cells"),
    "ties": ("first", "last", "all"),
    "no_overlap_fallback": ("none", "rmse"),
    "iou_overlap": ("clamped", "abs"),
    "box": ("squared", "iou", "giou", "diou", "ciou"),
    "confidence_loss": ("squared", "cross_entropy"),
    "class_loss": ("squared", "cross_entropy"),
}
WEIGHTS = ("weight_xy", "weight_wh", "weight_object", "weight_no_object", "weight_class", "factor")
TERMS = ("xy", "wh", "object", "no_object", "class")  # the order of `YoloLossOutput.terms`


@dataclasses.dataclass(frozen=True)
class LossSemantics:
    """One YOLO loss out of the family. Use a preset, or `dataclasses.replace` on one.

    Attributes:
        weight_xy, weight_wh, weight_object, weight_no_object, weight_class: finite, at least 0.
        factor: multiplies every term (Darknet minimises half the sum of squares).
        wh: what the network's w, h outputs mean, and which q the wh term uses.
            ``predict_sqrt``: the output o is a square root; o is compared with sqrt(w) and squared
            (so a negative o is a size too) for the overlap.
            ``sqrt_in_loss``: the output is a size and q(v) = sqrt(max(v, 0)), with derivative
            1 / (2 sqrt(v)) for v > 0 and 0 for v <= 0: finite everywhere.
            ``heron10``: the output is a size and q is ten Babylonian steps started at the value
            itself, 0 / 0 := 0, differentiated step by step. It exists to reproduce ``tf2_person``
            as published; it is inexact below 1e-4 and erratic below 0.
            ``plain``: the output is a size and q(v) = v.
        confidence_target: ``iou``: the overlap of the responsible box with the object, held
            constant in the gradient; ``one``: 1.
        no_object: ``non_responsible``: every box that is not responsible, in object cells too;
            ``empty_cells``: the boxes of cells without an object.
        ties: which box is responsible among equal overlaps: the first, the last, or all of them.
            A NaN overlap counts as 0.
        no_overlap_fallback: where no box overlaps the object at all: ``none`` applies `ties`;
            ``rmse`` takes the box with the smallest root mean square error of (x, y, w, h), the
            first among equals (x, y as fractions of the image, that is x / S, y / S).
        iou_overlap: the sides of the intersection: ``clamped`` at 0; or ``abs``, the published
            defect of ``tf2_person`` that gives disjoint boxes an overlap of any sign.
        box: the xy and wh terms: ``squared``, as published; or K of ``iou``, ``giou``, ``diou``,
            ``ciou`` in their place, weighted by `weight_xy` (`weight_wh` is not read). Its boxes
            are (x / S, y / S) and their sizes: o^2 for ``predict_sqrt``, else the output itself,
            of which a negative one makes an empty box. The overlap inside K is the clamped one
            whatever `iou_overlap` says, which only chooses the responsible box; CIoU's alpha is a
            constant in the gradient. A value of the two boxes that is not finite makes the term,
            and the gradient of the box's four outputs, NaN.
        confidence_loss: the object and no_object terms: ``squared``, as published; or
            ``cross_entropy``, of confidences in [0, 1]. The target is a constant in the gradient.
        class_loss: the class term: ``squared``, as published; or ``cross_entropy``, of
            probabilities that a softmax makes: it has nothing to say of classes whose target is 0.

    Of a ``cross_entropy`` outputs are expected to be activated, by the network's last layer or by
    the loss (``activations=``). Others are clipped; the gradient is that of the clipped value,
    handed on as if it were not clipped, so that it reaches 2^20: predictions of float16, which
    holds 65504, are better left raw for the loss to activate. An output that is not finite makes
    the term, and the gradient of that output, NaN.

    Raises:
        ValueError: an unknown choice, or a weight that is negative or not finite.
    """

    weight_xy: float = 5.0
    weight_wh: float = 5.0
    weight_object: float = 1.0
    weight_no_object: float = 0.5
    weight_class: float = 1.0
    factor: float = 1.0
    wh: str = "predict_sqrt"
    confidence_target: str = "iou"
    no_object: str = "non_responsible"
    ties: str = "first"
    no_overlap_fallback: str = "none"
    iou_overlap: str = "clamped"
    box: str = "squared"
    confidence_loss: str = "squared"
    class_loss: str = "squared"

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"LossSemantics: {name} must be one of {', '.join(map(repr, allowed))}, "
                    f"got {getattr(self, name)!r}."
                )
        for name in WEIGHTS:
            value = getattr(self, name)
            try:
                valid = 0 <= float(value) < float("inf")
            except (TypeError, ValueError):
                valid = False
            if not valid:
                raise ValueError(
                    f"LossSemantics: {name} must be a finite number of at least 0, got {value!r}."
                )
            # Always a Python float: TensorFlow's generated op wrapper is slow for ints here.
            object.__setattr__(self, name, float(value))

    @classmethod
    def preset(cls, name: str) -> "LossSemantics":
        """The loss of a published system: a key of `PRESETS`.

        Raises:
            ValueError: another name.
        """
        if name not in PRESETS:
            raise ValueError(
                "LossSemantics.preset: name must be one of "
                f"{', '.join(map(repr, PRESETS))}, got {name!r}."
            )
        return PRESETS[name]

    @classmethod
    def of(cls, semantics) -> "LossSemantics":
        """A preset's name or an instance, as every ``semantics=`` argument takes it.

        Raises:
            ValueError: no preset has this name.
            TypeError: neither a name nor an instance.
        """
        if isinstance(semantics, cls):
            return semantics
        if isinstance(semantics, str):
            return cls.preset(semantics)
        raise TypeError(
            "semantics must be a LossSemantics or a preset's name "
            f"({', '.join(map(repr, PRESETS))}), got {type(semantics).__name__}."
        )


PRESETS = {
    # arXiv 1506.02640, equation 3, with the square root predicted as its text says.
    "paper": LossSemantics(),
    # Darknet's detection layer with rescore=1, sqrt=1: its delta is minus this gradient.
    "darknet": LossSemantics(factor=0.5, no_overlap_fallback="rmse"),
    # Pixels divided by 448: 5 / 7^2 in units of the cell, and 5 * 448 / 448^2 for the square roots.
    "keras_voc": LossSemantics(
        weight_xy=5 / 49,
        weight_wh=5 / 448,
        wh="sqrt_in_loss",
        confidence_target="one",
        ties="all",
    ),
    "tf2_person": LossSemantics(
        wh="heron10",
        confidence_target="one",
        no_object="empty_cells",
        ties="last",
        iou_overlap="abs",
    ),
}
