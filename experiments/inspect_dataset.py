"""What is in a data set, and which grid suits it? Look before you train.

    python -m experiments.inspect_dataset --dataset=voc:PATH --split=train+val

Prints and writes counts, sizes, class balance and the share of objects that share a cell with
another one and are lost to training, for several grid sides; and pictures with boxes and grid. What
cannot be used is listed, not fatal. ``summary.json`` holds `yolov1.data.statistics`.
"""

import time

import numpy as np
from absl import app, flags
from PIL import Image

from yolov1 import data, inference
from yolov1.files import safe_name
from yolov1.training import write_json

from .lib import common
from .lib import flags as experiment_flags

experiment_flags.define(
    names=("dataset", "classes", "bad_examples", "image_size", "seed", "output_dir"),
    bad_examples="skip",
    output_dir="runs/inspect",
    texts={"output_dir": experiment_flags.RESULTS},
)
SPLIT = flags.DEFINE_string("split", "", "Split, or a union as in train+val; empty: everything.")
SIDES = flags.DEFINE_list("sides", ["7", "9", "11", "14"], "Grid sides to count collisions for.")
PICTURES = flags.DEFINE_integer("pictures", 12, "Pictures to draw.", lower_bound=0)

DEBUG = {"dataset": "shapes:count=64", "image_size": 64}
PICTURE_SIDE = 360  # smaller images are enlarged to it


def main(argv):
    del argv
    start = time.perf_counter()
    config = experiment_flags.config_from_flags(debug=DEBUG)
    if not all(side.isdigit() and int(side) for side in SIDES.value):
        raise app.UsageError(f"--sides must be positive integers, got {','.join(SIDES.value)!r}.")
    sides = [int(side) for side in SIDES.value]
    dataset = common.open_split(config, SPLIT.value)
    found = data.statistics(dataset, sides=sides, image_size=config.image_size)
    output = common.results_folder(config.output_dir)
    summary = {**found, "pictures": [], "seconds": time.perf_counter() - start}
    write_json(output / "summary.json", summary)
    summary["pictures"] = write_pictures(dataset, output / "pictures", PICTURES.value, sides)
    summary["seconds"] = time.perf_counter() - start
    write_json(output / "summary.json", summary)
    print("\n".join(lines(found, config.image_size)))
    print(f"summary and pictures: {output}")


def write_pictures(dataset, folder, count, sides):
    """Images from the whole range of the data set, with their boxes and the grids in turn.

    Returns:
        The names of the files; a picture that fails is named in a warning.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int))
    names = []
    for k, index in enumerate(chosen):
        example = dataset[int(index)]
        side = sides[k % len(sides)]
        name = f"{k:02d}-{safe_name(example.image_id)}-S{side}.jpg"
        with common.drawing(folder / name):
            picture = inference.draw_grid(example.image, side, min_side=PICTURE_SIDE)
            picture = inference.draw(
                picture, example, dataset.classes, orientation=example.orientation
            )
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name, quality=90)
            names.append(name)
    return names


def lines(found, image_size):
    """The statistics as a person reads them."""
    yield (
        f"{found['name']}: {found['images']} images ({found['images_without_boxes']} without a "
        f"box), {found['boxes']} boxes ({found['difficult']} difficult)"
    )
    yield f"{'class':20}{'boxes':>8}{'share':>8}{'images':>8}{'difficult':>11}"
    for name, row in found["classes"].items():
        yield (
            f"{name:20}{row['boxes']:8}{row['share']:8.1%}{row['images']:8}{row['difficult']:11}"
        )
    yield f"{'':28}{'min':>8}{'median':>8}{'mean':>8}{'max':>8}"
    sizes = {
        "boxes in an image": "boxes_per_image",
        "image width": "image_width",
        "image height": "image_height",
        f"box width at {image_size} px": "box_width_px",
        f"box height at {image_size} px": "box_height_px",
    }
    for title, key in sizes.items():
        if found[key]:
            values = (found[key][point] for point in ("min", "median", "mean", "max"))
            yield f"{title:28}" + "".join(f"{value:8.1f}" for value in values)
    for side, row in found["collisions"].items():
        yield f"S = {side:>2}: {row['lost']} objects ({row['share']:.1%}) find their cell taken"
    for title in ("skipped", "notes"):
        for file, reason in found[title]:
            yield f"{title}: {file}: {reason}"


if __name__ == "__main__":
    experiment_flags.run(main)
