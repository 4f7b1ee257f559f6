"""Darknet's files of YOLOv1, read and written: cfg, weights, lists, results and logs.

    model = yolov1.darknet.load("yolov1-tiny.cfg", "tiny-yolov1.weights")
    yolov1.darknet.save(model, "mine.cfg", "mine.weights")

What reads files needs neither Keras nor TensorFlow: they are loaded with `load`, `save`,
`load_weights`, `cfg_of` and `build` only.

Source: pjreddie/darknet at f6afaabc, and its history for the files of 2015.
"""

from yolov1.darknet.cfg import Cfg, Section, parse_cfg, read_cfg
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.plan import Block, Layer, Plan, plan
from yolov1.darknet.weights import WeightsFile, read_blocks, write_weights

__all__ = [
    "Block",
    "Cfg",
    "DarknetError",
    "Layer",
    "Plan",
    "Section",
    "WeightsFile",
    "build",
    "cfg_of",
    "load",
    "load_weights",
    "parse_cfg",
    "plan",
    "read_blocks",
    "read_cfg",
    "save",
    "write_weights",
]

_NETWORK = ("build", "cfg_of", "load", "load_weights", "save")


def __getattr__(name):
    if name in _NETWORK:
        from yolov1.darknet import network

        return getattr(network, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
