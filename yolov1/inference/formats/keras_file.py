"""Keras' own file: the network, which can be trained on; decoding and suppression are added.

The metadata is a file ``yolov1.json`` inside, which is a zip archive. Whoever saves the network
with Keras again loses it.
"""

import keras
import tensorflow as tf

from yolov1.inference.formats.session import Session, metadata_from_zip, put_into_zip
from yolov1.inference.graph import look_at
from yolov1.inference.metadata import WrongFile

PRECISIONS = ("float32",)
NMS = ("outside",)
INSIDE = ()
INPUTS = ("float32",)
EXTRA = None
MODULES = ()


def name_of(stem: str) -> str:
    return f"{stem}.keras"


def recognises(path) -> bool:
    return path.suffix.lower() == ".keras" and not path.is_dir()


def write(detector, path, metadata, *, calibration=None):
    if not isinstance(detector.model, keras.Model):
        raise ValueError(
            "export: format keras holds a Keras model, got a detector of "
            f"{type(detector.model).__name__}."
        )
    detector.model.save(path)
    put_into_zip(path, metadata.to_json())


def open(path) -> Session:
    metadata = metadata_from_zip(path)
    model = keras.models.load_model(path, compile=False)
    expected = metadata.grid.prediction_shape
    if tuple(model.output_shape[1:]) != expected:
        raise WrongFile(
            f"{path}: its network gives {model.output_shape}, its metadata says [N, "
            f"{', '.join(map(str, expected))}]."
        )

    @tf.function(autograph=False)
    def look(images):
        return look_at(images, model, metadata.grid, metadata.wh, nms="outside")

    def run(images):
        return {name: value.numpy() for name, value in look(tf.constant(images)).items()}

    return Session(metadata, run, model)
