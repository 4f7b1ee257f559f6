"""Writes a data set in another format.

    python -m experiments.convert --dataset=voc:PATH --to=yolo --output_dir=OUT
    python -m experiments.convert --dataset=yolo:PATH --split=train,val --to=label_studio

Every split is kept, under its name; images are linked where the file system can, and keep their
bytes. Boxes move by less than the format's own rounding (docs/data.md). What a format cannot hold,
and what was left out, is said at the end.
"""

import os
import time
from pathlib import Path

from absl import app, flags

from yolov1 import data
from yolov1.data.formats import writing
from yolov1.files import safe_name, user_path

from .lib import common, saving
from .lib import flags as experiment_flags

experiment_flags.define(
    names=("dataset", "classes", "bad_examples", "image_size", "seed", "output_dir"),
    texts={"output_dir": "Folder for the data set; empty: runs/convert/FORMAT."},
)
SPLIT = flags.DEFINE_list("split", [], "Splits, as in train,val; none: all that there are.")
TO = flags.DEFINE_enum("to", None, list(writing.WRITERS), "The format.", required=True)
COPY = flags.DEFINE_boolean("copy", False, "Copy images instead of linking them.")
DIFFICULT = flags.DEFINE_boolean(
    "difficult", False, "yolo, which cannot mark them: write the boxes marked difficult as others."
)
UPRIGHT = flags.DEFINE_boolean(
    "upright", False, "A photo that EXIF turns becomes an upright PNG, and its boxes are turned."
)
saving.define_addresses()

DEBUG = {"dataset": "shapes:count=8", "image_size": 64}


def main(argv):
    del argv
    start = time.perf_counter()
    config = experiment_flags.config_from_flags(debug=DEBUG)
    output = user_path(config.output_dir or f"runs/convert/{TO.value}")
    writing.require_empty(output)
    addresses = saving.addresses([TO.value])
    with experiment_flags.user_errors(config.dataset):
        names = SPLIT.value or data.splits(config.dataset) or [None]
    if len({name and plain(name) for name in names}) < len(names):
        raise app.UsageError(f"--split names a split twice: {','.join(names)}.")
    splits = open_splits(config, names)
    options = {"link": not COPY.value, "difficult": DIFFICULT.value, "upright": UPRIGHT.value}
    others = [] if SPLIT.value else strays(config, splits)  # before there is more in the folder
    with experiment_flags.user_errors(config.dataset):
        remarks = data.write(f"{TO.value}:{output}", splits, **options, **addresses)
    common.print_skipped(*splits.values())
    common.print_entries(config.dataset, "in none of the splits", others)
    common.print_entries(config.dataset, f"remarks on {TO.value}", remarks)
    linked, written = sizes(output)
    images = sum(map(len, splits.values()))
    boxes = sum(len(example.labels) for dataset in splits.values() for example in dataset)
    print(
        f"{images} images, {boxes} boxes; {linked} files linked, {written / 1e6:.1f} MB written to "
        f"{output} in {time.perf_counter() - start:.1f} s"
    )


def open_splits(config, names):
    """{name: `Dataset`}; data sets are often handed on without the test images that they name."""
    splits = {}
    for name in names:
        try:
            splits[name and plain(name)] = common.open_split(config, name)
        except FileNotFoundError as error:
            if SPLIT.value or name != "test" or not splits:
                raise
            print(f"the split test is left out: {error}")
    return splits


def plain(split) -> str:
    """The name of a split as that of a file or folder: a union is one split then."""
    return safe_name(split.replace("+", "").replace("/", "_"))


def strays(config, splits) -> list[tuple[str, str]]:
    """Images of the data set that are in none of its splits."""
    if None in splits:
        return []
    taken = {place_of(example) for dataset in splits.values() for example in dataset}
    # They have been verified, or are left out as those that cannot be used.
    taken |= {file for dataset in splits.values() for file, _ in dataset.skipped}
    try:
        whole = data.open(
            config.dataset, bad_examples="skip", classes=config.classes or None, verify=False
        )
    except FileNotFoundError as error:
        return [(config.dataset, f"whether there are other images is not known: {error}")]
    found = [example for example in whole if place_of(example) not in taken]
    why = "not written. Name its split with --split, or write one list for all images"
    return [(str(place_of(example)), why) for example in found]


def place_of(example):
    return os.path.realpath(example.path) if example.path else (example.place or example.image_id)


def sizes(folder):
    """(files that are links to others, bytes of those that are none)."""
    stats = [path.stat() for path in Path(folder).rglob("*") if path.is_file()]
    linked = sum(stat.st_nlink > 1 for stat in stats)
    return linked, sum(stat.st_size for stat in stats if stat.st_nlink == 1)


if __name__ == "__main__":
    experiment_flags.run(main)
