"""What is measured of a trained detector, and on what: as its run knows it, or as flags say."""

import contextlib
import dataclasses

from absl import flags

from yolov1 import training
from yolov1.files import user_path
from yolov1.inference import formats

from . import common
from . import flags as experiment_flags
from .flags import UserError, user_errors

DEBUG_IMAGES = 32  # of a data set, with --debug

# The flags belong to the experiment that calls `define_...`: ``--help`` shows the main module's.
flags.disclaim_key_flags()


def define_dataset():
    """Defines ``--dataset`` of what measures a run, and gives its holder."""
    return flags.DEFINE_string("dataset", "", "As in training; empty: the run's own.")


def define_split():
    """Defines ``--eval_split`` of what measures a run, and gives its holder."""
    return flags.DEFINE_string("eval_split", "", "Split; empty: the run's own.")


def define_images(*names):
    """Defines ``--bad_examples``, ``--batch_size`` and ``--debug`` of what looks at the images of a
    data set, and further flags of a training by their names."""
    experiment_flags.define(
        names=("bad_examples", "batch_size", *names),
        batch_size=32,
        texts={"batch_size": experiment_flags.AT_ONCE},
        debug=f"The first {DEBUG_IMAGES} images only.",
    )


def is_file(path) -> bool:
    """Whether a detector is one of a file (or folder) of `inference.export`, not of a run."""
    return formats.format_of(user_path(path)) is not None


def configuration(path, detector) -> training.TrainConfig:
    """That of the run at `path`; of a file what it says of itself, which is no data set."""
    if not is_file(path):
        return training.RunDirectory(path).read_config()[0]
    grid = detector.grid
    sizes = {"S": grid.S, "B": grid.B, "image_size": grid.image_size}
    no_data = {"dataset": "", "train_split": "", "eval_split": ""}
    own = {"resize": detector.resize, "suppression": detector.options["suppression"]}
    return training.TrainConfig(**own, **sizes, **no_data)


def as_flags_say(config, **values) -> training.TrainConfig:
    """The configuration to measure with: with the data set that the flags name, and `values`."""
    given = flags.FLAGS
    return dataclasses.replace(
        config,
        dataset=given.dataset or config.dataset,
        eval_split=given.eval_split or config.eval_split,
        bad_examples=given.bad_examples,
        batch_size=given.batch_size,
        subdivisions=1,
        **values,
    )


def with_semantics(config, detector, **values):
    """The configuration of a file with the semantics that flags say.

    Raises:
        UserError: the file's boxes mean something else.
    """
    with user_errors():
        config = dataclasses.replace(config, **values)
        wh = config.loss_semantics().wh
    if wh != detector.wh:
        raise UserError(
            f"--semantics={config.semantics} has wh={wh!r}, the file {detector.wh!r}. Give the "
            "semantics that the network was trained with."
        )
    return config


def open_split(path, config, split, classes, *, moved=True):
    """A split of the data set that the detector at `path` is measured on.

    Args:
        config: `TrainConfig`, with the data set that the flags say, where they say one.
        classes: the detector's names; None where it knows none.
        moved: whether the data set is the run's own, which may lie elsewhere now.

    Raises:
        UserError: there is none, it is not where it was, or it has another number of classes.
    """
    if not config.dataset:
        kind = "file" if is_file(path) else "run"
        raise UserError(
            f"The {kind} {path} knows no data set; say what to measure it on with "
            "--dataset=KIND:PATH --eval_split=SPLIT."
        )
    with common.of_a_run(path) if moved else contextlib.nullcontext():
        return common.open_split(config, split, classes=classes)
