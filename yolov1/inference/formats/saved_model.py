"""TensorFlow's SavedModel: a folder that TensorFlow, Serving, and its other languages load.

Signature ``serving_default`` gives what was found, ``look`` also the predictions. The metadata is
``assets.extra/yolov1.json``.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import tensorflow as tf

from yolov1.files import read_text
from yolov1.inference.formats.frozen import function
from yolov1.inference.formats.session import Session, as_input
from yolov1.inference.metadata import FILE, Metadata, missing
from yolov1.kernels import SUPPRESSIONS

PRECISIONS = ("float32",)
NMS = ("inside", "outside")
INSIDE = SUPPRESSIONS
INPUTS = ("float32", "uint8")
EXTRA = None
MODULES = ()
PATTERN = set("[]*?\\")  # TensorFlow reads these in the path of what it loads as a pattern


def name_of(stem: str) -> str:
    return f"{stem}_saved_model"


def recognises(path) -> bool:
    return (path / "saved_model.pb").is_file()


def write(detector, path, metadata, *, calibration=None):
    module = tf.Module(name="detector")
    module.model, look = detector.model, function(detector, metadata, convert=False)
    unseen = {"predictions"} if metadata.nms == "inside" else set()

    @tf.function(input_signature=look.input_signature, autograph=False)
    def run(images):
        return {name: value for name, value in look(images).items() if name not in unseen}

    module.look, module.run = look, run
    tf.saved_model.save(module, str(path), signatures={"serving_default": run, "look": look})
    extra = path / "assets.extra"  # TensorFlow's name for what is not TensorFlow's
    extra.mkdir()
    (extra / FILE).write_text(metadata.to_json(), encoding="utf-8")


def open(path) -> Session:
    described = path / "assets.extra" / FILE
    if not described.is_file():
        raise missing(path)
    metadata = Metadata.from_json(read_text(described), path)
    with _without_pattern(path) as name:
        module = tf.saved_model.load(name)
    look = module.signatures["look"]

    def run(images):
        outputs = look(images=tf.constant(as_input(images, metadata)))
        return {name: value.numpy() for name, value in outputs.items()}

    run.module = module  # owns the variables
    return Session(metadata, run)


@contextlib.contextmanager
def _without_pattern(path):
    """A name of the folder that TensorFlow does not take for a pattern."""
    if not PATTERN & set(str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "model"
        os.symlink(path.resolve(), link, target_is_directory=True)
        yield str(link)
