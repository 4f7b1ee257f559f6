"""The op library: found, compared with the running TensorFlow, and loaded at first use."""

import functools
import json
import threading
import warnings
from pathlib import Path

import tensorflow as tf

# Private, as TensorFlow has no public list of registered kernels. A table of our own would have to
# repeat what the C++ registers, and be wrong for a library that was built from other sources.
from tensorflow.python.framework import kernels as registered_kernels

from yolov1 import __version__

PACKAGE = Path(__file__).resolve().parents[1]
REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps -e ."
OPS = {
    "yolo_loss": "Yolov1>YoloLoss",
    "pairwise_iou": "Yolov1>PairwiseIou",
    "aligned_iou": "Yolov1>AlignedIou",
    "non_max_suppression": "Yolov1>NonMaxSuppression",
}
# Compiled, but not run on a GPU yet: "auto" does not take them there, impl="fused" does. Once the
# tests of the ops have passed on a GPU, delete the entries.
ON_REQUEST = ("GPU", "XLA_GPU_JIT")

_lock = threading.Lock()
_warned = False


class LibraryUnavailable(RuntimeError):
    """The op library is missing, or does not fit what is running. Says how to rebuild it."""


def check_build(info: dict) -> None:
    """Refuses a library whose build record does not fit the running TensorFlow or this package.

    TensorFlow's C++ interface changes with every minor release: a library of another one fails to
    open with an unresolved symbol at best. One of another version of this package (an editable
    install after an update) may compute something else under the same name.

    Raises:
        LibraryUnavailable: the versions of TensorFlow (major.minor) or of this package, or the C++
            ABIs differ.
    """
    built, running = info.get("tensorflow", ""), tf.__version__
    if not built:
        raise LibraryUnavailable(
            "yolov1.ops: this build has no op library (it was built without TensorFlow). "
            f"Build it with: {REBUILD}"
        )
    if built.split(".")[:2] != running.split(".")[:2]:
        raise LibraryUnavailable(
            f"yolov1.ops: the op library was built for TensorFlow {built}, but {running} is "
            f"running. In the source folder, rebuild it with: {REBUILD}"
        )
    if info.get("version") != __version__:
        raise LibraryUnavailable(
            f"yolov1.ops: the op library was built from yolov1 {info.get('version')}, but "
            f"{__version__} is running. In the source folder, rebuild it with: {REBUILD}"
        )
    if int(info.get("cxx11_abi", 1)) != int(tf.sysconfig.CXX11_ABI_FLAG):
        raise LibraryUnavailable(
            f"yolov1.ops: the op library was built with C++11 ABI {info['cxx11_abi']}, but "
            f"TensorFlow uses {tf.sysconfig.CXX11_ABI_FLAG}. In the source folder, rebuild it "
            f"with: {REBUILD}"
        )


@functools.cache
def _load(folder: Path):
    library, record = folder / "_ops.so", folder / "_build_info.json"
    if not record.exists():
        raise LibraryUnavailable(f"yolov1.ops: no op library in {folder}. Build it with: {REBUILD}")
    check_build(json.loads(record.read_text()))
    try:
        return tf.load_op_library(str(library))
    except (tf.errors.NotFoundError, OSError) as error:
        raise LibraryUnavailable(
            f"yolov1.ops: {library.name} could not be loaded ({error}). Rebuild it with: {REBUILD}"
        ) from error


def load():
    """The module of generated op functions.

    Raises:
        LibraryUnavailable: there is no library that fits the running TensorFlow.
    """
    with _lock:
        return _load(PACKAGE)


@functools.cache
def _kernels(op: str) -> dict[str, tuple[str, ...]]:
    devices: dict[str, set[str]] = {}
    for kernel in registered_kernels.get_registered_kernels_for_op(OPS[op]).kernel:
        for constraint in kernel.constraint:
            if constraint.name == "T":
                types = constraint.allowed_values.list.type
                names = {tf.dtypes.as_dtype(value).name for value in types}
                devices.setdefault(kernel.device_type, set()).update(names)
    return {device: tuple(sorted(names)) for device, names in sorted(devices.items())}


def available() -> dict[str, dict[str, tuple[str, ...]]]:
    """What the fused ops are there for: ``{op: {device type: dtypes}}``; empty without a library.

    ``"XLA_CPU_JIT"`` stands for the CPU inside XLA-compiled functions. Loads the library if that
    has not happened yet.
    """
    try:
        load()
    except LibraryUnavailable:
        return {}
    return {op: _kernels(op) for op in OPS}


def choose(op: str, impl: str, device: str, dtype: str, compiled: bool) -> str:
    """``"fused"`` or ``"reference"`` for what the caller asked and what there is.

    Args:
        op: a key of `OPS`.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.
        device: ``"CPU"`` or ``"GPU"``.
        dtype: name of the predictions' dtype.
        compiled: whether XLA will compile the op.

    Raises:
        ValueError: an unknown impl.
        LibraryUnavailable: ``"fused"`` was asked for and cannot be loaded.
        NotImplementedError: ``"fused"`` was asked for and does not exist for this device and dtype
            (under XLA that is, where it will be compiled).
    """
    if impl == "reference":
        return impl
    if impl not in ("auto", "fused"):
        raise ValueError(f"{op}: impl must be 'auto', 'fused' or 'reference', got {impl!r}.")
    try:
        load()
    except LibraryUnavailable as error:
        if impl == "fused":
            raise
        _warn_once(f"{error} Until then the slower reference is used.")
        return "reference"
    place = f"XLA_{device}_JIT" if compiled else device
    exists = dtype in _kernels(op).get(place, ())
    if exists and not (impl == "auto" and place in ON_REQUEST):
        return "fused"
    if impl == "auto":
        return "reference"
    raise NotImplementedError(
        f"{op}: there is no fused kernel for {dtype} on {place} (there is: {_kernels(op)}); "
        "use impl='auto' or impl='reference'."
    )


def _warn_once(message: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(message, RuntimeWarning, stacklevel=4)
