"""What a run saw of the images it watches, at every evaluation: one file that grows with them.

The file is NumPy's ``.npz``, readable with ``numpy.load(file, allow_pickle=False)``. Of E
evaluations, n images and L = S * S cells (number row * S + col):

    about        JSON: format "yolov1 watched images", version 1; watch, as it was asked for; grid;
                 semantics; on_collision; classes; terms, their names; images, of each id, set
                 ("evaluation" or "training"), and of its objects that are not difficult
                 boxes_cxcywh, labels, cells (in which each falls) and keepers (the number of the
                 object that the cell keeps)
    pictures     uint8 [n, side, side, 3]: small, stretched to a square as the network sees them
    epoch, step  int64 [E]: how many were done
    terms        float32 [E, n, L, 5]: xy, wh, object, no_object, class, weighted
    gradient     float32 [E, n, L]: norm of the image's loss's gradient by the cell's predictions
    responsible  bool [E, n, L, B]
    iou          float32 [E, n, L, B], of each box with the cell's object; 0 without one
    confidence   float32 [E, n, L, B]
    detections   float32 [E, n, 30, 6]: x0, y0, x1, y1 (fractions), score, label of what was found,
                 the best first; NaN where there is no more
"""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from yolov1 import data
from yolov1.files import replacing
from yolov1.grid import GridSpec
from yolov1.semantics import TERMS

FORMAT, VERSION = "yolov1 watched images", 1
PICTURE_SIDE = 128
DETECTIONS = 30
SEEN = ("terms", "gradient", "responsible", "iou", "confidence", "detections")


class RecordError(ValueError):
    """A file that holds no such record, or is damaged; says what to do."""


@dataclasses.dataclass
class Record:
    """See the module; `seen` has its arrays by name, none of them before the first evaluation."""

    about: dict
    pictures: np.ndarray
    epoch: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    step: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    seen: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self):
        """How many evaluations it has."""
        return len(self.step)

    @property
    def grid(self) -> GridSpec:
        return GridSpec(**self.about["grid"])

    @property
    def images(self) -> list[dict]:
        return self.about["images"]

    @property
    def has_object(self) -> np.ndarray:
        """Bool ``[n, L]``."""
        found = np.zeros((len(self.images), self.grid.cells), bool)
        for k, image in enumerate(self.images):
            found[k, image["cells"]] = True
        return found

    def before(self, step: int) -> "Record":
        """Without what came at this step or later."""
        kept = self.step < step
        seen = {name: values[kept] for name, values in self.seen.items()}
        return dataclasses.replace(self, epoch=self.epoch[kept], step=self.step[kept], seen=seen)

    def added(self, epoch: int, step: int, seen: dict) -> "Record":
        """With one evaluation more, in the place of any at this step or later.

        Args:
            seen: what `yolov1.microscope.looking.look` gives.
        """
        old = self.before(step)
        together = {
            name: np.concatenate([old.seen[name], seen[name][None]])
            if name in old.seen
            else seen[name][None]
            for name in SEEN
        }
        return dataclasses.replace(
            old, epoch=np.append(old.epoch, epoch), step=np.append(old.step, step), seen=together
        )

    def write(self, path):
        """The file, in one replacement: a reader, or a resumed run, never sees half of it."""
        arrays = {"pictures": self.pictures, "epoch": self.epoch, "step": self.step, **self.seen}
        with replacing(path, binary=True) as file:
            np.savez(file, about=json.dumps(self.about), **arrays)


def read_record(path) -> Record:
    """What `Record.write` wrote.

    Raises:
        FileNotFoundError: there is no file.
        RecordError: it is another's, of a later version, or damaged.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        about = json.loads(str(found.pop("about")))
        if about["format"] != FORMAT or about["version"] != VERSION:
            raise KeyError(f"{about['format']} of version {about['version']}")
        pictures, epoch, step = (found.pop(name) for name in ("pictures", "epoch", "step"))
        seen = {name: found[name] for name in SEEN}
        counts = {len(values) for values in seen.values()} | {len(epoch), len(step)}
        if len(counts) > 1:
            raise ValueError("its arrays are of different lengths")
        return Record(about, pictures, epoch, step, seen)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, KeyError, TypeError, EOFError) as error:
        reason = f"{type(error).__name__}: {error}"
    except (zipfile.BadZipFile, zlib.error) as error:
        reason = str(error)
    raise RecordError(
        f"{path} is no record of watched images ({reason}). Was it cut or changed? Take it away, "
        "and the run begins a new one."
    )


def describe(examples, sets, classes, grid, semantics, on_collision, watch="") -> Record:
    """A record of no evaluation yet.

    Args:
        examples: the `Example` of each image.
        sets: of each ``"evaluation"`` or ``"training"``.
        watch: the words that asked for these images.
    """
    about = {
        "format": FORMAT,
        "version": VERSION,
        "watch": watch,
        "grid": dataclasses.asdict(grid),
        "semantics": dataclasses.asdict(semantics),
        "on_collision": on_collision,
        "classes": list(classes),
        "terms": list(TERMS),
        "images": [
            {"id": example.image_id, "set": kind} | _objects(example, grid, on_collision)
            for example, kind in zip(examples, sets, strict=True)
        ],
    }
    side = min(PICTURE_SIDE, grid.image_size)
    small = (Image.fromarray(e.image).resize((side, side), Image.BICUBIC) for e in examples)
    return Record(about, np.stack([np.asarray(picture) for picture in small]))


def _objects(example, grid, on_collision) -> dict:
    kept = ~example.difficult
    boxes = example.boxes_cxcywh[kept]
    cells, keepers = data.assign_cells(boxes, grid, on_collision)
    return {
        "boxes_cxcywh": boxes.tolist(),
        "labels": example.labels[kept].tolist(),
        "cells": cells.tolist(),
        "keepers": keepers.tolist(),
    }
