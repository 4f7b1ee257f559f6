"""Text files: none is ever half written, and lists of names are read in one way."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path, errors="strict"):
    """A text file (UTF-8, line ends as they are written) that takes its place only once whole."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="", errors=errors) as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_names(path) -> tuple[str, ...]:
    """The lines of a file, stripped, without empty ones."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)
