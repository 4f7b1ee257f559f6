"""A detector as a function of TensorFlow's, for those that save it and those that convert it.

TensorFlow's own converter to LiteRT, given the variables beside the function, leaves them
uninitialised (TensorFlow 2.21: a file of 50 kB that gives NaN): to it they go as constants.

Converters hold many copies of a constant, tf2onnx about 45 and LiteRT's 25. So `apart` makes inputs
of large weights, and their values are put into what has been converted.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from yolov1.inference.graph import look_at

LARGE = 8 << 20  # bytes


def function(detector, metadata, *, convert=True):
    """The detector's computation as the metadata has it, a `tf.function` of ``images``.

    Args:
        convert: for a converter: all in float32, also of a network under mixed precision, whose
            casts few of them understand.
    """
    if not convert:
        return _function(detector, metadata, detector.model, lambda _: contextlib.nullcontext())
    return _function(detector, metadata, _in_float32(detector.model), lambda _: _inlined())


def apart(detector, metadata, *, constant=False, large=LARGE):
    """`function` with the large weights as further arguments, and their values.

    Args:
        constant: the other weights, and all else that Keras keeps, are constants in the graph.
        large: more bytes than these are large.

    Returns:
        A `tf.function` of ``images`` and of each name of the dict, in order; the dict of arrays.
    """
    model = _in_float32(detector.model)
    variables = model.variables if isinstance(model, keras.Model) else []
    values = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]
    names = [f"weight_{k}" if value.nbytes > large else None for k, value in enumerate(values)]
    given = {name: value for name, value in zip(names, values, strict=True) if name}

    @contextlib.contextmanager
    def around(weights):
        known, weights = [], iter(weights)  # what stands in for which variable
        for variable, name, value in zip(variables, names, values, strict=True):
            if name is not None:
                known.append((variable, next(weights)))
            elif constant:
                known.append((variable, tf.constant(value)))
        with keras.StatelessScope(state_mapping=known), _inlined():
            yield

    return _function(detector, metadata, model, around, given), given


def _function(detector, metadata, model, around, given=()):
    """`around` gives what the tracing takes place in, of the further arguments."""
    side = detector.grid.image_size
    dtype = tf.as_dtype(metadata.input_dtype)
    signature = [tf.TensorSpec([None, side, side, 3], dtype, name="images")]
    signature += [tf.TensorSpec(given[name].shape, given[name].dtype, name=name) for name in given]
    options = {"nms": metadata.nms, "impl": "reference"} | detector.options

    @tf.function(input_signature=signature, autograph=False)
    def look(images, *weights):
        with around(weights):
            return look_at(images, model, detector.grid, detector.wh, **options)

    return look


@contextlib.contextmanager
def _inlined():
    """No functions of their own in what is traced: Keras makes one for XLA of a convolution in
    groups, which tf2onnx does not know."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def flat(look):
    """The function with the constants that it takes from outside, and without gradients of its own
    (as Keras' swish has): these cannot be saved, and nobody asks for any."""
    traced = look.get_concrete_function()
    graph = traced.graph.as_graph_def()
    for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def)):
        node.attr.pop("_gradient_op_type", None)
    outside = [tensor.numpy() for tensor in traced.captured_inputs]
    names = sorted(traced.structured_outputs)  # the order of the flat outputs

    @tf.function(input_signature=look.input_signature, autograph=False)
    def again(*inputs):
        known = [*inputs, *map(tf.constant, outside)]
        outputs = tf.graph_util.import_graph_def(
            graph,
            input_map={t.name: value for t, value in zip(traced.inputs, known, strict=True)},
            return_elements=[tensor.name for tensor in traced.outputs],
            name="",
        )
        return dict(zip(names, outputs, strict=True))

    return again


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
