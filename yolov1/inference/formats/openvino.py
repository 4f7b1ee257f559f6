"""OpenVINO, for processors and graphics of Intel's: a folder of ``model.xml`` and ``model.bin``.

The metadata is the model's runtime information ``yolov1``, in the xml.
"""

import os

import numpy as np

from yolov1.inference.formats.frozen import function
from yolov1.inference.formats.session import Session, as_input, needed
from yolov1.inference.metadata import KEY, Metadata, missing

PRECISIONS = ("float32", "float16")
NMS = ("outside",)  # its frontend does not know TensorFlow's suppression
INSIDE = ()
INPUTS = ("float32", "uint8")
EXTRA = "openvino"
MODULES = ("openvino",)
MODEL = "model.xml"
OUTPUTS = ("predictions", "boxes_xyxy", "scores")  # some may have other names besides


def name_of(stem: str) -> str:
    return f"{stem}_openvino"


def recognises(path) -> bool:
    return (path / MODEL).is_file() or (path.suffix.lower() == ".xml" and not path.is_dir())


def write(detector, path, metadata, *, calibration=None):
    openvino = needed(EXTRA, "openvino")
    model = openvino.convert_model(function(detector, metadata).get_concrete_function())
    model.set_rt_info(metadata.to_json(), [KEY])
    path.mkdir()
    half = metadata.precision == "float16"
    openvino.save_model(model, os.fspath(path / MODEL), compress_to_fp16=half)


def open(path) -> Session:
    openvino = needed(EXTRA, "openvino")
    core = openvino.Core()
    model = core.read_model(os.fspath(path / MODEL if path.is_dir() else path))
    if not model.has_rt_info([KEY]):
        raise missing(path)
    metadata = Metadata.from_json(model.get_rt_info([KEY]).astype(str), path)
    # Where the processor has bfloat16, it would calculate with that.
    network = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images):
        outputs = network({"images": as_input(images, metadata)})
        return {name: np.array(outputs[name]) for name in OUTPUTS}

    return Session(metadata, run)
