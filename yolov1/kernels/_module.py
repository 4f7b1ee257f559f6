"""The native module behind this package."""

import json

DTYPES = ("float32", "float64", "float16", "bfloat16")


def extension():
    """The native module itself. Its `call` runs an op of the table in kernels/ops.h, by name.

    Raises:
        ImportError: it is missing, or does not fit this Python; says how to build it.
    """
    try:
        from yolov1 import _kernels
    except ImportError as error:
        raise ImportError(
            f"yolov1.kernels: the native module could not be loaded ({error}). Build it with: "
            "pip install --no-build-isolation -e ."
        ) from error
    return _kernels


def call(name, config, inputs, *, left_out=0, outputs=None, threads=1, version=None) -> list:
    """Runs a native op on C-contiguous NumPy arrays of dtypes that it takes.

    Args:
        name: ``"Yolov1>YoloLoss"``.
        left_out: bit k: result k is not asked for, and None.
        outputs: arrays to write, None for what is left out or takes no memory; None: new ones.

    Raises:
        ValueError: shapes or dtypes do not fit; says what was expected.
    """
    return extension().call(name, config, inputs, left_out, outputs, threads, version or "")


def build_info() -> dict:
    """What the native module was built from and with: versions, compiler, CUDA, git revision."""
    return json.loads(extension().build_info())


def ffi_targets() -> list[tuple[str, str, object]]:
    """The kernels as XLA calls them: (name, platform, capsule); empty where not built (YOLOV1_XLA).

    They are what `jax.ffi.register_ffi_target` takes; tests/ops/test_yolo_loss_jax.py makes a
    differentiable JAX function of one. TensorFlow's ops need no such step.
    """
    return extension().ffi_targets()


def shape_text(shape) -> str:
    """``[2, ?, 3]``, for messages; `shape` has None for what is not known yet."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
