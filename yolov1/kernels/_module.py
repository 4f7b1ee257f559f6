"""The native module behind this package, and whether it was built from the sources beside it."""

import functools
import hashlib
import json
import sys
import warnings
from pathlib import Path

REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps -e ."
DTYPES = ("float32", "float64", "float16", "bfloat16")


def extension():
    """The native module itself. Its `call` runs an op of the table in kernels/ops.h, by name.

    Raises:
        ImportError: it is missing, or does not fit this Python; says how to build it.
    """
    first = "yolov1._kernels" not in sys.modules
    try:
        from yolov1 import _kernels
    except ImportError as error:
        raise ImportError(
            f"yolov1.kernels: the native module could not be loaded ({error}). Build it with: "
            "pip install --no-build-isolation -e ."
        ) from error
    if not hasattr(_kernels, "call"):
        raise ImportError(
            "yolov1.kernels: the native module was built from older sources than this package. "
            f"Rebuild it with: {REBUILD}"
        )
    if first:
        compare_sources(json.loads(_kernels.build_info()))
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


def digest_of_sources(root: Path | None = None) -> str | None:
    """Of what the native libraries are compiled from; None where there are no sources (a wheel).

    CMakeLists.txt computes the same at build time.
    """
    root = root or Path(__file__).resolve().parents[2]
    build = root / "CMakeLists.txt"
    if not build.exists() or not (root / "kernels").is_dir():
        return None
    names = [path for path in (root / "kernels").rglob("*") if path.suffix in (".h", ".cc", ".cu")]
    names = sorted(path.relative_to(root).as_posix() for path in [*names, build])
    lines = (f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def compare_sources(info: dict) -> str:
    """Warns, once, where an editable install's sources are no longer those of the build `info`.

    Only a warning: who edits a comment may go on, and a change of interface fails by itself.

    Returns:
        What there is to say, or "".
    """
    digest = digest_of_sources()
    if digest in (None, info.get("sources")):
        return ""
    message = (
        "yolov1: the native libraries were built from other sources than those in this folder now "
        f"(revision {info.get('revision')}). Rebuild them with: {REBUILD}"
    )
    _warn_once(message)
    return message


@functools.cache
def _warn_once(message):
    warnings.warn(message, RuntimeWarning, stacklevel=5)


def ffi_targets() -> list[tuple[str, str, object]]:
    """The kernels as XLA calls them: (name, platform, capsule); empty where not built (YOLOV1_XLA).

    They are what `jax.ffi.register_ffi_target` takes; tests/ops/test_yolo_loss_jax.py makes a
    differentiable JAX function of one. TensorFlow's ops need no such step.
    """
    return extension().ffi_targets()


def shape_text(shape) -> str:
    """``[2, ?, 3]``, for messages; `shape` has None for what is not known yet."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
