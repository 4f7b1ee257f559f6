"""Files: none is ever half written, names are read in one way, and any text can name one."""

import contextlib
import hashlib
import os
import re
import unicodedata
from collections import Counter
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


def user_path(path) -> Path:
    """The path that a person wrote, ``~`` being the home folder."""
    return Path(os.path.expanduser(path))


def make_folder(path) -> Path:
    """Makes a folder, and those above it.

    Raises:
        FileExistsError: a file has its name, or that of a folder above it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise FileExistsError(
            f"{path} cannot be a folder: it, or what should be a folder above it, is a file. Give "
            "another --output_dir."
        ) from None
    return path


def read_names(path) -> tuple[str, ...]:
    """The lines of a file, stripped, without empty ones."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line)


# A name that Windows keeps for a device, whatever its suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_RESERVED = '/\\:*?"<>|'


def safe_name(text: str, max_bytes: int = 120) -> str:
    """Any text as (a part of) the name of a file or folder, on every system.

    It stays as it is where that is possible. What no file name may hold becomes ``_``, what is
    longer than `max_bytes` in UTF-8 is cut; either is told from other texts by a hash at its end.
    The default leaves room for a prefix and a suffix, also on encrypted file systems (143 bytes).
    """
    name = "".join("_" if c in _RESERVED or not c.isprintable() else c for c in text)
    if not name or name[0] in ". " or name[-1] in ". " or _DEVICE.fullmatch(name):
        name = f"_{name[1:].rstrip('. ')}"
    if name == text and len(name.encode()) <= max_bytes:
        return name
    return _with_hash(name, text, max_bytes)


def safe_names(texts, max_bytes: int = 120) -> list[str]:
    """`safe_name` of each of several different texts; also different where case does not count."""
    names = [safe_name(text, max_bytes) for text in texts]
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    counts = Counter(folded)
    return [
        name if counts[fold] == 1 else _with_hash(name, text, max_bytes)
        for name, fold, text in zip(names, folded, texts, strict=True)
    ]


def _with_hash(name, text, max_bytes):
    # Names of files that are no UTF-8 come as lone surrogates.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name.encode()[: max_bytes - 9].decode(errors='ignore')}-{digest}"
