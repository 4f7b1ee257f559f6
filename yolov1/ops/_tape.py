"""TensorFlow's eager tape, through the few functions of its private interface that we need.

`tf.custom_gradient` cannot do either: it does not tell whether a gradient will be wanted (so that
evaluation would pay for it), and its tape fills the gradients of all outputs with zeros.
"""

import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import record
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util


def gradient_wanted(tensor) -> bool:
    """Whether an active tape, or a forward accumulator, watches `tensor`."""
    return pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes([tensor]) != 0


def several_watch(tensors) -> bool:
    """Whether several active tapes and forward accumulators, or a persistent tape, watch these."""
    return pywrap_tfe.TFE_Py_TapeSetPossibleGradientTypes(tensors) > 1


def recording() -> bool:
    """Whether there is any tape or forward accumulator."""
    return record.could_possibly_record()


def record_gradient(name: str, outputs, inputs, backward) -> None:
    """Records that `name` made `outputs` of `inputs`; `backward` maps gradients back."""
    record.record_operation(name, outputs, inputs, backward)


def paused():
    """A context in which no tape records."""
    return record.stop_recording()


def compiled_by_xla() -> bool:
    """Whether a function is being traced that XLA will compile."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        ops.get_default_graph()
    )
