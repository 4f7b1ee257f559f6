"""What several experiments do with a data set and with what they find; each step is the package's
own."""

import contextlib
from pathlib import Path

from yolov1 import data
from yolov1.files import make_folder, user_path

from .flags import UserError, user_errors

PRINTED = 50  # remarks on a data set, of as many as there are


def open_split(config, split: str, classes=None):
    """A split of the configuration's data set.

    Raises:
        UserError: the flags name what does not exist.
    """
    with user_errors(config.dataset):
        dataset = data.open(
            config.dataset,
            split=split or None,
            classes=classes or config.classes or None,
            image_size=config.image_size,
            seed=config.seed,
            bad_examples=config.bad_examples,
        )
    print(f"{dataset.name}: {len(dataset)} images, {len(dataset.classes)} classes")
    return dataset


def results_folder(path) -> Path:
    """The folder for what a program finds, made where there is none.

    Raises:
        UserError: it is a run, whose own summary.json and report would be lost.
    """
    folder = user_path(path)
    require_no_run(folder, "results")
    return make_folder(folder)


def require_no_run(folder, lost: str):
    """Raises `UserError` where a run is in the folder, and says what of it would be lost."""
    if (folder / "config.json").exists():
        raise UserError(
            f"{folder} holds a run, whose {lost} would be lost. Give another --output_dir."
        )


@contextlib.contextmanager
def of_a_run(name):
    """Inside, a data set is opened where a run had it: it may have moved since."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{error} It is what the run {name} was trained on. Where the data has moved, say so "
            "with --dataset=KIND:NEW_PATH."
        ) from error


def require_labels(*datasets):
    """A classifier needs images of one class each, and classes to tell apart.

    Raises:
        UserError: an image has no box, or several; or there is one class.
    """
    for dataset in datasets:
        if len(dataset.classes) < 2:
            raise UserError(
                f"{dataset.name} has one class, {dataset.classes[0]!r}, expected at least two: of "
                "one, a network learns nothing."
            )
        for example in dataset:
            if len(example.labels) != 1:
                raise UserError(
                    f"{dataset.name}: image {example.image_id!r} has {len(example.labels)} boxes, "
                    "expected one class an image, as folders:PATH has. (experiments.crop_objects "
                    "makes such folders of a detection set.)"
                )


def with_objects(dataset) -> data.Dataset:
    """The images that have a box to learn: one that is not difficult.

    Raises:
        UserError: there is none.
    """
    kept = [example for example in dataset if not example.difficult.all()]
    if not kept:
        raise UserError(
            f"{dataset.name} has no image with a box that is not difficult: nothing to learn. "
            "Look at it with experiments.inspect_dataset."
        )
    return data.Dataset(
        kept, dataset.classes, name=dataset.name, skipped=dataset.skipped, notes=dataset.notes
    )


def warn_of_overlap(train_set, eval_set):
    """Says so when images are both trained on and measured on."""
    trained = {example.path for example in train_set if example.path}
    both = sum(example.path in trained for example in eval_set if example.path)
    if both:
        print(
            f"warning: {both} of the {len(eval_set)} evaluation images are trained on as well; the "
            "figures will say little about new images. See --train_split and --eval_split."
        )


def print_skipped(*datasets):
    """At the end of an experiment: what had to be left out, and why."""
    for dataset in datasets:
        print_entries(dataset.name, "images left out", dataset.skipped)
        print_entries(dataset.name, "remarks", dataset.notes)


def print_entries(name, what, entries):
    """(file, reason) each in a line, of many the first."""
    if entries:
        print(f"{name}: {len(entries)} {what}:")
    for file, reason in entries[:PRINTED]:
        print(f"  {file}: {reason}")
    if len(entries) > PRINTED:
        print(f"  ... and {len(entries) - PRINTED} more (all: experiments.inspect_dataset)")


@contextlib.contextmanager
def drawing(path):
    """Inside, a picture or a page is drawn of results that are written already: what goes wrong
    there is a warning that names it."""
    try:
        yield
    except Exception as error:
        print(f"warning: {path} could not be drawn: {type(error).__name__}: {error}")
