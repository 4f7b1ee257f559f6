"""Pictures: boxes with class and score, and the grid."""

import colorsys
import functools
import itertools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yolov1 import boxes as box_formats
from yolov1 import data, fonts
from yolov1.data import images as image_files
from yolov1.inference import pixels

_GOLDEN_RATIO = 0.618033988749895


def class_colour(label: int) -> tuple[int, int, int]:
    """The RGB colour of a class: hues a golden section apart, so that neighbours differ."""
    hue = (0.02 + label * _GOLDEN_RATIO) % 1.0
    # Every second round of hues is darker, which keeps twenty classes apart.
    value = 0.95 if label % 2 == 0 else 0.75
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.85, value))


def draw(image, boxes, classes, *, score_threshold=0.0, min_side=0, truth=None, orientation=1):
    """The image with boxes in class colours, labelled with class and score.

    A class is called by its number, with a warning, where no font has the glyphs of its name: see
    `yolov1.fonts`.

    Args:
        image: ``[H, W, 3]`` uint8, or floating point in [0, 1]; grey: ``[H, W, 1]``, ``[H, W]``.
        boxes: `Detections`, an `Example`, or anything with ``boxes_xyxy`` or ``boxes_cxcywh``
            (fractions of the image), ``labels`` and, optionally, ``scores``.
        classes: names by label.
        score_threshold: boxes that score less are left out.
        min_side: a picture whose shorter side is smaller is enlarged to it first, so that the
            labels can be read.
        truth: boxes of the same kinds to draw below the others, thin, white and without labels.
        orientation: of EXIF (`Example.orientation`): image and boxes are turned by it.

    Returns:
        uint8 ``[H', W', 3]``; a copy, also where nothing is drawn.

    Raises:
        ValueError: an image of another shape or dtype, or floating point beyond [0, 1].
    """
    picture = _picture(image, min_side, orientation)
    canvas = ImageDraw.Draw(picture)
    side = min(picture.size)
    thickness = max(1, round(side / 160))
    font_size = max(12, round(side / 26))
    classes = fonts.readable(tuple(classes))
    if truth is not None:
        for corners in _corners_px(truth, picture.size, orientation):
            canvas.rectangle(corners, outline=(255, 255, 255), width=max(1, thickness // 2))
    scores = getattr(boxes, "scores", None)
    rows = list(
        zip(_corners_px(boxes, picture.size, orientation), np.asarray(boxes.labels), strict=True)
    )
    # The best box is drawn last, on top of the others; all frames before all labels.
    shown = [i for i in range(len(rows)) if scores is None or scores[i] >= score_threshold][::-1]
    for i in shown:
        corners, label = rows[i]
        canvas.rectangle(corners, outline=class_colour(label), width=thickness)
    taken = []
    for i in reversed(shown):
        corners, label = rows[i]
        name = classes[label] if label < len(classes) else f"class {label}"
        text = name if scores is None else f"{name} {scores[i]:.2f}"
        parts = [(part, _font(path, font_size)) for part, path in fonts.runs(text)]
        taken.append(_label(canvas, picture.size, corners, parts, class_colour(label), taken))
    return np.asarray(picture)


def draw_grid(image, S, *, min_side=0, colour=(255, 255, 255)):
    """The image with the lines of an S x S grid; uint8 ``[H', W', 3]``."""
    picture = _picture(image, min_side)
    canvas = ImageDraw.Draw(picture)
    width, height = picture.size
    for k in range(1, S):
        x, y = round(k * width / S), round(k * height / S)
        canvas.line((x, 0, x, height), fill=colour)
        canvas.line((0, y, width, y), fill=colour)
    return np.asarray(picture)


def draw_annotation(image, source, image_id=None, classes=None, *, S=7, min_side=0):
    """The image with the grid and the boxes that an annotation says, in class colours.

    Args:
        image: a path, or an array as `draw` takes.
        source: a text file ``label cx cy w h``, a ``labels.json`` of FiftyOne, or a table (data
            frame or dict of columns); see `yolov1.data.read_annotation`.
        image_id: which image of a ``labels.json`` or a table; None: the name of the image file
            without its suffix, where `image` is a path.
        classes: names by label; None: those of the ``labels.json``, else the labels themselves.
        S: lines of an S x S grid below the boxes; 1 for none.
        min_side: as in `draw`.

    Returns:
        uint8 ``[H', W', 3]``.

    Raises:
        ValueError: an array that `draw` refuses; and as `yolov1.data.read_annotation` does.
    """
    orientation = 1
    if isinstance(image, (str, os.PathLike)):
        image_id = Path(image).stem if image_id is None else image_id
        orientation = image_files.read_header(image).orientation
        image = data.read_image(image)
    boxes = data.read_annotation(source, image_id, classes)
    picture = draw_grid(image, S, min_side=min_side)
    return draw(picture, boxes, boxes.classes, orientation=orientation)


def _picture(image, min_side, orientation=1):
    image = np.asarray(image)
    if image.ndim < 2 or image.shape[2:] not in ((), (1,), (3,), (4,)) or not image.size:
        raise ValueError(
            "draw: expected an image [H, W, 3] (RGB), or [H, W, 1] or [H, W] (grey), got the shape "
            f"{list(image.shape)}. Draw a batch one by one."
        )
    pixels.check(image, "draw")
    image = image[..., 0] if image.shape[2:] == (1,) else image
    if image.dtype != np.uint8:
        image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(image_files.turn(image, orientation)).convert("RGB")
    scale = min_side / min(picture.size)
    if scale > 1:
        picture = picture.resize([round(side * scale) for side in picture.size], Image.BICUBIC)
    return picture


@functools.cache
def _font(path, size):
    return ImageFont.truetype(path, size)


def _corners_px(boxes, size, orientation):
    """Pixel corners as PIL draws them: inside the picture, and never inverted."""
    boxes_xyxy = getattr(boxes, "boxes_xyxy", None)
    if boxes_xyxy is None:
        boxes_xyxy = box_formats.cxcywh_to_xyxy(np.asarray(boxes.boxes_cxcywh))
    width, height = size
    boxes_xyxy = image_files.turn_boxes(boxes_xyxy, orientation)
    boxes_xyxy = box_formats.clip_xyxy(np.asarray(boxes_xyxy, np.float64))
    corners = box_formats.scale_xyxy(boxes_xyxy, width - 1, height - 1)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return [tuple(row) for row in corners.round().tolist()]


def _label(canvas, size, corners, parts, colour, taken):
    """Writes the parts of a text, each with its font, on a filled rectangle, which it returns:
    above the box, or else below or inside it, where it hides the least of the labels before it."""
    lengths = [font.getlength(part) for part, font in parts]
    starts = list(itertools.accumulate(lengths[:-1], initial=0.0))  # on one base line
    covered = np.array(
        [
            canvas.textbbox((start, 0), part, font=font, anchor="ls")
            for start, (part, font) in zip(starts, parts, strict=True)
        ]
    )
    left, top = covered[:, :2].min(axis=0).tolist()
    right, bottom = covered[:, 2:].max(axis=0).tolist()
    width, height = right - left + 4, bottom - top + 4
    x0, y0, x1, y1 = corners
    places = [(x0, y0 - height), (x0, y1), (x0, y0), (x1 - width, y1 - height)]
    inside = [(x, y) for x, y in places if 0 <= y <= size[1] - height] or places[2:3]
    rectangles = []
    for x, y in inside:
        x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        rectangles.append((x, y, x + width, y + height))
    best = min(rectangles, key=lambda mine: sum(_common(mine, other) for other in taken))
    canvas.rectangle((*best[:2], best[2] - 1, best[3] - 1), fill=colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (0, 0, 0) if light else (255, 255, 255)
    for start, (part, font) in zip(starts, parts, strict=True):
        at = (best[0] + 2 - left + start, best[1] + 2 - top)
        canvas.text(at, part, fill=ink, font=font, anchor="ls")
    return best


def _common(a, b):
    """Pixels that two rectangles share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
