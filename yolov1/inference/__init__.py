"""From a network's predictions to boxes: decoding, non-maximum suppression, pictures, export.

An exported detector is made of each format's own ops, so that it loads anywhere; `load` brings it
back, as it does that of a run.
"""

from yolov1.inference.dataset import as_dataset
from yolov1.inference.decode import decode
from yolov1.inference.detect import Detector, class_names, detect, prepare
from yolov1.inference.detections import Detections
from yolov1.inference.draw import class_colour, draw, draw_annotation, draw_grid
from yolov1.inference.exporting import export
from yolov1.inference.file_detector import FileDetector
from yolov1.inference.formats import FORMATS, MissingExtra
from yolov1.inference.load import load
from yolov1.inference.metadata import Metadata, WrongFile
from yolov1.inference.tiles import ManyViews, flipped, tiled
from yolov1.ops import non_max_suppression

__all__ = [
    "FORMATS",
    "Detections",
    "Detector",
    "FileDetector",
    "ManyViews",
    "Metadata",
    "MissingExtra",
    "WrongFile",
    "as_dataset",
    "class_colour",
    "class_names",
    "decode",
    "detect",
    "draw",
    "draw_annotation",
    "draw_grid",
    "export",
    "flipped",
    "load",
    "non_max_suppression",
    "prepare",
    "tiled",
]
