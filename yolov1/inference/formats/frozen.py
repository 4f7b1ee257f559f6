"""A detector as a function of TensorFlow's, and as one that holds no variables.

TensorFlow's own converter to LiteRT, given the variables beside the function, leaves them
uninitialised (TensorFlow 2.21: a file of 50 kB that gives NaN).
"""

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from yolov1.inference.graph import look_at


def function(detector, metadata, *, convert=True):
    """The detector's computation as the metadata has it, a `tf.function` of ``images``.

    Args:
        convert: for a converter: all in float32, also of a network under mixed precision, whose
            casts few of them understand.
    """
    model = _in_float32(detector.model) if convert else detector.model
    side = detector.grid.image_size
    dtype = tf.as_dtype(metadata.input_dtype)
    options = {"nms": metadata.nms, "impl": "reference"} | detector.options

    @tf.function(
        input_signature=[tf.TensorSpec([None, side, side, 3], dtype, name="images")],
        autograph=False,
    )
    def look(images):
        return look_at(images, model, detector.grid, detector.wh, **options)

    return look


def frozen(detector, metadata):
    """`function` with the variables' values as constants, and no function called inside."""
    traced = function(detector, metadata).get_concrete_function()
    constant = convert_variables_to_constants_v2(traced)
    graph = constant.graph.as_graph_def()
    # Gradients of one's own, as of Keras' swish, cannot be saved, and nobody asks for any.
    for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def)):
        node.attr.pop("_gradient_op_type", None)
    names = sorted(traced.structured_outputs)  # the order of the flat outputs

    @tf.function(input_signature=traced.structured_input_signature[0], autograph=False)
    def look(images):
        outputs = tf.graph_util.import_graph_def(
            graph,
            input_map={constant.inputs[0].name: images},
            return_elements=[tensor.name for tensor in constant.outputs],
            name="",
        )
        return dict(zip(names, outputs, strict=True))

    return look


def _in_float32(model):
    """The network itself, or one with its weights (which are float32) that computes with them."""
    if not isinstance(model, keras.Model) or set(_dtypes(model)) <= {"float32"}:
        return model

    def layer_in_float32(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    other = keras.models.clone_model(model, clone_function=layer_in_float32, recursive=True)
    other.set_weights(model.get_weights())
    return other


def _dtypes(layer):
    yield getattr(layer, "compute_dtype", "float32")
    for inner in getattr(layer, "layers", ()):
        yield from _dtypes(inner)
