"""Checkpoints as files: which are there, which are whole, and folders of any name.

Each is TensorFlow's ``ckpt-<step>.index`` and ``ckpt-<step>.data-*``. TensorFlow's own manager
takes the path of its folder for a pattern (in ``runs/lr[0.01]`` it then finds no checkpoint, and
removes none), and restores a damaged file as far as it goes.
"""

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import tensorflow as tf

from yolov1.files import replacing
from yolov1.training.content import digest

_FILE = re.compile(r"ckpt-(\d+)\.(index|data-\d{5}-of-\d{5})")


class CheckpointFiles:
    """The checkpoints of one folder.

    Args:
        folder: made with the first `save`.
        keep: how many stay; 0: all.
    """

    def __init__(self, folder, keep: int):
        self.folder, self.keep = Path(folder), keep
        self._whole = set()

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, in order, whole or not."""
        return sorted(step for step, kind, _ in self._files() if kind == "index")

    def has_any(self) -> bool:
        """Whether something was ever saved, though it may be lost or damaged."""
        return bool(self.steps()) or (self.folder / "checkpoint").exists()

    def save(self, checkpoint: tf.train.Checkpoint, step: int):
        """Writes a checkpoint and removes those that are too old, and those of later steps: they
        belong to a training that was gone back from.

        Raises:
            OSError: the disk is full, or the like.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._whole.discard(step)
        checkpoint.save_counter.assign_add(1)  # `Checkpoint.restore` expects one
        with _plain(self.folder) as folder:
            try:
                checkpoint.write(str(folder / f"ckpt-{step}"))
            except tf.errors.OpError as error:
                raise OSError(
                    f"{self.folder / f'ckpt-{step}'} cannot be written: {error.message}"
                ) from error
        self._settle(step)

    def take(self, other: "CheckpointFiles", step: int):
        """Takes over a checkpoint of another folder, as links where the file system has them (what
        is written in its place later is another file), and removes what `save` would remove.

        Raises:
            OSError: the disk is full, or the like.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._whole.discard(step)
        files = sorted(path for k, _, path in other._files() if k == step)  # the index comes last
        for path in files:
            target = self.folder / path.name
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
        self._settle(step)

    def drop_after(self, step: int):
        """Removes checkpoints of later steps."""
        if any(k > step for k in self.steps()):
            self._settle(step)

    def _settle(self, step: int):
        """Makes a step the newest that is there, and keeps as many as shall be kept."""
        kept = [k for k in self.steps() if k <= step][-self.keep :]
        if step not in kept:  # all that were there are of later steps
            step = max(kept, default=step)
        with replacing(self.folder / "checkpoint") as file:  # for `tf.train.latest_checkpoint`
            file.write(f'model_checkpoint_path: "ckpt-{step}"\n')
            file.writelines(f'all_model_checkpoint_paths: "ckpt-{k}"\n' for k in kept)
        for other, _, path in self._files():
            if other not in kept:
                path.unlink()

    def newest_whole(self) -> int | None:
        """The newest step whose files are whole, with a warning that names newer ones that are not;
        None where there is no such step."""
        damaged = []
        for step in sorted({*self.steps(), *self._recorded()}, reverse=True):
            fault = self.damage(step)
            if fault is None:
                if damaged:
                    warnings.warn(
                        f"{'; '.join(damaged)}. The checkpoint before, of step {step}, is taken.",
                        stacklevel=2,
                    )
                return step
            damaged.append(fault)
        return None

    def damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint; None where every number of it can be read."""
        if step in self._whole:
            return None
        # Each number has a checksum, which is looked at only when it is read.
        suspect = self.folder / f"ckpt-{step}.index"
        try:
            with _plain(self.folder) as folder:
                reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
                suspect = self.folder / f"ckpt-{step}.data-00000-of-00001"
                for name in reader.get_variable_to_dtype_map():
                    reader.get_tensor(name)
        except (tf.errors.OpError, IndexError, OSError, RuntimeError, ValueError) as error:
            if not suspect.exists():
                return f"{suspect} is missing"
            return f"{suspect} is damaged ({str(error).splitlines()[0]})"
        self._whole.add(step)
        return None

    def digest(self, step: int, prefix: str) -> str:
        """Of all tensors of a whole checkpoint whose names begin so."""
        with _plain(self.folder) as folder:
            reader = tf.train.load_checkpoint(str(folder / f"ckpt-{step}"))
            names = sorted(n for n in reader.get_variable_to_dtype_map() if n.startswith(prefix))
            return digest(*map(reader.get_tensor, names))

    def all_damaged(self) -> str:
        """A sentence on a folder without a whole checkpoint."""
        faults = [self.damage(step) for step in self.steps()]
        return f"{self.folder} holds no checkpoint that is whole: " + (
            "; ".join(filter(None, faults)) or "files are gone, or are damaged at another worker"
        )

    @contextlib.contextmanager
    def restoring(self, checkpoint: tf.train.Checkpoint, step: int):
        """Restores a checkpoint; inside, its status can be asked for what did not fit."""
        with _plain(self.folder) as folder:
            yield checkpoint.restore(str(folder / f"ckpt-{step}"))

    def _recorded(self) -> list[int]:
        """The step that was saved last, by the record of it."""
        record = self.folder / "checkpoint"
        text = record.read_text(errors="replace") if record.exists() else ""
        return [int(k) for k in re.findall(r'^model_checkpoint_path: ".*ckpt-(\d+)"', text, re.M)]

    def _files(self):
        """(step, "index" or "data-...", path) of each file."""
        if not self.folder.is_dir():
            return []
        found = [(path, _FILE.fullmatch(path.name)) for path in self.folder.iterdir()]
        return [(int(match[1]), match[2], path) for path, match in found if match]


@contextlib.contextmanager
def _plain(folder):
    """The folder by a path that TensorFlow takes as it stands: a link with another name, where its
    own would be a pattern to it, or is no UTF-8."""
    if str(folder).isprintable() and not set(str(folder)) & set("[]*?\\"):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="yolov1-") as temporary:
        link = Path(temporary) / "checkpoints"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link
