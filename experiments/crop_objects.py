"""What do single objects look like, and can a classifier tell them apart? Cut them out.

    python -m experiments.crop_objects --dataset=voc:PATH --split=train+val --output_dir=crops

Writes each object as ``crops/<split>/<class>/<image>-<k>.jpg``, a tree that ``folders:crops`` opens
as a classification set (for pretraining). Objects marked difficult and objects with a side below
--min_side pixels are left out. ``summary.json`` holds the counts of each split and class, those of
splits that were cut before as well, and the class of each folder: a folder cannot have every name.
"""

import time

import numpy as np
from absl import flags
from PIL import Image

from yolov1.files import make_folder, safe_name, safe_names, user_path
from yolov1.training import RunDirectory, write_json

from .lib import common
from .lib import flags as experiment_flags

experiment_flags.define(
    names=("dataset", "classes", "bad_examples", "image_size", "seed", "output_dir"),
    output_dir="runs/crops",
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
KEPT, DIFFICULT, SMALL = "written", "difficult", "small"
ROUNDING = 1e-2  # px: boxes are float32 fractions, of whole pixels mostly


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
    counts = {part: crop_all(datasets[part], folders[part], **settings) for part in parts}
    for part in parts:
        print("\n".join(lines(part, counts[part])))
    common.print_skipped(*datasets.values())
    for part in parts:
        splits[part] = {
            **{"dataset": config.dataset, **settings, "classes": counts[part]},
            "folders": {f: name for name, f in class_folders(datasets[part].classes).items()},
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


def crop_all(dataset, folder, margin=0.1, min_side=32, image_side=0) -> dict:
    """Writes the objects of a data set, see the flags.

    Returns:
        {class: {"written": how many, "difficult": left out, "small": left out}}.
    """
    counts = {name: dict.fromkeys((KEPT, DIFFICULT, SMALL), 0) for name in dataset.classes}
    folder_of = class_folders(dataset.classes)
    for name in folder_of.values():  # one without objects too: splits have the same classes then
        make_folder(folder / name)
    stems = safe_names([example.image_id for example in dataset])
    for example, stem in zip(dataset, stems, strict=True):
        image = example.image if len(example.labels) else None
        for k, box in enumerate(example.boxes_cxcywh):
            name = dataset.classes[example.labels[k]]
            what = fate(box[2:] * example.size[::-1], example.difficult[k], min_side)
            if what == KEPT:
                path = folder / folder_of[name] / f"{stem}-{k}.jpg"
                shrunk(crop(image, box, margin), image_side).save(path, quality=95)
            counts[name][what] += 1
    return counts


def fate(sides_px, difficult, min_side) -> str:
    """What becomes of an object of this width and height."""
    if difficult:
        return DIFFICULT
    return KEPT if min(sides_px) >= min_side - ROUNDING else SMALL


def crop(image, box_cxcywh, margin) -> Image.Image:
    """The part of an image uint8 ``[H, W, 3]`` that a box touches, in whole pixels.

    Args:
        margin: share of the box's width or height that is added on each side, inside the image.
    """
    height, width = image.shape[:2]
    centre, half = box_cxcywh[:2], box_cxcywh[2:] * (0.5 + margin)
    size = np.array([width, height])
    low = np.floor((centre - half) * size + ROUNDING).astype(int)
    high = np.ceil((centre + half) * size - ROUNDING).astype(int)
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, size)
    return Image.fromarray(image[y0:y1, x0:x1])


def shrunk(picture, side) -> Image.Image:
    """The picture with its longer side at most `side`; as it is for 0."""
    if side:
        picture.thumbnail((side, side), Image.LANCZOS)
    return picture


def class_folders(classes) -> dict:
    """Class -> its folder, which is the name that `folders:` will read: the class's own, where a
    folder can have it and no other class's differs by case alone."""
    return dict(zip(classes, safe_names(classes), strict=True))


def lines(part, counts):
    """The counts as a person reads them."""
    titles = (KEPT, DIFFICULT, SMALL)
    yield f"{part or 'everything':20}" + "".join(f"{title:>11}" for title in titles)
    total = {title: sum(row[title] for row in counts.values()) for title in titles}
    for name, row in [*counts.items(), ("all", total)]:
        yield f"{name:20}" + "".join(f"{row[title]:11}" for title in titles)


if __name__ == "__main__":
    experiment_flags.run(main)
