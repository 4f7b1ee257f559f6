"""The op library: found, compared with the running TensorFlow, and loaded at first use."""

import filecmp
import functools
import json
import threading
import warnings
from pathlib import Path

import tensorflow as tf

# Private, as TensorFlow has no public list of registered kernels. A table of our own would have to
# repeat what the C++ registers, and be wrong for a library that was built from other sources.
from tensorflow.python.framework import kernels as registered_kernels
from tensorflow.python.framework import op_def_registry

# Private too: there is no public way to register a converter.
from tensorflow.python.ops.parallel_for import pfor

from yolov1 import __version__
from yolov1.kernels import _module
from yolov1.ops import _gradients, _vectorized

PACKAGE = Path(__file__).resolve().parents[1]
REBUILD = _module.REBUILD
OPS = {
    "yolo_loss": "Yolov1>YoloLoss",
    "pairwise_iou": "Yolov1>PairwiseIou",
    "aligned_iou": "Yolov1>AlignedIou",
    "non_max_suppression": "Yolov1>NonMaxSuppression",
    "load_images": "Yolov1>LoadImages",
    "augment_images": "Yolov1>AugmentImages",
    "draw_augmentation": "Yolov1>DrawAugmentation",
    "encode_targets": "Yolov1>EncodeTargets",
}
# Places ("GPU", "XLA_GPU_JIT") where an op's kernels are compiled, but where its tests have not
# passed yet: "auto" does not take them there, impl="fused" does.
ON_REQUEST = {}

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


def _not_twice(library: Path) -> Path:
    """The copy to load: one that has been loaded already, if it is the same to the byte.

    TensorFlow loads a second copy without a word, and from then on no op of either runs, as it has
    two kernels.

    Raises:
        LibraryUnavailable: another copy has been loaded (by the package of another folder).
    """
    if op_def_registry.get(OPS["yolo_loss"]) is None:
        return library
    others = _loaded_copies()
    names = library.name, "libyolov1_kernels.so"
    for other in others:
        if filecmp.cmpfiles(library.parent, other.parent, names, shallow=False)[0] == [*names]:
            return other
    raise LibraryUnavailable(
        f"yolov1.ops: {library} cannot be loaded, as this process has loaded another build of it "
        f"from {', '.join(map(str, others)) or 'a place unknown'}. Import yolov1 from one folder "
        "alone: uninstall one of the two (pip uninstall yolov1), or leave it out of sys.path."
    )


def _loaded_copies() -> list[Path]:
    """Files of the name of our library that are in this process."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    places = (Path(line.split(maxsplit=5)[-1]) for line in lines if line.endswith("/_ops.so"))
    return list(dict.fromkeys(places))


def _register(registry, taken, functions, library):
    """Registers ``{op: function of (library, ...)}`` with TensorFlow."""
    for name, function in functions.items():
        try:
            registry(f"Yolov1>{name}")(function and functools.partial(function, library))
        except taken:
            pass  # registered before this module was reloaded


@functools.cache
def _load(folder: Path):
    library, record = folder / "_ops.so", folder / "_build_info.json"
    if not record.exists():
        raise LibraryUnavailable(f"yolov1.ops: no op library in {folder}. Build it with: {REBUILD}")
    info = json.loads(record.read_text())
    check_build(info)
    _module.compare_sources(info)
    library = _not_twice(library)
    try:
        loaded = tf.load_op_library(str(library))
    except (tf.errors.NotFoundError, OSError) as error:
        raise LibraryUnavailable(
            f"yolov1.ops: {library.name} could not be loaded ({error}). Rebuild it with: {REBUILD}"
        ) from error
    if not hasattr(loaded, "yolov1_encode_targets"):  # of this version, but from before that op
        raise LibraryUnavailable(
            "yolov1.ops: the op library was built from older sources than this package. In the "
            f"source folder, rebuild it with: {REBUILD}"
        )
    _register(tf.RegisterGradient, KeyError, _gradients.FUNCTIONS, loaded)
    _register(pfor.RegisterPFor, AssertionError, _vectorized.CONVERTERS, loaded)
    return loaded


def load():
    """Loads the op library, where that has not happened yet, and registers the ops' gradients.

    The ops do it by themselves when they are called. Call it before you load a graph that holds
    them (a SavedModel, a `tf.Graph`) in a process that has not called one.

    Returns:
        The module of generated op functions.

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
    if exists and not (impl == "auto" and place in ON_REQUEST.get(op, ())):
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
