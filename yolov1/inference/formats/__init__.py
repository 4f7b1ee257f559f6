"""The kinds of file that hold a detector, one module each, all with the same face.

Each has

``PRECISIONS, NMS, INPUTS``
    what it can be written with; the first is the default.
``INSIDE``
    which `suppression` it has, where that can be inside; else none.
``EXTRA, MODULES``
    of `pyproject.toml`, the one that it needs, or None; and what it imports of it.
``name_of(stem)``
    the file or folder's name.
``recognises(path)``
    whether that is one, by its name or by what lies in it; nothing is imported for it.
``write(detector, path, metadata, *, calibration)``
    writes what the metadata says. It may take its time: `path` is a place of its own, and takes its
    name only once it is whole. `calibration` is a function that gives an iterator of float32
    ``[1, image_size, image_size, 3]`` in [0, 1].
``open(path)``
    a `Session`.
"""

import contextlib
import sys

from yolov1.extras import MissingExtra
from yolov1.inference.formats import keras_file, litert, onnx, openvino, saved_model
from yolov1.inference.formats.session import Session, needed
from yolov1.inference.metadata import WrongFile

FORMATS = {
    "saved_model": saved_model,
    "tflite": litert,
    "onnx": onnx,
    "openvino": openvino,
    "keras": keras_file,
}

__all__ = [
    "FORMATS",
    "MissingExtra",
    "Session",
    "check",
    "format_of",
    "open_file",
    "places",
    "require",
    "versions",
]


def format_of(path) -> str | None:
    """The name of the format of what lies there, or would by its name; None of anything else."""
    return next((name for name, module in FORMATS.items() if module.recognises(path)), None)


def places(format, suppression) -> tuple[str, ...]:
    """Where a format can have a suppression, of `NMS`; the first is the default."""
    module = FORMATS[format]
    return tuple(nms for nms in module.NMS if nms == "outside" or suppression in module.INSIDE)


def check(format, *, suppression="hard", **choices):
    """Refuses what a format has not.

    Args:
        format: a key of `FORMATS`.
        suppression: of the detector; not every one can be inside.
        choices: some of `precision`, `nms` and `input_dtype`.

    Raises:
        ValueError: names what there is.
    """
    if format not in FORMATS:
        raise ValueError(f"export: format must be one of {', '.join(FORMATS)}, got {format!r}.")
    module = FORMATS[format]
    lists = {"precision": "PRECISIONS", "nms": "NMS", "input_dtype": "INPUTS"}
    for name, value in choices.items():
        have = getattr(module, lists[name])
        if value not in have:
            others = [key for key, m in FORMATS.items() if value in getattr(m, lists[name])]
            hint = f" {', '.join(others)} can." if others else ""
            raise ValueError(
                f"export: {name} of {format} must be {' or '.join(map(repr, have))}, got "
                f"{value!r}.{hint}"
            )
    if choices.get("nms") == "inside" and suppression not in module.INSIDE:
        others = [key for key, m in FORMATS.items() if suppression in m.INSIDE]
        raise ValueError(
            f"export: suppression inside {format} must be {' or '.join(module.INSIDE)}, got "
            f"{suppression}. Take nms='outside': whoever runs the file suppresses. "
            f"{', '.join(others)} can have it inside."
        )


def require(format):
    """Imports what a format needs to be written and run.

    Raises:
        MissingExtra: one is not installed.
    """
    module = FORMATS[format]
    if module.EXTRA:
        needed(module.EXTRA, *module.MODULES)


def versions() -> dict:
    """Of the libraries of all formats that have been imported."""
    names = [name for module in FORMATS.values() for name in module.MODULES]
    found = {name.partition(".")[0]: sys.modules.get(name.partition(".")[0]) for name in names}
    return {name: getattr(m, "__version__", None) for name, m in found.items() if m}


def open_file(path) -> Session:
    """The file of a detector, whatever its format, ready to run.

    Raises:
        FileNotFoundError: there is none.
        WrongFile: another kind of file, or a damaged one, or one without metadata.
        MissingExtra: what runs it is not installed.
    """
    name = format_of(path)
    if name is None or not path.exists():
        raise FileNotFoundError(f"{path}: there is no file of a detector.")
    with _readable(path, name):
        return FORMATS[name].open(path)


@contextlib.contextmanager
def _readable(path, name):
    """Every library has errors of its own for a file that it cannot read."""
    try:
        yield
    except (WrongFile, MissingExtra, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WrongFile(
            f"{path} cannot be read as {name}: it is damaged, or another kind of file. Export it "
            f"again. ({reason[:300]})"
        ) from error
