"""Text files: none is ever half written, and all are read in one way."""

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


def read_text(path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, whatever the locale says.

    Raises:
        ValueError: another encoding; names the file and the first line that shows it.
    """
    content = Path(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
        wrong = content.find(b"\0")  # UTF-16 of English is UTF-8 with a zero in every second byte
    except UnicodeDecodeError as error:
        text, wrong = "", error.start
    if wrong >= 0:
        line = content.count(b"\n", 0, wrong) + 1
        raise ValueError(
            f"{path} is not text in UTF-8: line {line} has the byte "
            f"0x{content[wrong]:02x}. Save it as UTF-8 (it may be in UTF-16, Latin-1 or GBK)."
        )
    return text


def read_lines(path) -> list[str]:
    """The lines of a text file, whatever ends them, stripped; line k + 1 is at index k."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip().strip("\ufeff\u200b") for line in lines]
