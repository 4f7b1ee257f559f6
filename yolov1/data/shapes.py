"""The embedded data set: shapes drawn on the fly, with exact boxes and no download.

An image is a function of (seed, split, index): a background with gradient, texture and noise,
distractor strokes, and one to four objects of any size, colour and rotation that may overlap a
little. Positions are fractions of the image, so another `image_size` shows the same scenes.
"""

import dataclasses
import functools
import zlib

import numpy as np
from PIL import Image, ImageDraw

from yolov1.boxes import xyxy_to_cxcywh
from yolov1.data.example import Dataset, Example
from yolov1.option_text import parse_options

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
COUNTS = {"train": 2000}  # images of a split; every other one has OTHER_COUNT
OTHER_COUNT = 300
IMAGE_SIZE = 128
SUPERSAMPLING = 4
RADII = (0.08, 0.22)  # of the circle around a shape, as a fraction of the image
MOST_OBJECTS = 4
MOST_COVERED = 0.2  # share of the smaller of two boxes that the other may cover
RING_HOLE = 0.55


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object: label, outline and colour. Coordinates are fractions of the image."""

    label: int
    outline: np.ndarray  # [P, 2] corners in order; a circle has many
    hole: np.ndarray | None
    colour: np.ndarray  # [3] in [0, 255]

    @property
    def box_xyxy(self):
        return np.concatenate([self.outline.min(axis=0), self.outline.max(axis=0)])


def open_shapes(options, split, choose_classes, image_size, seed):
    """Opens drawn shapes; see `yolov1.data.open`.

    Args:
        options: ``count=500,classes=3``: images per split, and how many of `CLASSES`.
    """
    settings = {"count": None, "classes": len(CLASSES)}
    for name, value in parse_options(options).items():
        if name not in settings or type(value) is not int or value < 1:
            raise ValueError(
                "shapes: options are count=N and classes=K with integers of at least 1, as in "
                f"'shapes:count=500,classes=3'; got {options!r}."
            )
        settings[name] = value
    if settings["classes"] > len(CLASSES):
        raise ValueError(
            f"shapes: classes must be at most {len(CLASSES)}, got {settings['classes']}."
        )
    own = CLASSES[: settings["classes"]]
    classes = choose_classes(own)
    image_size = image_size or IMAGE_SIZE
    examples = [
        draw_example(part, index, own, classes, image_size, seed)
        for part in dict.fromkeys((split or "train").split("+"))
        for index in range(settings["count"] or COUNTS.get(part, OTHER_COUNT))
    ]
    return Dataset(examples, classes, name=f"shapes ({split or 'train'})")


def draw_example(split, index, own, classes, image_size, seed) -> Example:
    """The example at `index`; its pixels are drawn when first asked for, and kept."""
    key = [seed, zlib.crc32(split.encode()), index]
    shapes = _scene(np.random.default_rng([*key, 0]), len(own))
    wanted = [s for s in shapes if own[s.label] in classes]
    boxes_xyxy = np.array([s.box_xyxy for s in wanted]).reshape(-1, 4)
    return Example(
        image_id=f"{split}-{index:05d}",
        boxes_cxcywh=xyxy_to_cxcywh(boxes_xyxy),
        labels=[classes.index(own[s.label]) for s in wanted],
        difficult=np.zeros(len(wanted), bool),
        size=(image_size, image_size),
        draw=functools.cache(functools.partial(_paint, shapes, [*key, 1], image_size)),
    )


def _scene(rng, class_count):
    """Places one to four shapes; a place that covers too much of another shape is given up."""
    shapes = []
    goal = rng.integers(1, MOST_OBJECTS + 1)
    for _ in range(4 * goal):
        if len(shapes) == goal:
            break
        label = int(rng.integers(class_count))
        # Even in the logarithm: small objects are as frequent as large ones.
        radius = np.exp(rng.uniform(*np.log(RADII)))
        outline, hole = _outline(CLASSES[label], radius, rng.uniform(0, 2 * np.pi))
        extent = outline.max(axis=0) - outline.min(axis=0)
        corner = rng.uniform(0.01, 0.99 - extent)
        shift = corner - outline.min(axis=0)
        shape = Shape(
            label, outline + shift, None if hole is None else hole + shift, rng.uniform(0, 255, 3)
        )
        if all(_covered(shape.box_xyxy, s.box_xyxy) <= MOST_COVERED for s in shapes):
            shapes.append(shape)
    return shapes


def _covered(a, b):
    """Intersection over the smaller of two boxes."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())


