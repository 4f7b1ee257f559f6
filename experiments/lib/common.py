"""What several experiments do with a data set; each step is the package's own."""

import contextlib
import sys

from absl import app

from yolov1 import data
from yolov1.data import BadExampleError


def open_split(config, split: str, classes=None):
    """A split of the configuration's data set.

    Raises:
        app.UsageError: the flags name what does not exist.
    """
    with usage_errors():
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


@contextlib.contextmanager
def usage_errors():
    """Inside, a `ValueError` is about a flag: it is shown without a traceback."""
    try:
        yield
    except BadExampleError:
        raise
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def require_labels(*datasets):
    """A classifier needs images of one class each, and classes to tell apart.

    Raises:
        app.UsageError: an image has no box, or several; or there is one class.
    """
    for dataset in datasets:
        if len(dataset.classes) < 2:
            raise app.UsageError(
                f"{dataset.name} has one class, {dataset.classes[0]!r}, expected at least two: of "
                "one, a network learns nothing."
            )
        for example in dataset:
            if len(example.labels) != 1:
                raise app.UsageError(
                    f"{dataset.name}: image {example.image_id!r} has {len(example.labels)} boxes, "
                    "expected one class an image, as folders:PATH has. (experiments.crop_objects "
                    "makes such folders of a detection set.)"
                )


def with_objects(dataset) -> data.Dataset:
    """The images that have a box to learn: one that is not difficult.

    Raises:
        app.UsageError: there is none.
    """
    kept = [example for example in dataset if not example.difficult.all()]
    if not kept:
        raise app.UsageError(
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
        for what, entries in (("images", dataset.skipped), ("boxes", dataset.notes)):
            if entries:
                print(f"{dataset.name}: remarks on {len(entries)} {what}:")
            for name, reason in entries:
                print(f"  {name}: {reason}")


@contextlib.contextmanager
def drawing(path):
    """Inside, a picture or a page is drawn of results that are written already: what goes wrong
    there is a warning that names it."""
    try:
        yield
    except Exception as error:
        print(f"warning: {path} could not be drawn: {type(error).__name__}: {error}")


def print_anything():
    """Lets names of files through that the terminal's encoding has no characters for, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where something else stands in for it
            stream.reconfigure(errors="backslashreplace")
