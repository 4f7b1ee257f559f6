"""What lies in a folder: every file below it, and which of them are images."""

import os
from pathlib import Path

from yolov1.data.images import SUFFIXES

# What systems and tools leave behind is no data; nor are folders with a leading dot.
OF_SYSTEMS = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", ".DS_Store")
# Beside images these are usual: labels, lists, settings and what tools keep for themselves.
COMPANIONS = (
    *(".txt", ".xml", ".json", ".yaml", ".yml", ".csv", ".names", ".data", ".cfg", ".pbtxt"),
    *(".md", ".html", ".pdf", ".log", ".cache", ".npy", ".partial", ".sh", ".py", ".ipynb"),
)


def _of_systems(name, folder=False) -> bool:
    # macOS puts what its file system knows of x.jpg into ._x.jpg.
    return name in OF_SYSTEMS or name.startswith("." if folder else "._")


def folders_in(folder) -> list[Path]:
    """The folders directly in a folder, sorted, those behind links too."""
    return sorted(p for p in Path(folder).iterdir() if p.is_dir() and not _of_systems(p.name, True))


def files_in(folder, on_error=None) -> list[Path]:
    """Every file below a folder, sorted; links to folders are followed, each folder once.

    A link that leads nowhere is in the list, so that whoever opens it says so.

    Args:
        on_error: called with the OSError of a folder that cannot be listed, which is left out then;
            None: it is raised.
    """
    found, seen, links = [], set(), [Path(folder)]
    while links:  # real folders first: a link to one of them brings nothing new
        stack = [links.pop(0)]
        while stack:
            here = stack.pop()
            real = os.path.realpath(here)
            if real in seen:
                continue
            seen.add(real)
            try:
                with os.scandir(here) as listed:
                    entries = sorted(listed, key=lambda e: e.name)
            except OSError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            for entry in entries:
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link to itself
                    is_folder = False
                if _of_systems(entry.name, is_folder):
                    continue
                if not is_folder:
                    found.append(Path(entry.path))
                else:
                    (links if entry.is_symlink() else stack).append(Path(entry.path))
    return sorted(found)


def is_image(path) -> bool:
    """Whether a file is an image by its name; one with a leading dot was hidden on purpose."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def images_in(folder) -> tuple[list[Path], list[tuple[str, str]]]:
    """(the images below a folder, remarks on files that are none and should perhaps be)."""
    files = files_in(folder)
    return [p for p in files if is_image(p)], left_out(files)


def left_out(files) -> list[tuple[str, str]]:
    """A remark on every file that is neither an image nor a usual companion of images."""
    remarks = []
    for path in files:
        if path.name.startswith(".") and path.suffix.lower() in SUFFIXES:
            remarks.append(
                (str(path), "a hidden file (its name begins with a dot); it is left out")
            )
        elif not is_image(path) and not _is_companion(path):
            reason = "its suffix is none of an image that can be read; it is left out"
            remarks.append((str(path), reason))
    return remarks


def _is_companion(path):
    return path.name.startswith(".") or path.suffix.lower() in COMPANIONS
