"""Predictions and targets of a real run, kept in a file: workloads for benchmarks.

The file is NumPy's ``.npz``, readable with ``numpy.load(file, allow_pickle=False)``:

    workload           JSON: format "yolov1 workload", version 1; grid (S, B, C, image_size); layout
                       ("cells"); semantics, the fields of the run's `LossSemantics`; steps, in
                       rising order; dtypes of predictions and targets; revision, or null
    predictions_<step> [N, S, S, D], what the loss was given in that step (the first step is 0)
    targets_<step>     [N, S, S, C + 5]

An array of bfloat16, which NumPy's files do not know, is kept as uint16 of the same bits: its dtype
stands in ``dtypes``.
"""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np

from yolov1.files import make_folder, replacing, user_path
from yolov1.grid import GridSpec
from yolov1.revision import git_revision
from yolov1.semantics import LossSemantics

FORMAT, VERSION = "yolov1 workload", 1
KINDS = ("predictions", "targets")
DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)


class WorkloadError(ValueError):
    """A file that is missing, or no workload; says what to do."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a file holds.

    Attributes:
        grid: the `GridSpec`.
        semantics: the `LossSemantics` of the run.
        layout: of the predictions: ``"cells"``.
        steps: ``{step: (predictions [N, S, S, D], targets [N, S, S, C + 5])}``, in rising order.
    """

    grid: GridSpec
    semantics: LossSemantics
    layout: str
    steps: dict

    def write(self, path):
        """The file, which takes its place only once whole.

        Raises:
            OSError: it cannot be written.
        """
        path, arrays, dtypes = Path(path), {}, {}
        for step, pair in self.steps.items():
            for kind, array in zip(KINDS, pair, strict=True):
                dtypes[kind] = array.dtype.name
                bits = array.view(np.uint16) if array.dtype == DTYPES["bfloat16"] else array
                arrays[f"{kind}_{step}"] = bits
        about = {
            "format": FORMAT,
            "version": VERSION,
            "grid": dataclasses.asdict(self.grid),
            "layout": self.layout,
            "semantics": dataclasses.asdict(self.semantics),
            "steps": list(self.steps),
            "dtypes": dtypes,
            "revision": git_revision(),
        }
        make_folder(path.parent)
        with replacing(path, binary=True) as file:  # a name without .npz stays as it is
            np.savez_compressed(file, workload=json.dumps(about), **arrays)


def read_workload(path) -> Workload:
    """The workload in a file that `experiments.train --capture` wrote.

    Raises:
        WorkloadError: there is no file, or another's, or one that does not agree with itself.
    """
    path = user_path(path)
    hint = "expected a file of: python -m experiments.train --capture=FILE"
    if not path.is_file():
        raise WorkloadError(f"{path}: no such file; {hint}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        about = json.loads(str(found["workload"]))
        if about["format"] != FORMAT:
            raise KeyError("format")
    except (ValueError, OSError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise WorkloadError(f"{path} is no workload; {hint}.") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise WorkloadError(f"{path} is damaged ({error}); capture it anew.") from error
    if about.get("version") != VERSION:
        raise WorkloadError(
            f"{path} is a workload of version {about.get('version')}, expected {VERSION}; capture "
            "it with this revision."
        )
    try:
        grid = GridSpec(**about["grid"])
        steps = {int(step): _pair(found, about, grid, int(step)) for step in about["steps"]}
        return Workload(grid, LossSemantics(**about["semantics"]), about["layout"], steps)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkloadError(f"{path} is damaged ({error}); capture it anew.") from error


def _pair(found, about, grid, step):
    pair = []
    for kind, shape in zip(KINDS, (grid.prediction_shape, grid.target_shape), strict=True):
        array, dtype = found[f"{kind}_{step}"], DTYPES[about["dtypes"][kind]]
        if array.dtype != (np.uint16 if about["dtypes"][kind] == "bfloat16" else dtype):
            raise ValueError(f"{kind}_{step} is {array.dtype}, expected {dtype}")
        if array.shape[1:] != tuple(shape) or len(array) == 0:
            wanted = ", ".join(map(str, ("N", *shape)))
            raise ValueError(f"{kind}_{step} is {list(array.shape)}, expected [{wanted}]")
        pair.append(array.view(dtype))
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"step {step} has predictions and targets of other images")
    return tuple(pair)


class Capture:
    """Keeps predictions and targets of some steps of a run, in a file that grows with them.

    Args:
        config: the run's `TrainConfig`: ``capture``, ``capture_steps`` and what the file tells.
        grid: the `GridSpec`.
        start: the step that the run begins with; what the file of an interrupted run holds of
            earlier steps is kept.
        end: the number of steps of the whole run.
        writes: whether this process is the one that writes files. Several workers capture together,
            since all must run the same compiled step; the file has the images of the first.

    Raises:
        WorkloadError: the run will do none of the steps; the file is there, and is no workload.
    """

    def __init__(self, config, grid, start, end, writes=True):
        self.path, self.wanted = user_path(config.capture), config.steps_to_capture()
        self._writes = writes
        if not any(step < end for step in self.wanted):
            raise WorkloadError(
                f"--capture_steps={config.capture_steps}: the run has the steps 0 to {end - 1}; "
                "give some of them."
            )
        if writes and max(self.wanted) < start:
            print(
                f"--capture_steps={config.capture_steps}: the run goes on at step {start}; they "
                "are done already."
            )
        before = read_workload(self.path) if self.path.exists() else None
        kept = before.steps if before and start and before.grid == grid else {}
        steps = {step: pair for step, pair in kept.items() if step < start}
        self.workload = Workload(grid, config.loss_semantics(), "cells", steps)

    def around(self, step, keeping, progress, gathered):
        """`step`, but on the wanted steps `keeping`, whose last result, the predictions, is kept.

        Args:
            progress: has ``step``, the number of steps done.
            gathered: makes an array of what the replicas have.
        """

        def either(images, targets):
            number = int(progress.step.numpy())
            if number not in self.wanted:
                return step(images, targets)
            *results, predictions = keeping(images, targets)
            if self._writes:
                self.workload.steps[number] = gathered(predictions), gathered(targets)
                self.workload.write(self.path)
            return results

        return either
