"""Detectors that tests write into files, and what they hold against them."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from yolov1 import inference
from yolov1.grid import GridSpec
from yolov1.heads import conv_head
from yolov1.models.layers import FusedBatchNormalization

GRID = GridSpec(S=4, B=2, C=3, image_size=64)
CLASSES = ("Äpfel & Öl", "猫", 'a "quoted" <name>')
OPTIONS = {"score_threshold": 0.0005, "iou_threshold": 0.4, "max_detections": 20}
LIBRARIES = {  # what writes and runs each, beyond TensorFlow
    "tflite": ("ai_edge_litert.interpreter",),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
}
ALL = tuple(inference.FORMATS)
EVERY = [(f, p, n) for f, m in inference.FORMATS.items() for p in m.PRECISIONS for n in m.NMS]


def need(format):
    for name in LIBRARIES.get(format, ()):
        pytest.importorskip(name, reason=f"the extra {inference.FORMATS[format].EXTRA} is missing")


def images(count=5, seed=0):
    """Of whole 255ths, so that uint8 holds them."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return values.astype(np.float32) / 255


def calibration():
    return (image[None] for image in images(8, seed=1))


def build():
    """A network of a few layers of each kind: converters take their time by the operation."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((64, 64, 3))
    features = layers.Conv2D(32, 8, strides=4, padding="same", use_bias=False)(pixels)
    features = layers.LeakyReLU(0.1)(FusedBatchNormalization()(features))
    features = layers.MaxPooling2D(4)(features)
    features = layers.Conv2D(384, 3, padding="same", activation="relu")(features)
    model = keras.Model(pixels, conv_head(features, GRID))
    model.layers[-2].bias.assign(np.full(GRID.channels, 0.2))  # so that there is something
    return model


network = functools.cache(build)


def make(**options):
    return inference.Detector(network(), classes=CLASSES, **OPTIONS | options)


def make_small():
    """One that is written in no time."""
    pixels = keras.Input((64, 64, 3))
    features = keras.layers.Conv2D(8, 16, strides=16, activation="relu")(pixels)
    return inference.Detector(
        keras.Model(pixels, conv_head(features, GRID)), classes=CLASSES, score_threshold=0.0
    )


@functools.cache
def expected():
    return {name: value.numpy() for name, value in make().look(images()).items()}


def assert_same(found, wanted, tolerance):
    """Detections of several images, each box where it was; of equal scores in any order."""
    for a, b in zip(found, wanted, strict=True):
        assert len(a) == len(b) > 0
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=tolerance)
        sorted_a, sorted_b = (np.lexsort([*d.boxes_xyxy.T.round(3), d.labels]) for d in (a, b))
        np.testing.assert_array_equal(a.labels[sorted_a], b.labels[sorted_b])
        np.testing.assert_allclose(
            a.boxes_xyxy[sorted_a], b.boxes_xyxy[sorted_b], rtol=0, atol=tolerance
        )


def halve(path):
    """Cuts the largest file of a format in half, or the file that says what it is."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
