"""ONNX, which ONNX Runtime runs: on servers, in browsers (onnxruntime-web), on phones.

The metadata is the entry ``yolov1`` of the model's metadata.
"""

import os

from yolov1.inference.formats.frozen import frozen
from yolov1.inference.formats.session import Session, as_input, needed
from yolov1.inference.metadata import KEY, Metadata, missing

PRECISIONS = ("float32",)
NMS = ("inside", "outside")
INPUTS = ("float32", "uint8")
EXTRA = "onnx"
OPSET = 18


def name_of(stem: str) -> str:
    return f"{stem}.onnx"


def recognises(path) -> bool:
    return path.suffix == ".onnx" and not path.is_dir()


def write(detector, path, metadata, *, calibration=None):
    onnx, tf2onnx = needed(EXTRA, "onnx", "tf2onnx")
    look = frozen(detector, metadata)
    model, _ = tf2onnx.convert.from_function(
        look, input_signature=look.input_signature, opset=OPSET
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.to_json()
    onnx.save(model, os.fspath(path))


def open(path) -> Session:
    runtime = needed(EXTRA, "onnxruntime")
    session = runtime.InferenceSession(os.fspath(path), providers=runtime.get_available_providers())
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise missing(path)
    metadata = Metadata.from_json(text, path)
    names = [output.name for output in session.get_outputs()]

    def run(images):
        outputs = session.run(names, {"images": as_input(images, metadata)})
        return dict(zip(names, outputs, strict=True))

    return Session(metadata, run)
