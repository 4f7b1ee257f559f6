"""Weights put into a LiteRT model that was converted with them as inputs."""

import numpy as np


def with_constants(content: bytes, weights: dict, *, half=False) -> bytes:
    """The model with the named inputs of its signature as constants.

    Args:
        content: of the model.
        weights: float32 arrays by name.
        half: keep them in float16; they are widened when the model is loaded, as LiteRT's own
            converter has it.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    kinds = [
        flatbuffer_utils.opcode_to_name(model, code) for code in range(len(model.operatorCodes))
    ]

    def fill(index, values):
        tensor = graph.tensors[index]
        tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
        tensor.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(
            np.ascontiguousarray(values, np.float16 if half else np.float32), np.uint8
        )
        if half:
            widen(index)

    def widen(index):
        narrow = schema.TensorT()
        narrow.__dict__.update(graph.tensors[index].__dict__)
        narrow.name, narrow.type = narrow.name + b"/half", schema.TensorType.FLOAT16
        graph.tensors[index].buffer = 0  # of what is computed
        graph.tensors.append(narrow)
        if "DEQUANTIZE" not in kinds:
            kinds.append("DEQUANTIZE")
            model.operatorCodes.append(schema.OperatorCodeT())
            code = model.operatorCodes[-1]
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
            code.version = 3  # the first that takes float16
        operation = schema.OperatorT()
        operation.opcodeIndex = kinds.index("DEQUANTIZE")
        operation.inputs = np.array([len(graph.tensors) - 1], np.int32)
        operation.outputs = np.array([index], np.int32)
        widening.append(operation)

    widening, kept = [], []
    places = {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
    places = {index: name for index, name in places.items() if name in weights}
    for operation in graph.operators:
        place = operation.inputs[0] if len(operation.inputs) else None
        if kinds[operation.opcodeIndex] == "TRANSPOSE" and place in places:
            axes = model.buffers[graph.tensors[operation.inputs[1]].buffer].data.view(np.int32)
            fill(operation.outputs[0], weights[places[place]].transpose(axes))
        else:
            kept.append(operation)
    for index in places.keys() & {index for operation in kept for index in operation.inputs}:
        fill(index, weights[places[index]])
    graph.operators = widening + kept
    graph.inputs = np.array([index for index in graph.inputs if index not in places], np.int32)
    signature.inputs = [entry for entry in signature.inputs if entry.tensorIndex not in places]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
