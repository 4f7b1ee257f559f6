"""Our detector of `bench_detectors`, in a process of its own as the other one is.

    python -m benchmarks.detectors_ours RUN_OR_FILE

It answers the requests that `benchmarks.detectors_peer` describes.
"""

import math
import sys

import numpy as np

from benchmarks.detectors_peer import THRESHOLD, serve
from yolov1 import __version__, boxes, data, inference, models

BATCH = 32


class Ours:
    """The detector of a run, or of a file of `experiments.export`."""

    def __init__(self, place):
        self._detectors = {THRESHOLD: inference.load(place)}

    def _with(self, threshold):
        if threshold not in self._detectors:
            other = self._detectors[THRESHOLD].with_other(score_threshold=threshold)
            self._detectors[threshold] = other
        return self._detectors[threshold]

    def read(self, path):
        return data.read_image(path)

    def detect(self, pixels, threshold):
        return self._with(threshold).detect([pixels], 1)

    def find(self, paths):
        """By the input pipeline, as experiments.evaluate reads its images."""
        detector = self._detectors[THRESHOLD]
        nothing = [inference.Detections.empty()] * len(paths)
        dataset = inference.as_dataset(paths, nothing, detector.classes)
        batches = data.evaluation_batches(dataset, detector.grid, BATCH, resize=detector.resize)
        found = detector.detect(batches)
        return [_rows(one, image.size) for one, image in zip(found, dataset, strict=True)]

    def said(self, found):
        return None

    def describe(self, pixels):
        detector, counted = self._detectors[THRESHOLD], {}
        if hasattr(detector.model, "layers"):  # a file does not say what it computes
            weights = detector.model.trainable_weights
            counted["parameters"] = sum(math.prod(weight.shape) for weight in weights)
            counted["multiply_adds"] = models.multiply_adds(detector.model)
        side = detector.grid.image_size
        return counted | {"input": [side, side], "program": f"yolov1 {__version__}"}


def _rows(found, size):
    corners = boxes.scale_xyxy(found.clipped().boxes_xyxy.astype(float), *size[::-1])
    return np.column_stack([corners, found.scores, found.labels]).tolist()


if __name__ == "__main__":
    serve(lambda: Ours(sys.argv[1]))
