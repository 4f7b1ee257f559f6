"""The files of a run: what each is called, and how none is ever half written."""

import csv
import datetime
import json
import os
import platform
import shutil
import time
from pathlib import Path

from yolov1.files import make_folder, replacing, safe_name, user_path
from yolov1.grid import GridSpec
from yolov1.revision import git_revision
from yolov1.training.checkpoint_files import CheckpointFiles
from yolov1.training.config import TrainConfig


class WrongRun(ValueError):
    """A run that does not hold, or cannot become, what it is asked for."""


def require_resume(resume: bool, place, flag: str):
    """Refuses to begin where a run is, which a flag has named, but to go on with it.

    Raises:
        FileExistsError: so.
    """
    if not resume:
        raise FileExistsError(
            f"{place} already holds a run. Give --resume to go on with it, or another --{flag}."
        )


class RunDirectory:
    """One directory per run (see `docs/runs.md` for what each file holds)."""

    def __init__(self, path):
        self.path = user_path(path)

    @classmethod
    def for_config(cls, config: TrainConfig) -> "RunDirectory":
        """``config.output_dir``, or ``runs/<dataset>-<model>-<time>``."""
        if config.output_dir:
            return cls(config.output_dir)
        name = Path(config.dataset.split(":", 1)[-1]).name.split(",")[0] or "run"
        kind, _, rest = config.model.partition(":")  # the rest may be the path of a cfg file
        model = "-".join(filter(None, (kind, Path(rest).stem)))
        return cls(
            Path("runs") / f"{safe_name(name)}-{safe_name(model)}-{time.strftime('%Y%m%d-%H%M%S')}"
        )

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def metrics(self) -> Path:
        return self / "metrics.csv"

    @property
    def watched(self) -> Path:
        return self / "watched.npz"

    @property
    def has_checkpoint(self) -> bool:
        # What is left of a damaged run must not pass for a start without one.
        return self._last.has_any()

    @property
    def steps(self) -> int:
        """The steps of the newest checkpoint; 0 without one."""
        return max(self._last.steps(), default=0)

    @property
    def _last(self) -> CheckpointFiles:
        return CheckpointFiles(self / "checkpoints" / "last", keep=0)  # to look at, not to write

    def read_json(self, name: str) -> dict:
        """A JSON file of the run; empty where there is none.

        Raises:
            WrongRun: it cannot be read.
        """
        path = self / name
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:  # not JSON, or not UTF-8
            raise WrongRun(
                f"{path} cannot be used: {error}. Was it cut or changed? The run can go on with a "
                "copy of the file as it was."
            ) from error

    def require_free(self, resume: bool):
        """Raises `FileExistsError` where there is a run that is not to be resumed."""
        if self.has_checkpoint:
            require_resume(resume, self.path, "output_dir")

    def create(self, resume: bool) -> bool:
        """Makes the directory, without what a start left that ended before its first checkpoint:
        its figures, and the weights that were its best, are of another run.

        Returns:
            Whether there is a run in it to resume. (`resume` without one starts it, so that a
            supervisor can always give ``--resume``.)

        Raises:
            FileExistsError: it holds a run that has got as far as a checkpoint, and `resume` is
                not set; or it is a file. Nothing is touched.
            WrongRun: it is one of experiments.import_darknet.
        """
        self.require_free(resume)
        if self.has_checkpoint and (self / "darknet.json").exists():
            raise WrongRun(
                f"--resume: {self.path} was not trained here, so that there is nothing to go on "
                f"with. Start a new --output_dir from its weights with --init={self.path}."
            )
        make_folder(self.path)
        if not self.has_checkpoint and self.metrics.exists():
            self.metrics.unlink()
            self.watched.unlink(missing_ok=True)
            for folder in ("checkpoints", "tensorboard"):
                shutil.rmtree(self / folder, ignore_errors=True)
        return self.has_checkpoint

    def write_config(self, config: TrainConfig, grid: GridSpec, classes, **extra):
        """``config.json``. What a run started in stays; each resume adds its environment."""
        before = self.read_json("config.json") if config.resume else {}
        resumed = before.get("resumed", [])
        if before:
            now = config.to_dict()
            changed = {
                name: [old, now[name]]
                for name, old in before["config"].items()
                if name in now and name != "resume" and old != now[name]
            }
            resumed.append(environment() | {"step": self.steps, "changed": changed})
            extra |= {name: before[name] for name in ("forked", "recipe") if name in before}
        write_json(
            self / "config.json",
            {
                "config": config.to_dict(),
                "grid": {"S": grid.S, "B": grid.B, "C": grid.C, "image_size": grid.image_size},
                "classes": list(classes),
                "environment": before.get("environment") or environment(),
                "resumed": resumed,
                **extra,
            },
        )

    def read_config(self) -> tuple[TrainConfig, GridSpec, tuple[str, ...]]:
        """What `write_config` wrote.

        Raises:
            FileNotFoundError: the directory holds no run.
            WrongRun: its configuration is damaged, or not of this program.
        """
        path = self / "config.json"
        if not path.exists():
            raise FileNotFoundError(f"{self.path} holds no run: {path.name} is missing.")
        values = self.read_json(path.name)
        try:
            return (
                TrainConfig.from_dict(values["config"]),
                GridSpec(**values["grid"]),
                tuple(values["classes"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise WrongRun(
                f"{path} cannot be used: {type(error).__name__}: {error}. Was it cut or changed? "
                "The run can go on with a copy of the file as it was."
            ) from error

    def config_at(self, step: int) -> TrainConfig:
        """The configuration that a step was taken with, before the run was resumed with another.

        Raises:
            FileNotFoundError, WrongRun: as `read_config`.
        """
        values = self.read_config()[0].to_dict()
        for resumed in reversed(self.read_json("config.json")["resumed"]):
            if resumed.get("step", 0) <= step:
                break
            values |= {name: old for name, (old, _) in resumed["changed"].items()}
        return TrainConfig.from_dict(values)  # also what an earlier version had changed

    def epochs_from(self, step: int) -> dict[int, int]:
        """The ``epochs`` that a step was taken with, and those of later steps before which the run
        was resumed with others: step -> epochs, in order."""
        again = [resumed["step"] for resumed in self.read_json("config.json")["resumed"]]
        found = {}
        for k in (step, *sorted({k for k in again if k > step})):
            epochs = self.config_at(k).epochs
            if epochs not in list(found.values())[-1:]:
                found[k] = epochs
        return found

    # metrics.csv, a row an epoch

    def read_metrics(self) -> list[dict]:
        """The rows, column -> text: a number, or nothing where it was not measured.

        Raises:
            WrongRun: they are not.
        """
        if not self.metrics.exists():
            return []
        try:
            with self.metrics.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                int(row["epoch"]), [float(text) for text in row.values() if text != ""]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise WrongRun(
                f"{self.metrics} is damaged: expected a row of numbers for each epoch ({error!r})."
            ) from error
        return rows

    def write_metrics(self, rows: list[dict], last=()):
        """All rows, in one replacement: a reader, or a resumed run, never sees half a file.

        Columns stand in the order in which they first occur, those of `last` after all others.
        """
        columns = dict.fromkeys(name for row in rows for name in row)
        columns = [*(c for c in columns if c not in last), *(c for c in last if c in columns)]
        with replacing(self.metrics) as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)


def write_json(path, value):
    """Writes JSON in one replacement. Not-a-number is refused: it is not JSON."""
    with replacing(path) as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")


def onednn() -> bool:
    """Whether TensorFlow computes convolutions by oneDNN, see TF_ENABLE_ONEDNN_OPTS."""
    from tensorflow.python.util import _pywrap_util_port  # nothing public tells

    return _pywrap_util_port.IsMklEnabled()


def environment() -> dict:
    """Versions, device, library build and git revision: what a result depends on besides flags."""
    import keras
    import numpy as np
    import tensorflow as tf

    from yolov1 import __version__, kernels, ops

    try:
        build = kernels.build_info()
    except ImportError:
        build = None  # the reference implementation runs without native code
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "yolov1": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "gpus": [tf.config.experimental.get_device_details(g).get("device_name") for g in gpus],
        "onednn": onednn(),
        "ops": ops.available(),
        "build": build,
        "git_revision": git_revision(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
