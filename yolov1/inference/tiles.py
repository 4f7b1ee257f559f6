"""Detectors that look at an image several times: tile by tile, or mirrored as well.

Each has the face of the `Detector` that it is made of, whatever that is, so that they combine.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from yolov1.inference.detections import Detections
from yolov1.ops import non_max_suppression

GREY = 127  # what the augmentation shows beyond the image's edge
# Of an overlap: so far across the middle, where two tiles meet, what both have found is taken from
# both. A network does not put the centre of one object at the same place twice.
BOTH = 1 / 16


class View(NamedTuple):
    """One look at an image: its pixels, made when they are asked for, and where boxes found in it
    lie in the whole."""

    see: Callable[[], np.ndarray]
    back: Callable[[Detections], Detections]

    @property
    def image(self) -> np.ndarray:
        return self.see()


class ManyViews:
    """A detector that merges, by non-maximum suppression, what another finds in views of an image.

    Soft suppression takes from scores once, so that it sees all that the views have, which then
    suppress nothing themselves. (A file that has it inside does, and is refused.)

    Attributes:
        detector: the other; `grid`, `wh`, `classes`, `resize` and `options` are its own, but that
            there is no `max_detections` over all views.

    Args:
        views: from pixels ``[H, W, 3]`` to a list of `View`.
        batch_size: views run at once, whatever `detect` is told; None: as many as it is told.
    """

    def __init__(self, detector, views, batch_size=None):
        self.detector, self.views, self.batch_size = detector, views, batch_size
        self.grid, self.wh, self.resize = detector.grid, detector.wh, detector.resize
        self.classes = detector.classes
        self.options = detector.options | {"max_detections": None}
        self._hard = detector.options.get("suppression", "hard") == "hard"
        if not self._hard:
            every = {"max_detections": self.grid.predicted_boxes * self.grid.C}
            detector = detector.with_other(suppression="hard", iou_threshold=1, **every)
        self._each = detector  # what looks at a view

    def with_other(self, **options) -> "ManyViews":
        """One of the same views, with other options of the detector."""
        return ManyViews(self.detector.with_other(**options), self.views, self.batch_size)

    def detect(self, images, batch_size=32) -> list[Detections]:
        """One `Detections` per image, in order.

        Args:
            images: a sequence of arrays ``[H, W, 3]`` of any size, or of what has such an
                `.image`, as `Example` has; uint8 or floating point in [0, 1]. One after another is
                asked for, and no more held than a batch's views come from.
            batch_size: views run at once, of one image or of several; see `ManyViews`.

        Raises:
            ValueError: as `detect` does.
        """
        batch_size = self.batch_size or batch_size
        found, views, counts = [], [], []
        for index in range(len(images)):
            image = images[index]
            of_this = self.views(np.asarray(getattr(image, "image", image)))
            views += of_this
            counts.append(len(of_this))
            if len(views) >= batch_size or index == len(images) - 1:
                seen = iter(self._each.detect(views, batch_size))
                parts = [view.back(next(seen)) for view in views]
                for count in counts:
                    found.append(self._merged(parts[:count]))
                    del parts[:count]
                views, counts = [], []
        return found

    def _merged(self, parts) -> Detections:
        if len(parts) == 1 and self._hard:
            return parts[0]
        boxes, scores, labels = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("boxes_xyxy", "scores", "labels")
        )
        if not len(scores):
            return Detections.empty()
        of_classes = np.zeros((len(scores), self.grid.C), np.float32)
        of_classes[np.arange(len(scores)), labels] = scores
        rule = self.options | {"max_detections": len(scores)}
        merged = non_max_suppression(boxes[None], of_classes[None], **rule)
        boxes, scores, labels, count = (value.numpy()[0] for value in merged)
        return Detections(boxes[:count], scores[:count], labels[:count])


# ------------------------------------------------------------------------------------------ tiles


def tiled(detector, size, overlap=0.25, batch_size=None) -> ManyViews:
    """A detector for pictures whose objects are too small for the network: it looks at tiles.

    Square tiles of `size` pixels cover the picture, the last ones moved inwards, evenly. A box
    belongs to the tile whose middle its centre lies in, between the middles of the overlaps with
    its neighbours: so what an edge cuts is left to the neighbour, which sees it whole as long as
    the overlap is as large as the object. Where two tiles meet, suppression finds what both have.

    A picture no larger than a tile is looked at as it is; one that is smaller in one direction only
    has grey beside it, so that nothing is stretched.

    The picture as a whole is not looked at as well: objects larger than a tile are for the detector
    itself (docs/tiles.md has the measurements).

    Args:
        detector: a `Detector`, or one of several views.
        size: of a tile, in pixels of the picture.
        overlap: of neighbouring tiles, at least, as a fraction of a tile.
        batch_size: tiles run at once, for a caller that gives `detect` one large picture at a time.

    Raises:
        ValueError: a size below 1, or an overlap that is not in [0, 1).
    """
    if not size >= 1 or not 0 <= overlap < 1:
        raise ValueError(
            "tiled: size must be at least 1 pixel and overlap in [0, 1), a fraction of a tile, got "
            f"size={size!r} and overlap={overlap!r}."
        )
    views = functools.partial(_tiles, size=int(size), overlap=overlap)
    return ManyViews(detector, views, batch_size)


def _tiles(image, size, overlap) -> list[View]:
    # What is no image, the detector refuses.
    if image.ndim != 3 or not image.size or max(image.shape[:2]) <= size:
        return [View(lambda: image, lambda found: found)]
    rows, columns = (_places(length, size, overlap) for length in image.shape[:2])
    return [
        View(
            functools.partial(_cut, image, row[0], column[0], size),
            functools.partial(_back, row=row, column=column, size=size, shape=image.shape),
        )
        for row in rows
        for column in columns
    ]


def _places(length, size, overlap) -> list[tuple[int, float, float]]:
    """The tiles along one side: start, and the low and high end of where its boxes' centres lie."""
    if length <= size:
        return [(0, -math.inf, length if length < size else math.inf)]
    step = max(1, math.floor(size * (1 - overlap)))
    last = math.ceil((length - size) / step)
    starts = [round(k * (length - size) / last) for k in range(last + 1)]
    places = []
    for k, start in enumerate(starts):
        low, high = -math.inf, math.inf
        if k > 0:
            shared = starts[k - 1] + size - start
            low = start + shared * (1 / 2 - BOTH)
        if k < last:
            shared = start + size - starts[k + 1]
            high = start + size - shared * (1 / 2 - BOTH)
        places.append((start, low, high))
    return places


