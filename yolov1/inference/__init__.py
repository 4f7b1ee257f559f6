"""From a network's predictions to boxes: decoding, non-maximum suppression, pictures, export.

An exported detector is made of TensorFlow's own ops, so that it loads anywhere.
"""

from yolov1.inference.dataset import as_dataset
from yolov1.inference.decode import decode
from yolov1.inference.detect import Detector, detect, export, prepare
from yolov1.inference.detections import Detections
from yolov1.inference.draw import class_colour, draw, draw_annotation, draw_grid
from yolov1.inference.load import load
from yolov1.ops import non_max_suppression

__all__ = [
    "Detections",
    "Detector",
    "as_dataset",
    "class_colour",
    "decode",
    "detect",
    "draw",
    "draw_annotation",
    "draw_grid",
    "export",
    "load",
    "non_max_suppression",
    "prepare",
]
