"""Pictures in files as a source: a list, names that come in by and by, a folder that is watched."""

import functools
import os
import select
import sys
import time
from pathlib import Path
from typing import NamedTuple

from yolov1 import data
from yolov1.data.formats.walk import files_in, is_image
from yolov1.files import user_path
from yolov1.streaming.frames import BrokenOff, Frame, Source, StreamError

EVERY = 0.2  # seconds from one look into a folder, or for an end, to the next
WHOLE_AFTER = 0.5  # seconds in which a file must not change to be taken for whole


def pictures(paths, *, report=None) -> Source:
    """The picture files of a list, each upright.

    Args:
        paths: of the files.
        report: called with ``{"file": ..., "reason": ...}`` for each that cannot be read, in the
            thread that decodes.
    """
    return Source("pictures", functools.partial(_read, lambda stop: iter(paths), report))


def names(file=None, *, report=None) -> Source:
    """The picture files whose names come in, one a line, as they come.

    Args:
        file: an open file or pipe; None: standard input.
        report: as in `pictures`.

    Raises:
        StreamError: standard input is closed.
    """
    file = sys.stdin if file is None else file
    if file is None:
        raise StreamError("standard input is closed, expected names of picture files there.")

    def paths(stop):
        return (user_path(os.fsdecode(line)) for line in _lines(file.fileno(), stop))

    return Source("standard input", functools.partial(_read, paths, report), live=True)


def watch(folder, *, report=None, leave_out=()) -> Source:
    """The pictures below a folder, those that are there first and then new ones as they come.

    A file is taken once its size and time have not changed for half a second, so that none is read
    half written. One that changes later is taken again. Folders in it may come and go; where the
    folder itself goes, the source breaks off.

    Args:
        report: as in `pictures`. When the watch ends it hears of what was still being written.
        leave_out: folders that are not looked into.

    Raises:
        StreamError: no such folder, or one that is left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StreamError(f"watch:{folder}: no such folder. Make it first.")
    here = folder.resolve()
    places = [Path(place).resolve() for place in leave_out]
    if any(here.is_relative_to(place) for place in places):
        raise StreamError(
            f"watch:{folder} is left out itself: what is found would be written there, and found "
            "again. Watch another folder, or write elsewhere."
        )
    inside = [folder / p.relative_to(here) for p in places if p.is_relative_to(here)]
    paths = functools.partial(_arrivals, folder, inside, report)
    return Source(f"watch:{folder}", functools.partial(_read, paths, report), live=True)


def _read(paths, report, stop):
    begin = time.monotonic()
    for index, path in enumerate(paths(stop)):
        if stop.is_set():
            return
        try:
            image = data.images.decode(path, upright=True)
        except MemoryError:
            raise
        except Exception as error:  # a decoder may raise anything
            if report is not None:
                report({"file": str(path), "reason": str(error) or type(error).__name__})
        else:
            yield Frame(image, index, time.monotonic() - begin, str(path))


def _lines(descriptor, stop):
    """Lines that are not empty, as bytes; waits for each no longer than until the stop."""
    rest = b""
    while not stop.is_set():
        if not select.select([descriptor], [], [], EVERY)[0]:
            continue
        read = os.read(descriptor, 1 << 16)
        *whole, rest = (rest + read).split(b"\n")
        yield from filter(None, (line.rstrip(b"\r") for line in whole))
        if not read:
            break
    if rest:
        yield rest


class State(NamedTuple):
    """What tells a file that is written to from one that is whole."""

    changed: int  # ns
    size: int


def _arrivals(folder, leave_out, report, stop):
    """Files as they become whole, the oldest first."""
    taken = {}  # path -> its state when it was taken
    growing = {}  # path -> (state, since when it has it)
    closed = set()  # folders below that cannot be looked into

    def on_error(error):
        place = os.fspath(error.filename)
        if place == str(folder):
            raise BrokenOff(f"watch:{folder} breaks off: {error.strerror}.") from error
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        if not gone and place not in closed and report is not None:
            report({"file": place, "reason": error.strerror})
        closed.add(place)

    while not stop.is_set():
        now = time.monotonic()
        there = _states(folder, leave_out, on_error)
        taken = {path: state for path, state in taken.items() if path in there}
        new = {path: state for path, state in there.items() if taken.get(path) != state}
        growing = {
            path: growing[path] if growing.get(path, (None,))[0] == state else (state, now)
            for path, state in new.items()
        }
        whole = [
            p for p, (state, since) in growing.items() if state[1] and now >= since + WHOLE_AFTER
        ]
        for path in sorted(whole, key=lambda path: (new[path], path)):
            taken[path] = growing.pop(path)[0]
            yield path
        # A look into a folder of very many files takes long: no more than a fifth of the time.
        stop.wait(max(EVERY, 4 * (time.monotonic() - now)) if not whole else 0)
    for path in growing:
        if report is not None:
            report({"file": str(path), "reason": "it was not whole yet when the watch ended"})


def _states(folder, leave_out, on_error):
    """The `State` of every picture, by its path."""
    states = {}
    for path in files_in(folder, on_error):
        if not is_image(path) or any(path.is_relative_to(place) for place in leave_out):
            continue
        try:
            state = path.stat()
        except OSError:  # gone again, or a link that leads nowhere yet
            continue
        states[path] = State(state.st_mtime_ns, state.st_size)
    return states
