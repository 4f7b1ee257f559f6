"""A source by what a person writes."""

import os
from pathlib import Path

from yolov1.data import images
from yolov1.data.formats.walk import images_in
from yolov1.files import user_path
from yolov1.streaming import containers, folders
from yolov1.streaming.frames import Source, StreamError

# What is written begins so: what opens it.
_OPENERS = {
    "camera:": lambda rest, **_: containers.camera(rest),
    "video:": lambda rest, **_: containers.film(user_path(rest)),
    "watch:": lambda rest, **options: folders.watch(user_path(rest), **options),
    "rtsp:": lambda rest, **_: containers.address(f"rtsp:{rest}"),
    "rtsps:": lambda rest, **_: containers.address(f"rtsps:{rest}"),
    "http:": lambda rest, **_: containers.address(f"http:{rest}"),
    "https:": lambda rest, **_: containers.address(f"https:{rest}"),
}


def _kind(text):
    return next((start for start in _OPENERS if text.startswith(start)), None)


def is_stream(text) -> bool:
    """Whether this is a stream, whose frames come one after the other, and not pictures in files.

    An animated GIF is a picture, its first frame; ``video:FILE`` takes it, and any file, as a film.
    """
    text = os.fspath(text)
    if text == "-" or _kind(text):
        return True
    path = user_path(text)
    return path.is_file() and not _is_picture(path) and containers.is_film(path)


def open_source(text, *, report=None, leave_out=()) -> Source:
    """Opens what a person names.

    Args:
        text: a film (``video:FILE`` where it does not look like one), ``camera:0``, an address
            ``rtsp://``, ``http://`` or ``https://``, ``watch:FOLDER``, ``-`` for names of files on
            standard input, a picture, or a folder of pictures.
        report: of sources of picture files: called with ``{"file": ..., "reason": ...}`` for each
            that cannot be read, and for each of a folder that is no picture.
        leave_out: folders below a watched one that are not looked into.

    Raises:
        StreamError: it cannot be opened; the message says why.
    """
    text = os.fspath(text)
    if text == "-":
        return folders.names(report=report)
    if kind := _kind(text):
        return _OPENERS[kind](text.removeprefix(kind), report=report, leave_out=leave_out)
    path = user_path(text)
    if path.is_dir():
        found, left_out = images_in(path)
        for file, reason in left_out if report else ():
            report({"file": file, "reason": reason})
        return folders.pictures(found, report=report)
    if not path.exists():
        raise StreamError(f"{path}: no such file, and no camera:NUMBER, watch:FOLDER or address.")
    return containers.film(path) if is_stream(path) else folders.pictures([path], report=report)


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in containers.SUFFIXES:
        return False
    try:
        images.read_header(path)
    except (OSError, ValueError):
        return path.suffix.lower() in images.SUFFIXES  # one that is damaged
    return True
