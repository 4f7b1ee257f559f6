"""Runs a trained detector over pictures: annotated copies, and a JSON file of what was found.

    python -m experiments.detect --checkpoint=runs/shapes --images='photos/*.jpg'
    python -m experiments.detect --checkpoint=runs/shapes --images=photos   # a folder, or one file

Writes pictures/, detections.json (boxes in pixels of the original picture) and summary.json to
`--output_dir`. A file that cannot be read is named and left out.
"""

import glob
import time
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from experiments.lib import evaluators
from experiments.lib import flags as experiment_flags
from yolov1 import data, inference, training
from yolov1.data.images import SUFFIXES

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run directory.", required=True)
IMAGES = flags.DEFINE_string("images", None, "File, folder or quoted pattern.", required=True)
WHICH = flags.DEFINE_enum(
    "which", "last", ("last", "best"), "Weights: the last ones, or the best by --monitor."
)
SCORE_THRESHOLD = flags.DEFINE_float(
    "score_threshold", evaluators.PICTURE_THRESHOLD, "Boxes that score less are left out.", 0.0
)
IOU_THRESHOLD = flags.DEFINE_float(
    "iou_threshold", 0.5, "Overlap above which the lower scored box goes.", 0.0, 1.0
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at once.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder detect/ of the run.")
DEBUG = flags.DEFINE_boolean("debug", False, "The first eight pictures only.")

DEBUG_IMAGES = 8


def main(argv):
    # A pattern that was not quoted arrives here file by file.
    paths = find_images([IMAGES.value, *argv[1:]])
    paths = paths[:DEBUG_IMAGES] if DEBUG.value else paths
    output = Path(OUTPUT_DIR.value or Path(CHECKPOINT.value) / "detect")
    (output / "pictures").mkdir(parents=True, exist_ok=True)

    model, run = training.load_run(CHECKPOINT.value, WHICH.value)
    detector = inference.Detector(
        model,
        grid=run.grid,
        wh=run.semantics.wh,
        score_threshold=SCORE_THRESHOLD.value,
        iou_threshold=IOU_THRESHOLD.value,
    )
    start = time.perf_counter()
    rows, unreadable = [], []
    for begin in range(0, len(paths), BATCH_SIZE.value):
        readable, images = read_images(paths[begin : begin + BATCH_SIZE.value], unreadable)
        found = detector.detect(images, BATCH_SIZE.value)
        for path, image, detections in zip(readable, images, found, strict=True):
            picture = inference.draw(image, detections, run.classes, min_side=240)
            # Numbered, because two folders may hold files of one name.
            name = f"{len(rows):04d}-{path.stem}.jpg"
            Image.fromarray(picture).save(output / "pictures" / name, quality=90)
            rows.append(
                {
                    "file": str(path),
                    "picture": f"pictures/{name}",
                    "height": image.shape[0],
                    "width": image.shape[1],
                    "detections": detections.to_json(run.classes, image.shape[:2]),
                }
            )
            print(f"{path}: {count_by_class(detections, run.classes) or 'nothing found'}")
    seconds = time.perf_counter() - start

    found = {
        "checkpoint": str(CHECKPOINT.value),
        "classes": list(run.classes),
        "score_threshold": SCORE_THRESHOLD.value,
        "iou_threshold": IOU_THRESHOLD.value,
        "images": rows,
        "unreadable": unreadable,
    }
    training.write_json(output / "detections.json", found)
    summary = {
        "images": len(rows),
        "detections": sum(len(row["detections"]) for row in rows),
        "unreadable": len(unreadable),
        "seconds": seconds,
        "images_per_second": len(rows) / seconds,
    }
    training.write_json(output / "summary.json", summary)
    for entry in unreadable:
        print(f"cannot be read: {entry['file']}: {entry['reason']}")
    print(f"{len(rows)} pictures, {summary['detections']} boxes; written to {output}")
    return 0 if rows else 1


def count_by_class(detections, classes) -> str:
    """Such as '3 circle, 1 star'."""
    counts = np.bincount(detections.labels, minlength=len(classes))
    return ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True) if n)


def find_images(patterns):
    """The files that paths, folders and patterns stand for, each once, sorted.

    Raises:
        UserError: nothing matches a pattern.
    """
    paths = set()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES]
        else:
            matches = [path] if path.exists() else glob.glob(pattern, recursive=True)
            found = [Path(match) for match in matches]
        found = [p for p in found if p.is_file()]
        if not found:
            raise experiment_flags.UserError(
                f"--images={pattern}: no such file, no folder with pictures, and a pattern that "
                "nothing matches."
            )
        paths.update(found)
    return sorted(paths)


def read_images(paths, unreadable):
    """(paths, pixels) of those that can be read; the others are appended to `unreadable`."""
    readable, images = [], []
    for path in paths:
        try:
            images.append(data.read_image(path))
            readable.append(path)
        except (OSError, ValueError) as error:
            unreadable.append({"file": str(path), "reason": str(error)})
    return readable, images


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
