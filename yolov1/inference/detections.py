"""What a detector found in one image."""

import dataclasses

import numpy as np

from yolov1 import boxes as box_formats


@dataclasses.dataclass(frozen=True)
class Detections:
    """The K boxes found in one image, sorted by falling score.

    Attributes:
        boxes_xyxy: ``[K, 4]`` floating point corners, as fractions of the image.
        scores: ``[K]`` floating point; the class score, confidence times class probability.
        labels: ``[K]`` int32 class indices.

    The arrays are sorted when they come unsorted; equal scores keep their order. Integers become
    float32, floating point dtypes are kept.

    Raises:
        ValueError: the shapes do not belong together, a score is NaN, or a label is negative.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        boxes, scores = (_floating(a) for a in (self.boxes_xyxy, self.scores))
        labels = np.asarray(self.labels)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if (
            boxes.ndim != 2
            or boxes.shape[1] != 4
            or not scores.shape == labels.shape == (len(boxes),)
        ):
            raise ValueError(
                "Detections: boxes_xyxy must be [K, 4], scores [K] and labels [K], got "
                f"{list(boxes.shape)}, {list(scores.shape)} and {list(labels.shape)}."
            )
        if np.isnan(scores).any():
            raise ValueError(
                f"Detections: {int(np.isnan(scores).sum())} of {len(scores)} scores are NaN, which "
                "has no rank. Look for a loss that diverged, or drop these boxes."
            )
        labels = labels.astype(np.int32)
        if (labels < 0).any():
            raise ValueError(f"Detections: labels must be at least 0, got {labels.min()}.")
        order = np.argsort(-scores, kind="stable")
        for name, value in (("boxes_xyxy", boxes), ("scores", scores), ("labels", labels)):
            object.__setattr__(self, name, value[order])

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> "Detections":
        """Nothing found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def above(self, score_threshold: float) -> "Detections":
        """Those with a score greater than the threshold."""
        keep = self.scores > score_threshold
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.labels[keep])

    def clipped(self) -> "Detections":
        """With the corners moved into the image."""
        return Detections(box_formats.clip_xyxy(self.boxes_xyxy), self.scores, self.labels)

    def to_json(self, classes, size=None) -> list[dict]:
        """One dict per box: class, score, and box as fractions or, with `size`, in pixels."""
        height, width = size or (1, 1)
        boxes = self.boxes_xyxy.astype(float) * (width, height, width, height)
        return [
            {"class": classes[label], "score": float(score), "box_xyxy": [float(v) for v in box]}
            for box, score, label in zip(boxes, self.scores, self.labels, strict=True)
        ]


def _floating(values):
    values = np.asarray(values)
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float32)
