"""Files: none is ever half written, text is read in one way, and any text can name one."""

import contextlib
import hashlib
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path


@contextlib.contextmanager
def naming(path):
    """Inside, the system's error that names no file, such as that of a full disk, is about this."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextlib.contextmanager
def replacing(path, errors="strict", binary=False):
    """A file that takes its place only once whole: text (UTF-8, line ends as they are written), or
    bytes."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    text = {"encoding": "utf-8", "newline": "", "errors": errors}
    try:
        with naming(path), partial.open("wb") if binary else partial.open("w", **text) as file:
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
