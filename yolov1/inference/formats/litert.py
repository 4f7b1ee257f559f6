"""LiteRT (once TensorFlow Lite), which phones, boards and MediaPipe in browsers run.

The metadata is a file ``yolov1.json`` in a zip archive behind the model, where LiteRT's own tools
put files as well: ``unzip -p FILE.tflite yolov1.json`` shows it.
"""

import math
import os
import warnings

import tensorflow as tf

from yolov1.inference.formats.frozen import apart, flat
from yolov1.inference.formats.litert_constants import with_constants
from yolov1.inference.formats.session import (
    Session,
    as_input,
    metadata_from_zip,
    needed,
    put_into_zip,
)
from yolov1.inference.metadata import WrongFile

PRECISIONS = ("float32", "float16", "int8")
NMS = ("outside",)
INSIDE = ()
INPUTS = ("float32", "uint8")
EXTRA = "litert"
MODULES = ("ai_edge_litert.interpreter",)
# Operations that have weights. The last of them makes the raw predictions.
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"}


def name_of(stem: str) -> str:
    return f"{stem}.tflite"


def recognises(path) -> bool:
    return path.suffix.lower() == ".tflite" and not path.is_dir()


def write(detector, path, metadata, *, calibration=None):
    # What is quantized must be constant, whatever memory that takes.
    large = {"large": math.inf} if metadata.precision == "int8" else {}
    module = tf.Module(name="detector")  # the converter wants an owner of the function
    look, weights = apart(detector, metadata, constant=True, **large)
    module.look = flat(look)

    def converter():
        traced = module.look.get_concrete_function()
        return tf.lite.TFLiteConverter.from_concrete_functions([traced], module)

    if metadata.precision == "int8":
        content = _quantized(converter, metadata, calibration)
    else:
        chosen = converter()
        if metadata.precision == "float16":
            chosen.optimizations = [tf.lite.Optimize.DEFAULT]
            chosen.target_spec.supported_types = [tf.float16]
        content = chosen.convert()
        if weights:
            content = with_constants(content, weights, half=metadata.precision == "float16")
    path.write_bytes(content)
    put_into_zip(path, metadata.to_json())


def _quantized(converter, metadata, calibration) -> bytes:
    """In int8 up to the last layer, which stays in float32 with all that follows: a common scale of
    classes, confidences and boxes cost three times the precision of the boxes."""

    def images():
        for image in calibration():
            yield {"images": as_input(image, metadata)}

    quantized = converter()
    quantized.optimizations = [tf.lite.Optimize.DEFAULT]
    quantized.representative_dataset = images
    # The debugger is TensorFlow's public way to name operations that stay as they are.
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=_last_operations(converter().convert())
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
        return tf.lite.experimental.QuantizationDebugger(
            converter=quantized, debug_dataset=images, debug_options=options
        ).get_nondebug_quantized_model()


def _last_operations(content: bytes) -> list[str]:
    """The names of the last operation with weights and of all behind it: of what they put out."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    graph = model.subgraphs[0]
    kinds = [flatbuffer_utils.opcode_to_name(model, op.opcodeIndex) for op in graph.operators]
    first = max((k for k, kind in enumerate(kinds) if kind in _WEIGHTED), default=0)
    return [
        graph.tensors[output].name.decode()
        for operation in graph.operators[first:]
        for output in operation.outputs
    ]


def open(path) -> Session:
    interpreter_module = needed(EXTRA, "ai_edge_litert.interpreter")
    metadata = metadata_from_zip(path)
    # Its default is one thread.
    interpreter = interpreter_module.Interpreter(os.fspath(path), num_threads=os.cpu_count())
    if "serving_default" not in interpreter.get_signature_list():
        raise WrongFile(f"{path}: no signature serving_default. Export it again.")
    look = interpreter.get_signature_runner("serving_default")

    def run(images):
        return look(images=as_input(images, metadata))

    return Session(metadata, run)
