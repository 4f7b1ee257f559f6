"""What do single objects look like, and can a classifier tell them apart? Cut them out.

    python -m experiments.crop_objects --dataset=voc:PATH --split=train+val --output_dir=crops

Writes each object as ``crops/<split>/<class>/<image>-<k>.jpg``, a tree that ``folders:crops`` opens
as a classification set (for pretraining). Objects marked difficult and objects with a side below
--min_side pixels are left out. ``summary.json`` holds the counts of each split and class, those of
splits that were cut before as well, and the class of each folder: a folder cannot have every name.
"""

import time

from absl import flags

from yolov1.files import safe_name, user_path
from yolov1.training import RunDirectory, write_json

from .lib import common, crops
from .lib import flags as experiment_flags

experiment_flags.define(
    names=("dataset", "classes", "bad_examples", "image_size", "seed", "output_dir"),
    output_dir="runs/crops",
    texts={"output_dir": experiment_flags.RESULTS},
)
SPLIT = flags.DEFINE_string(
    "split", "", "Split, or several as in train+val, each into its own folder; empty: everything."
)
MARGIN = flags.DEFINE_float(
    "margin", 0.1, "Cut this share of the box's sides more on every side.", lower_bound=0.0
)
MIN_SIDE = flags.DEFINE_integer(
    "min_side", 32, "Leave objects out that have a side below so many pixels.", lower_bound=1
)
IMAGE_SIDE = flags.DEFINE_integer(
    "image_side", 0, "Shrink crops whose longer side has more pixels; 0: never.", lower_bound=0
)

DEBUG = {"dataset": "shapes:count=32", "image_size": 192}


def main(argv):
    del argv
    start = time.perf_counter()
    config = experiment_flags.config_from_flags(debug=DEBUG)
    output = user_path(config.output_dir)
    parts = list(dict.fromkeys(SPLIT.value.split("+")))
    folders = {part: output / (safe_name(part) if part else "") for part in parts}
    for folder in folders.values():
        # Crops of an earlier run would be trained on together with these.
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; remove it or give another --output_dir.")
    splits = splits_of(output)
    datasets = {part: common.open_split(config, part) for part in parts}
    settings = {"margin": MARGIN.value, "min_side": MIN_SIDE.value, "image_side": IMAGE_SIDE.value}
    counts = {part: crops.crop_all(datasets[part], folders[part], **settings) for part in parts}
    for part in parts:
        print("\n".join(lines(part, counts[part])))
    common.print_skipped(*datasets.values())
    for part in parts:
        splits[part] = {
            **{"dataset": config.dataset, **settings, "classes": counts[part]},
            "folders": {f: name for name, f in crops.class_folders(datasets[part].classes).items()},
        }
    write_json(output / "summary.json", {"splits": splits, "seconds": time.perf_counter() - start})
    print(f"crops and summary: {output}")


def splits_of(output) -> dict:
    """What the ``summary.json`` of earlier crops in the folder holds, by split.

    Raises:
        UserError: it is of something else, and would be lost.
    """
    summary = RunDirectory(output).read_json("summary.json")
    if summary and "splits" not in summary:
        raise experiment_flags.UserError(
            f"{output / 'summary.json'} is not of crops; give another --output_dir."
        )
    return summary.get("splits", {})


def lines(part, counts):
    """The counts as a person reads them."""
    titles = crops.FATES
    yield f"{part or 'everything':20}" + "".join(f"{title:>11}" for title in titles)
    total = {title: sum(row[title] for row in counts.values()) for title in titles}
    for name, row in [*counts.items(), ("all", total)]:
        yield f"{name:20}" + "".join(f"{row[title]:11}" for title in titles)


if __name__ == "__main__":
    experiment_flags.run(main)
