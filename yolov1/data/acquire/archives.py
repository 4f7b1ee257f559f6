"""Tar archives of data sets: refused whole where a member is not plainly a file or a folder."""

import json
import tarfile
import zlib
from pathlib import Path, PureWindowsPath

from yolov1.data.acquire.download import DISK_FULL, DownloadError, require_space
from yolov1.files import replacing


def extract(archive, root, *, sha256) -> dict[str, int]:
    """Unpacks a tar of files and folders into `root`; returns {name: bytes} of its files.

    Every member is looked at before the first is written: a name that leads out of `root`, a link,
    a device or a pipe, and the whole archive is refused. Once all is unpacked,
    ``<root>/<archive name>.files.json`` lists what is there (see `extracted`); without that list,
    after a stop in the middle, another call unpacks again.

    Args:
        sha256: of the archive, which the caller has verified; it goes into the list.

    Raises:
        DownloadError: refused, damaged, or too little space.
    """
    archive, root = Path(archive), Path(root)
    if not hasattr(tarfile, "data_filter"):
        raise DownloadError("extract: safe unpacking needs Python 3.11.4 or later.")
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                _refuse_unsafe(archive, member)
            files = {member.name: member.size for member in members if member.isfile()}
            root.mkdir(parents=True, exist_ok=True)
            missing = (size for name, size in files.items() if not _is_there(root / name, size))
            require_space(root, sum(missing), f"to unpack {archive.name}")
            tar.extractall(root, members, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            error = f"the disk of {root} is full. Make room and call again"
        raise DownloadError(f"{archive} cannot be unpacked: {error}.") from None
    with replacing(_list_path(archive.name, root)) as file:
        json.dump({"sha256": sha256, "files": files}, file)
    return files


def extracted(archive_name, root, *, sha256) -> dict[str, int] | None:
    """What `extract` returned, if all of that archive is still there with its sizes; else None."""
    root = Path(root)
    try:
        found = json.loads(_list_path(archive_name, root).read_text())
        whole = found["sha256"] == sha256
        whole = whole and all(_is_there(root / name, size) for name, size in found["files"].items())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return found["files"] if whole else None


def _list_path(archive_name, root):
    return root / f"{archive_name}.files.json"


def _is_there(path, size):
    return path.is_file() and path.stat().st_size == size


def _refuse_unsafe(archive, member):
    # Both kinds of slash and drive letters count, whatever system this is.
    name = PureWindowsPath(member.name)
    if name.anchor or ".." in name.parts:
        reason = "leads out of the folder"
    elif member.issym() or member.islnk():
        reason = f"is a link to {member.linkname!r}"
    elif not (member.isfile() or member.isdir()):
        reason = "is a device, a pipe or of another special kind"
    else:
        return
    raise DownloadError(
        f"{archive}: refused, nothing of it was unpacked: its member {member.name!r} {reason}; "
        "expected files and folders only. Do not trust this archive."
    )