def _cut(image, top, left, size):
    tile = image[top : top + size, left : left + size]
    missing = [(0, size - length) for length in tile.shape[:2]]
    grey = GREY if image.dtype == np.uint8 else GREY / 255
    return np.pad(tile, [*missing, (0, 0)], constant_values=grey) if np.any(missing) else tile


def _back(found, row, column, size, shape) -> Detections:
    """The boxes that belong to a tile, as fractions of the whole."""
    (top, low_y, high_y), (left, low_x, high_x) = row, column
    boxes = found.boxes_xyxy.astype(np.float64) * size + (left, top, left, top)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    own = (low_x <= x) & (x <= high_x) & (low_y <= y) & (y <= high_y)
    height, width = shape[:2]
    fractions = (boxes[own] / (width, height, width, height)).astype(np.float32)
    return Detections(fractions, found.scores[own], found.labels[own])


# -------------------------------------------------------------------------------------- mirrored


def flipped(detector) -> ManyViews:
    """A detector that looks at each image, and at its mirror image as well: twice the time.

    The boxes of both go through suppression together. (docs/tiles.md has what it gains, and what
    other ways of merging did.)
    """
    return ManyViews(detector, _both_ways)


def _both_ways(image) -> list[View]:
    if image.ndim != 3:
        return [View(lambda: image, lambda found: found)]
    return [View(lambda: image, lambda found: found), View(lambda: image[:, ::-1], _mirrored)]


def _mirrored(found) -> Detections:
    x_min, y_min, x_max, y_max = np.moveaxis(found.boxes_xyxy, -1, 0)
    boxes = np.stack([1 - x_max, y_min, 1 - x_min, y_max], axis=-1)
    return Detections(boxes, found.scores, found.labels)
