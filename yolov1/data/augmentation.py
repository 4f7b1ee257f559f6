"""Random windows, flips and colours: the augmentation of the paper, as stateless TensorFlow ops.

"We introduce random scaling and translations of up to 20% of the original image size. We also
randomly adjust the exposure and saturation of the image by up to a factor of 1.5 in the HSV color
space" (section 2.2). Every draw depends on (seed, stream position) only.
"""

import dataclasses
from typing import NamedTuple

from yolov1.kernels import check_sampling

FACTORS = ("exposure", "saturation")
SHARES = ("flip", "vertical_flip", "transpose", "min_visible", "hue")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is drawn for every image.

    The network sees a window of the image. Its width and height are drawn independently from
    ``1 -+ scale`` times the image's, its centre moves by up to ``translate`` of the image's sides.
    Where the window leaves the image it shows mid-grey (127 of 255). Darknet's windows are drawn in
    another way: with a `jitter` each of the four sides moves by its own draw. Boxes are clipped to
    the window; a box of which less than `min_visible` (by area) remains is dropped, as is one with
    a side below 0.5 % of the window (Darknet's rule).

    Attributes:
        scale: in [0, 1).
        translate: in [0, 0.5].
        exposure, saturation: V and S are multiplied by a factor from ``[1, x]`` or its inverse,
            with equal chances; at least 1.
        hue: the hue turns by up to this many turns.
        flip, vertical_flip: probability of a left-right and of a top-bottom flip.
        transpose: probability of swapping x and y, for images without an up (microscopy).
        min_visible: in [0, 1].
        jitter: each side of the window moves by up to this share of the image's, in [0, 0.5); then
            `scale` and `translate` must be 0.
        sampling: how the window is resized and what it shows outside of the image: see
            `yolov1.ops.load_images`.

    Raises:
        ValueError: a value outside its range.
    """

    scale: float = 0.2
    translate: float = 0.2
    exposure: float = 1.5
    saturation: float = 1.5
    hue: float = 0.0
    flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    min_visible: float = 0.25
    jitter: float = 0.0
    sampling: str = "half_pixel"

    def __post_init__(self):
        for name in FACTORS:
            if not 1 <= getattr(self, name) < float("inf"):
                self._refuse(name, "a finite factor of at least 1")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(name, "in [0, 1]")
        if not 0 <= self.translate <= 0.5:
            self._refuse("translate", "in [0, 0.5]")
        if not 0 <= self.scale < 1:
            self._refuse("scale", "in [0, 1)")
        if not 0 <= self.jitter < 0.5:
            self._refuse("jitter", "in [0, 0.5)")
        if self.jitter and (self.scale or self.translate):
            moved = f"scale={self.scale!r} and translate={self.translate!r}"
            self._refuse("jitter", f"0 beside {moved} (or make those 0)")
        check_sampling("Augmentation", self.sampling)

    def _refuse(self, name, expected):
        raise ValueError(f"Augmentation: {name} must be {expected}, got {getattr(self, name)!r}.")

    @classmethod
    def preset(cls, name: str) -> "Augmentation":
        """A named augmentation.

        ``"none"``; ``"paper"``; ``"dihedral"``: also flipped vertically and transposed;
        ``"darknet"``: what Darknet does with its yolov1.cfg; ``"darknet:PATH.cfg"``: with the
        jitter, hue, saturation and exposure of this file.

        Darknet's draws are other ones: it cuts its shifts off to whole pixels of the image, where
        these are rounded, and takes a factor below 1, such as ``saturation=.75``, from ``[.75, 1]``
        or its inverse, which here is one from ``[1, 1/.75]`` or its inverse.

        Raises:
            ValueError: another name; a cfg that is none, is no detector's, or has numbers that
                cannot be drawn from.
            FileNotFoundError: no such cfg.
        """
        if name.startswith("darknet:"):
            return _of_cfg(name.removeprefix("darknet:"))
        if name not in PRESETS:
            names = [*map(repr, PRESETS), "'darknet:PATH.cfg'"]
            raise ValueError(
                f"Augmentation.preset: name must be one of {', '.join(names)}, got {name!r}."
            )
        return PRESETS[name]

    @property
    def changes_colours(self) -> bool:
        return self.exposure > 1 or self.saturation > 1 or self.hue > 0


PRESETS = {
    "none": Augmentation(0.0, 0.0, 1.0, 1.0, 0.0, 0.0),
    "paper": Augmentation(),
    "dihedral": Augmentation(vertical_flip=0.5, transpose=0.5),
    "darknet": Augmentation(
        scale=0.0, translate=0.0, hue=0.1, min_visible=0.0, jitter=0.2, sampling="darknet"
    ),
}


def _of_cfg(path):
    """A network with a [crop] layer has its colours changed there, and no hue; the others' images
    are changed as they are loaded, as [net] says."""
    from yolov1.darknet.cfg import read_cfg

    sections = {section.name: section for section in read_cfg(path).sections}
    if "detection" not in sections:
        raise ValueError(
            f"Augmentation.preset: {path} has no [detection] section; its jitter is what an image "
            "is moved by. Take the cfg of a detector."
        )
    colours = sections.get("crop", sections["net"])
    factors = {name: colours.get(name, 1.0) for name in FACTORS}
    hue = 0.0 if "crop" in sections else colours.get("hue", 0.0)
    numbers = {name: 1 / x if 0 < x < 1 else x for name, x in factors.items()}
    numbers |= {"hue": hue, "jitter": sections["detection"].get("jitter", 0.2)}
    try:
        return dataclasses.replace(PRESETS["darknet"], **numbers)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


GREY = 127  # what a window shows outside the image
MIN_SIDE = 0.005  # of the window; Darknet's limit since 2016


class Draw(NamedTuple):
    """The drawn values of N images, tensors."""

    window: object  # float32 [N, 4], corners x0, y0, x1, y1 as fractions of the image
    flips: object  # bool [N, 2], left-right and top-bottom
    transpose: object  # bool [N]
    colour: object  # float32 [N, 3]: hue turn, saturation factor, exposure factor


def draw(augmentation, seed, positions) -> Draw:
    """The values for stream positions ``[N]``; each depends on (seed, position) only."""
    import tensorflow as tf

    def uniform(position):
        key = tf.stack([tf.cast(seed, tf.int64), position])
        return tf.random.stateless_uniform([12], key, alg="philox")

    u = tf.map_fn(uniform, tf.cast(positions, tf.int64), fn_output_signature=tf.float32)
    a = augmentation
    if a.jitter:
        window = tf.constant([0.0, 0.0, 1.0, 1.0]) + a.jitter * (2 * u[:, 0:4] - 1)
    else:
        size = 1 + a.scale * (2 * u[:, 0:2] - 1)
        centre = 0.5 + a.translate * (2 * u[:, 2:4] - 1)
        window = tf.concat([centre - size / 2, centre + size / 2], axis=1)
    factors = 1 + u[:, 8:10] * (tf.constant([a.saturation, a.exposure], tf.float32) - 1)
    factors = tf.where(u[:, 10:12] < 0.5, factors, 1 / factors)
    colour = tf.concat([a.hue * (2 * u[:, 7:8] - 1), factors], axis=1)
    return Draw(window, u[:, 4:6] < [a.flip, a.vertical_flip], u[:, 6] < a.transpose, colour)


def move_boxes(boxes_cxcywh, valid, drawn, min_visible):
    """Boxes as seen in the window.

    Args:
        boxes_cxcywh: float32 ``[N, M, 4]``.
        valid: bool ``[N, M]``: which of the M are objects.
        drawn: `Draw`.
        min_visible: see `Augmentation`.

    Returns:
        (boxes_cxcywh, valid) of the same shapes; what cannot be seen enough is no longer valid.
    """
    import tensorflow as tf

    window = drawn.window[:, None]
    origin, size = window[..., :2], window[..., 2:] - window[..., :2]
    centre = (boxes_cxcywh[..., :2] - origin) / size
    half = boxes_cxcywh[..., 2:] / size / 2
    centre = tf.where(drawn.flips[:, None], 1 - centre, centre)
    transpose = drawn.transpose[:, None, None]
    centre = tf.where(transpose, centre[..., ::-1], centre)
    half = tf.where(transpose, half[..., ::-1], half)
    low = tf.clip_by_value(centre - half, 0.0, 1.0)
    high = tf.clip_by_value(centre + half, 0.0, 1.0)
    sides = high - low
    visible = tf.reduce_prod(sides, axis=2) / tf.reduce_prod(2 * half, axis=2)
    # The epsilon keeps a whole box whose corners were rounded when min_visible is 1.
    keep = (visible >= min_visible - 1e-4) & tf.reduce_all(sides >= MIN_SIDE, axis=2)
    return tf.concat([(low + high) / 2, sides], axis=2), valid & keep


def change_colours(images, colours, hue=False):
    """Turns hue, scales S and V in HSV space, and clips to [0, 1] (as Darknet does).

    With V the largest channel, S' = k S and V' = m V give ``c' = m (V - k (V - c))`` for every
    channel c: no conversion is needed unless the hue turns.

    Args:
        images: float32 ``[n, H, W, 3]`` in [0, 1].
        colours: float32 ``[n, 3]`` from `Draw`.
        hue: whether the hue turns (a Python bool).
    """
    import tensorflow as tf

    turn, saturation, exposure = (c[:, None, None, None] for c in tf.unstack(colours, axis=1))
    # Slices and not `unstack` or `reduce_max`: XLA makes one loop of them, a third of the time.
    red, green, blue = (images[..., k : k + 1] for k in range(3))
    value = tf.maximum(tf.maximum(red, green), blue)
    if not hue:
        changed = exposure * (value - saturation * (value - images))
        return tf.clip_by_value(changed, 0.0, 1.0)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    safe = tf.where(chroma > 0, chroma, 1.0)
    sixth = tf.where(
        value == red,
        (green - blue) / safe,
        tf.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    ramp = tf.math.floormod(sixth + 6 * turn + tf.constant([5.0, 3.0, 1.0]), 6.0)
    difference = chroma * tf.clip_by_value(tf.minimum(ramp, 4 - ramp), 0.0, 1.0)
    return tf.clip_by_value(exposure * (value - saturation * difference), 0.0, 1.0)
