"""Images that lie inside other files: where they lie, and their bytes read from there."""

import functools
import os
from pathlib import Path
from typing import NamedTuple

OPEN_FILES = 64  # kept open at a time


class Place(NamedTuple):
    """Bytes inside a file."""

    file: Path
    start: int
    length: int
    stamp: tuple[int, int]  # of the file when the place was found, see `stamp`


def stamp(file) -> tuple[int, int]:
    """(size in bytes, time of the last change in ns) of a file: another one, another content."""
    state = os.stat(file)
    return state.st_size, state.st_mtime_ns


class _Descriptor:
    """An open file. It is closed once neither the cache nor a reading thread has it any more."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.close(self.number)


@functools.lru_cache(OPEN_FILES)
def _opened(file, stamp):
    """The stamp is a part of the key: a file that was replaced is another one."""
    return _Descriptor(os.open(file, os.O_RDONLY))


def read_places(places) -> list[bytes]:
    """The bytes of many places, from few open files. Several threads may read at a time.

    Raises:
        ValueError: a file was changed after the places in it were found.
        FileNotFoundError, OSError: it is gone, or cannot be read.
    """
    found = []
    for file, start, length, expected in places:
        opened = _opened(file, expected)
        state = os.fstat(opened.number)
        seen = state.st_size, state.st_mtime_ns
        content = os.pread(opened.number, length, start) if seen == expected else b""
        if len(content) != length:
            raise ValueError(
                f"{file} was changed after it was opened: the {length} bytes at {start} are not "
                f"read (expected {expected[0]} bytes of time {expected[1]} ns, got {seen[0]} of "
                f"{seen[1]}). Open the data set again"
            )
        found.append(content)
    return found
