"""ONNX, which ONNX Runtime runs: on servers, in browsers (onnxruntime-web), on phones.

The metadata is the entry ``yolov1`` of the model's metadata.
"""

import contextlib
import logging
import os

from yolov1.inference.formats.frozen import apart
from yolov1.inference.formats.session import Session, as_input, needed
from yolov1.inference.metadata import KEY, Metadata, missing

PRECISIONS = ("float32", "float16", "int8")
NMS = ("inside", "outside")
INSIDE = ("hard",)  # its operation
INPUTS = ("float32", "uint8")
EXTRA = "onnx"
MODULES = ("onnx", "tf2onnx", "onnxruntime")
OPSET = 18
# Operations that have weights. The last of them makes the raw predictions; it stays in float32 with
# all that follows it: decoding does not bear the steps of a half or of eight bits.
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def name_of(stem: str) -> str:
    return f"{stem}.onnx"


def recognises(path) -> bool:
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def write(detector, path, metadata, *, calibration=None):
    onnx, tf2onnx = needed(EXTRA, "onnx", "tf2onnx")
    if metadata.nms == "inside" and metadata.score_threshold < 0:
        raise ValueError(
            "export: suppression inside ONNX drops scores below 0 whatever the threshold; it needs "
            f"a score_threshold of at least 0, got {metadata.score_threshold:g}. Or take "
            'nms="outside".'
        )
    look, weights = apart(detector, metadata)
    model, _ = tf2onnx.convert.from_function(
        look, input_signature=look.input_signature, opset=OPSET
    )
    captures = look.get_concrete_function().graph.captures
    _put_in(model.graph, weights, {inner.name: outer for outer, inner in captures})
    last = _last_operations(model.graph)
    if metadata.precision == "float16":
        model = _halved(model, last)
    elif metadata.precision == "int8":
        model = _quantized(model, last, path, metadata, calibration)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.to_json()
    onnx.save(model, os.fspath(path))


def _put_in(graph, weights, captured):
    """Makes constants of inputs: of large weights, and of what the function takes from outside,
    such as the means of Keras' Normalization. What transposes one is done here, and goes."""
    onnx = needed(EXTRA, "onnx")
    names = {value.name for value in graph.input} & captured.keys()
    weights = weights | {name: captured[name].numpy() for name in names}
    for node in [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in weights]:
        axes = onnx.helper.get_node_attr_value(node, "perm")
        weights[node.output[0]] = weights[node.input[0]].transpose(axes)
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for name in weights.keys() & used:
        graph.initializer.append(onnx.numpy_helper.from_array(weights[name], name))
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)


def _last_operations(graph) -> list[str]:
    """The names of the last operation with weights and of all behind it."""
    constants = {value.name for value in graph.initializer}
    weighted = (
        k
        for k, node in enumerate(graph.node)
        if node.op_type in _WEIGHTED and constants & set(node.input)
    )
    return [node.name for node in graph.node[max(weighted, default=0) :]]


def _halved(model, last):
    """Weights and arithmetic in float16; images and outputs stay as they are."""
    halves, models = needed(
        EXTRA, "onnxruntime.transformers.float16", "onnxruntime.transformers.onnx_model"
    )
    model = halves.convert_float_to_float16(model, keep_io_types=True, node_block_list=last)
    # What stays in float32 is narrowed and widened again between one operation and the next.
    made_by = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        narrow = made_by.get(node.input[0]) if _casts_to(node, "FLOAT") else None
        if narrow is not None and _casts_to(narrow, "FLOAT16"):
            node.input[0] = narrow.input[0]
    graph = models.OnnxModel(model)
    graph.prune_graph()
    graph.topological_sort()  # the casts come at the graph's end
    return model


def _casts_to(node, dtype: str) -> bool:
    onnx = needed(EXTRA, "onnx")
    return node.op_type == "Cast" and node.attribute[0].i == getattr(onnx.TensorProto, dtype)


def _quantized(model, last, path, metadata, calibration):
    onnx, quantization = needed(EXTRA, "onnx", "onnxruntime.quantization")

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.images = iter(calibration())

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"images": as_input(image, metadata)}

    before, after = (path.with_name(f"{name}.onnx") for name in ("before", "after"))
    onnx.save(model, os.fspath(before))
    with _quiet():  # it advises a step that tf2onnx has taken already
        quantization.quantize_static(
            os.fspath(before),
            os.fspath(after),
            Images(),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=last,
        )
    return onnx.load(os.fspath(after))


@contextlib.contextmanager
def _quiet():
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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
