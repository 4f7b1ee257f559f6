"""How a provider of a benchmark is called, and what happens where it does not exist."""

from collections.abc import Callable

import tensorflow as tf

from yolov1 import ops

VERSIONS = tuple(f"kernel_{version}" for version in ("naive", "baseline", "avx2", "avx512"))


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


def of_op(of_ops, fused_op, noop, kernel) -> dict[str, tuple[Callable, str]]:
    """What the benchmark of any op compares: a form (a function of the case that returns what
    computes it) and the way it is called, by name.

    Args:
        of_ops: returns the form of the public function for an ``impl``.
        fused_op: the form of the op alone.
        noop: the form of an op that takes and returns the same tensors, and does nothing.
        kernel: returns the form of the kernel alone for one of its versions.
    """
    versions = {name: (kernel(name.removeprefix("kernel_")), "numpy") for name in VERSIONS}
    return {
        "eager_tf": (of_ops("reference"), "eager"),
        "tf_function": (of_ops("reference"), "graph"),
        "xla": (of_ops("reference"), "xla"),
        "fused_eager": (of_ops("fused"), "eager"),
        "fused": (of_ops("fused"), "graph"),
        "fused_op": (fused_op, "eager"),
        "fused_xla": (of_ops("fused"), "xla"),
        "noop_op": (noop, "eager"),
        "noop_function": (noop, "graph"),
        **versions,
    }


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
