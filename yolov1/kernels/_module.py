"""The native module behind this package."""

import json

DTYPES = ("float32", "float64", "float16", "bfloat16")


def extension():
    """The native module itself: no checks but those of shapes, outputs are the caller's.

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


def build_info() -> dict:
    """What the native module was built from and with: versions, compiler, CUDA, git revision."""
    return json.loads(extension().build_info())


def ffi_targets() -> list[tuple[str, str, object]]:
    """The kernels as XLA calls them: (name, platform, capsule); empty where not built (YOLOV1_XLA).

    They are what `jax.ffi.register_ffi_target` takes; tests/ops/test_yolo_loss_jax.py makes a
    differentiable JAX function of one. TensorFlow's ops need no such step.
    """
    return extension().ffi_targets()