def _outline(name, radius, turn):
    """(corners, hole) of a shape in a circle of this radius around the origin."""
    if name in ("circle", "ring"):
        circle = _polygon(64, radius, turn)
        return circle, RING_HOLE * circle if name == "ring" else None
    if name == "star":
        return _polygon(10, radius * np.where(np.arange(10) % 2, 0.42, 1.0), turn), None
    if name == "cross":
        a, b = radius * np.array([0.96, 0.3])
        quarter = np.array([[a, -b], [a, b], [b, b]])
        turns = [_rotate(quarter, k * np.pi / 2 + turn) for k in range(4)]
        return np.concatenate(turns), None
    return _polygon({"square": 4, "triangle": 3}[name], radius, turn), None


def _polygon(count, radius, turn):
    angles = turn + 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radius, (-1, 1))


def _rotate(points, turn):
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _paint(shapes, key, size):
    """Draws a scene, uint8 ``[size, size, 3]``."""
    rng = np.random.default_rng(key)
    canvas = _background(rng, size)
    _strokes(rng, canvas, size)
    for shape in shapes:
        mask, rows, columns = _mask(shape, size)
        part = canvas[rows, columns]
        fill = _contrasting(shape.colour, part.mean(axis=(0, 1)))
        shade = _noise(rng, part.shape[:2])
        shade += _plane(rng, part.shape[:2]) * np.float32(rng.uniform(0, 40))
        part += mask[..., None] * (fill.astype(np.float32) + shade[..., None] - part)
    canvas += _noise(rng, canvas.shape)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _mask(shape, size):
    """(coverage in [0, 1] of the pixels around a shape, their rows, their columns)."""
    x0, y0, x1, y1 = shape.box_xyxy * size
    rows = slice(max(0, int(y0) - 1), min(size, int(np.ceil(y1)) + 1))
    columns = slice(max(0, int(x0) - 1), min(size, int(np.ceil(x1)) + 1))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    fine = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(fine)
    for points, value in ((shape.outline, 255), (shape.hole, 0)):
        if points is not None:
            places = (points * size - (columns.start, rows.start)) * SUPERSAMPLING - 0.5
            pen.polygon([tuple(p) for p in places], fill=value)
    return np.asarray(fine.reduce(SUPERSAMPLING), np.float32) / 255, rows, columns


def _noise(rng, shape):
    """Grain of 2 to 12 grey levels."""
    return np.float32(rng.uniform(2, 12)) * rng.standard_normal(shape, np.float32)


def _contrasting(colour, ground):
    """`colour`, moved away from `ground` until one channel differs by 60 or more."""
    difference = colour - ground
    k = int(np.abs(difference).argmax())
    if abs(difference[k]) >= 60:
        return colour
    colour = colour.copy()
    colour[k] = ground[k] + (80 if ground[k] < 128 else -80)
    return colour


def _plane(rng, shape):
    """A linear ramp in a random direction, in about [-0.5, 0.5]."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in shape)
    return np.float32(np.sin(angle)) * rows[:, None] + np.float32(np.cos(angle)) * columns


def _background(rng, size):
    """Two colours mixed by a ramp, soft blobs of two scales, and at times stripes."""
    mix = 0.5 + _plane(rng, (size, size)) * np.float32(rng.uniform(0, 1))
    for cells, strength in ((int(rng.integers(3, 7)), 0.5), (int(rng.integers(10, 30)), 0.25)):
        noise = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
        scale = np.float32(strength * rng.uniform(0, 1))
        mix += scale * np.asarray(noise.resize((size, size), Image.BICUBIC))
    if rng.uniform() < 0.4:
        waves = _plane(rng, (size, size)) * np.float32(rng.uniform(20, 120))
        mix += np.float32(rng.uniform(0.05, 0.25)) * np.sin(waves + np.float32(rng.uniform(0, 6)))
    first, second = rng.uniform(20, 235, (2, 3)).astype(np.float32)
    contrast = (second - first) * np.float32(rng.uniform(0.2, 0.7))
    return first + contrast * np.clip(mix, 0, 1)[..., None]


def _strokes(rng, canvas, size):
    """Up to six thin lines and curves that are no object."""
    sheet = Image.new("L", (size * 2, size * 2))
    pen = ImageDraw.Draw(sheet)
    for _ in range(rng.integers(0, 7)):
        points = np.cumsum(rng.normal(0, 0.12, (int(rng.integers(2, 6)), 2)), axis=0)
        points = (points + rng.uniform(0, 1, 2)) * size * 2
        width = int(rng.integers(1, 4)) * max(1, size // 128)
        pen.line([tuple(p) for p in points], fill=int(rng.integers(120, 256)), width=width)
    mask = np.asarray(sheet.reduce(2), np.float32)[..., None] / 255
    canvas += mask * (rng.uniform(0, 255, 3).astype(np.float32) - canvas)
