"""All of one step of a training in one file, to be looked at, repeated or compared elsewhere.

The file is NumPy's ``.npz``, readable with ``numpy.load(file, allow_pickle=False)``:

    about                JSON: format "yolov1 step", version 1; step (the first is 0); config, grid
                         and classes of the run; cfg, the text of each cfg file that config
                         names; image_ids; terms, the names of the loss's; variables and
                         trainable, the paths of the weights; replicas, how many shared the step;
                         environment; and what `replay` says of its way
    indices              [N], of the images in the data set
    images, targets      [N, H, W, 3] in [0, 1] and [N, S, S, C + 5], what the network was given
    weights_before.<k>   variable k before the step, and after it
    weights_after.<k>
    predictions          [N, S, S, D]
    terms                [N, T], the terms of each image's loss
    cell_terms           [N, S * S, T], what each cell adds to them
    by_predictions       [N, S, S, D], the gradient of the step's loss by the predictions
    has_object, responsible, iou   of the cells, as in `yolov1.cell_loss`
    gradients.<k>        the gradient by trainable variable k of ``about["trainable"]``
    learning_rate        [], of the step

A file that a loss which is not finite left behind may have images, targets and terms alone.
"""

import dataclasses
import json
import zipfile
import zlib

import numpy as np

from yolov1.files import make_folder, replacing, user_path
from yolov1.grid import GridSpec
from yolov1.training import cfg_files
from yolov1.training.config import TrainConfig
from yolov1.training.run_directory import WrongRun

FORMAT, VERSION = "yolov1 step", 1


@dataclasses.dataclass
class Step:
    """One step of a training.

    Attributes:
        about: what JSON can say of it.
        arrays: name -> array, as the file has them.
    """

    about: dict
    arrays: dict

    @property
    def number(self) -> int:
        return self.about["step"]

    @property
    def config(self) -> TrainConfig:
        return TrainConfig.from_dict(self.about["config"])

    @property
    def grid(self) -> GridSpec:
        return GridSpec(**self.about["grid"])

    def several(self, name: str) -> list:
        """The arrays ``name.0``, ``name.1`` ...; empty where there are none."""
        found = []
        while f"{name}.{len(found)}" in self.arrays:
            found.append(self.arrays[f"{name}.{len(found)}"])
        return found

    def named(self, name: str) -> list:
        """The array of this name, or all that are numbered; empty where there is none."""
        return [self.arrays[name]] if name in self.arrays else self.several(name)

    def save(self, path):
        """Writes the file, which takes its place only once whole.

        Raises:
            OSError: it cannot be written.
        """
        path = user_path(path)
        make_folder(path.parent)
        about = {"format": FORMAT, "version": VERSION} | self.about
        with replacing(path, binary=True) as file:  # weights and photos hardly shrink
            np.savez(file, about=json.dumps(about), **self.arrays)


def read_step(path) -> Step:
    """The step in a file that `Step.save` wrote.

    Raises:
        FileNotFoundError: there is no file.
        WrongRun: it is another's, of another version, or damaged.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected one of experiments.replay --save.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        if about.pop("format") != FORMAT:
            raise KeyError("format")
        version = about.pop("version")
        if version != VERSION:
            raise WrongRun(
                f"{path} is a step of version {version}, expected {VERSION}; write it with this "
                "revision."
            )
        step = Step(about, arrays)
        step.config, step.grid, step.number  # noqa: B018 (can be read)
        return step
    except WrongRun:
        raise
    except (ValueError, OSError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise WrongRun(f"{path} is no file of experiments.replay --save ({error!r}).") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise WrongRun(f"{path} is damaged ({error}); write it anew.") from error


def describe(config: TrainConfig, folder, classes, number: int, image_ids) -> dict:
    """What ``about`` says of every step: of the run in this folder, its data and the images."""
    grid = config.grid(len(classes))
    return {
        "step": number,
        "config": config.to_dict(),
        "cfg": cfg_files.texts(config, folder),
        "grid": dataclasses.asdict(grid),
        "classes": list(classes),
        "image_ids": list(image_ids),
    }
