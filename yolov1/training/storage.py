"""A second place for a run, which outlives the machine: a folder, or an object store, by fsspec."""

import os
import re
import shutil
from pathlib import Path

from yolov1.extras import MissingExtra, needed
from yolov1.files import make_folder, replacing
from yolov1.training.run_directory import RunDirectory, WrongRun, require_resume

LAST = "checkpoints/last/"
_INDEX = re.compile(LAST + r"ckpt-(\d+)\.index")
# Not of the run, but of who is at it now; and of no use elsewhere.
LEFT_OUT = (".partial", ".lock")


class Storage:
    """A run at a URI: the same files under the same names, none of them half written.

    The index of a checkpoint goes there last, and what a new one has taken the place of is removed
    after that, so that there is always a whole one, with all that belongs to it.

    Args:
        uri: a path, or what fsspec knows: ``file:///mnt/runs/a``, ``s3://bucket/runs/a``.

    Raises:
        MissingExtra: fsspec, or what it needs for such a URI, is not installed.
        WrongRun: it is no URI.
    """

    def __init__(self, uri: str):
        core, local = needed(
            "storage", "fsspec.core", "fsspec.implementations.local", what=f"--storage={uri}"
        )
        self.uri, self._sent = uri, {}
        try:
            self._files, root = core.url_to_fs(uri)
        except ImportError as error:
            raise MissingExtra(
                f"--storage={uri}: {error}. The extra s3 has what s3:// needs: pip install "
                "'yolov1[s3]'"
            ) from error
        except ValueError as error:
            raise WrongRun(f"--storage={uri}: {error}.") from error
        self._root = root.rstrip("/")
        self._local = isinstance(self._files, local.LocalFileSystem)

    def steps(self) -> list[int]:
        """The steps whose checkpoints are there, in order."""
        return _steps_of(self._there())

    def require_free(self, resume: bool):
        """Raises `FileExistsError` where there is a run that is not to be resumed."""
        if not resume and self.steps():
            require_resume(resume, self.uri, "storage")

    def _there(self) -> dict[str, int]:
        """The size of each file that is there, by name."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        sizes = {path[len(self._root) + 1 :]: entry["size"] for path, entry in found.items()}
        return {name: size for name, size in sizes.items() if not name.endswith(LEFT_OUT)}

    # -------------------------------------------------------------- to it

    def send(self, run: RunDirectory):
        """Copies what is new or has changed, and removes checkpoints that are here no more.

        Raises:
            Exception: of whatever kind the store has; the next call tries again.
        """
        there, here = self._there(), _files_of(run.path)
        for name in sorted(here, key=_order):
            path = run / name
            try:
                state = _state(path)
            except FileNotFoundError:
                continue  # a log that has ended
            # (A checkpoint of the same step may be another, after a loss: its size says nothing.)
            if self._sent.get(name) == state and there.get(name) == state[0]:
                continue
            self._put(path, f"{self._root}/{name}")
            self._sent[name] = state
        for name in there:
            if name.startswith("checkpoints/") and name not in here:
                self._files.rm_file(f"{self._root}/{name}")

    def _put(self, path, target):
        if not self._local:  # an object is there once it is whole
            self._files.put_file(str(path), target)
            return
        target = Path(target)
        make_folder(target.parent)
        with path.open("rb") as source, replacing(target, binary=True) as file:
            shutil.copyfileobj(source, file)

    # -------------------------------------------------------------- from it

    def fetch(self, run: RunDirectory) -> int | None:
        """Brings the run here where it has got further there; gives its step then."""
        there = self._there()
        step = max(_steps_of(there), default=0)
        if step <= run.steps:
            return None
        for name in sorted(there, key=_order):
            target = run / name
            make_folder(target.parent)
            # (Several workers of a machine may fetch at once, each under a name of its own.)
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            with (
                self._files.open(f"{self._root}/{name}", "rb") as source,
                partial.open("wb") as file,
            ):
                shutil.copyfileobj(source, file)
            os.replace(partial, target)
            self._sent[name] = _state(target)  # it need not go back
        return step


def _steps_of(names) -> list[int]:
    found = (_INDEX.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def _state(path) -> tuple[int, int]:
    """By which a file is known again: its size, and when it was written."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _files_of(folder) -> list[str]:
    """The names of a run's files, of the first worker's where there are several."""
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in found]
    return [
        name
        for name in names
        if not name.endswith(LEFT_OUT)
        and not name.startswith(("checkpoints/worker", "workers/ray/"))
    ]


def _order(name: str) -> tuple:
    """The index of a checkpoint, by which it is found, after all other files, and those that a run
    goes on from at the very end: what is broken off before is found unfinished, and done again."""
    index = name.startswith("checkpoints/") and name.endswith(".index")
    return index, name.startswith(LAST), name
