"""How a provider of a benchmark is called, and what happens where it does not exist."""

from collections.abc import Callable

import tensorflow as tf

from yolov1 import ops


class Unavailable(Exception):
    """This provider does not exist here; says why."""


def called(name: str, way: str, compute: Callable, inputs) -> Callable[[], object]:
    """A function that calls ``compute(*inputs)``, tried once.

    Args:
        name: the provider's.
        way: ``"eager"``, ``"graph"`` (a `tf.function`), ``"xla"`` or ``"numpy"``.
        compute: a function of tensors, or of arrays for "numpy".
        inputs: tensors.

    Raises:
        Unavailable: the provider does not exist here.
    """
    if way == "numpy":
        inputs = [tensor.numpy() for tensor in inputs]
    elif way != "eager":
        compute = tf.function(compute, jit_compile=way == "xla", autograph=False)
    return tried(name, lambda: compute(*inputs))


def tried(name: str, run: Callable) -> Callable:
    """`run`, after a call of it; raises `Unavailable` where that fails."""
    try:
        run()
    except (
        NotImplementedError,
        ops.LibraryUnavailable,
        tf.errors.InvalidArgumentError,
        ValueError,
    ) as error:
        raise Unavailable(f"{name}: {str(error).splitlines()[0]}") from error
    return run
