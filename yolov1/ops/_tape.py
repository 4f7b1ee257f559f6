"""TensorFlow's eager tape, through the two functions of its private interface that we need.

`tf.custom_gradient` cannot do either: it does not tell whether a gradient will be wanted (so that
evaluation would pay for it), and its tape fills the gradients of all outputs with zeros.
"""

from tensorflow.python.eager import record
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util


def gradient_wanted(tensor) -> bool:
    """Whether an active tape watches `tensor`."""
    return record.should_record_backprop([tensor])


def record_gradient(name: str, outputs, inputs, backward) -> None:
    """Records that `name` made `outputs` of `inputs`; `backward` maps gradients back."""
    record.record_operation(name, outputs, inputs, backward)


def paused():
    """A context in which no tape records."""
    return record.stop_recording()


def compiled_by_xla() -> bool:
    """Whether the function that is being traced will be compiled by XLA."""
    return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())
