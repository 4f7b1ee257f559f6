"""What is around boxes in an image: cut out, turned upright, and ready to be drawn on."""

import numpy as np
from PIL import Image

from yolov1 import boxes as box_formats
from yolov1.data import images
from yolov1.evaluation import GroundTruth


class CloseUp:
    """A square of an image around some boxes, moved into the image where it would leave it.

    Attributes:
        picture: uint8 ``[h, w, 3]``, upright; its longer side is `side` pixels.
    """

    def __init__(self, image, boxes_xyxy, orientation, *, side: int, around: float, least: float):
        """Cuts it out.

        Args:
            image: uint8 ``[H, W, 3]``, as it is stored.
            boxes_xyxy: ``[K, 4]`` what it shows, in fractions of the image.
            orientation: of EXIF.
            around: sides of the square, of the longest side of what it shows.
            least: the square's least side, of the image's shorter one: a tiny object needs its
                surroundings to be recognised.
        """
        self._size, self._orientation = np.array(image.shape[1::-1], float), orientation
        corners = box_formats.clip_xyxy(np.asarray(boxes_xyxy, float)) * np.tile(self._size, 2)
        low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        longest = max(around * (high - low).max(), least * self._size.min(), 1)
        sides = np.minimum(np.ceil(longest), self._size)
        start = np.clip(np.round((low + high - sides) / 2), 0, self._size - sides)
        self._start, self._sides = start, sides
        (left, top), (right, bottom) = start.astype(int), (start + sides).astype(int)
        part = images.turn(image[top:bottom, left:right], orientation)
        scale = side / max(part.shape[:2])
        size = [max(1, round(length * scale)) for length in part.shape[1::-1]]
        self.picture = np.asarray(Image.fromarray(part).resize(size, Image.BICUBIC))

    def inside(self, boxes_xyxy) -> np.ndarray:
        """Corners ``[K, 4]`` in fractions of the image as such of the picture, clipped to it."""
        pixels = np.asarray(boxes_xyxy, float) * np.tile(self._size, 2)
        moved = (pixels - np.tile(self._start, 2)) / np.tile(self._sides, 2)
        return images.turn_boxes(box_formats.clip_xyxy(moved), self._orientation)

    def objects(self, example) -> GroundTruth:
        """Those of the image's objects that are in the picture, as `inference.draw` takes them."""
        corners = self.inside(box_formats.cxcywh_to_xyxy(example.boxes_cxcywh))
        there = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        return GroundTruth(corners[there], example.labels[there])
