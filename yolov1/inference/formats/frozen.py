"""A detector as one flat graph without variables, which converters take most readily.

TensorFlow's own converter to LiteRT, given the variables beside the function, leaves them
uninitialised (TensorFlow 2.21: a file of 50 kB that gives NaN); OpenVINO's refuses them.
"""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from yolov1.inference.graph import look_at


def function(detector, metadata):
    """The detector's computation as the metadata has it, a `tf.function` of ``images``."""
    side = detector.grid.image_size
    dtype = tf.as_dtype(metadata.input_dtype)
    options = {"nms": metadata.nms, "impl": "reference"} | detector.options

    @tf.function(
        input_signature=[tf.TensorSpec([None, side, side, 3], dtype, name="images")],
        autograph=False,
    )
    def look(images):
        return look_at(images, detector.model, detector.grid, detector.wh, **options)

    return look


def frozen(detector, metadata):
    """`function` with the variables' values as constants, and no function called inside."""
    traced = function(detector, metadata).get_concrete_function()
    constant = convert_variables_to_constants_v2(traced)
    graph = constant.graph.as_graph_def()
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
