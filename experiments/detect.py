"""Runs a trained detector over pictures: annotated copies, and a JSON file of what was found.

    python -m experiments.detect --checkpoint=runs/shapes --images='photos/*.jpg'
    python -m experiments.detect --checkpoint=runs/shapes --images=photos   # a folder, or one file
    python -m experiments.detect --checkpoint=RUN --images=large.jpg --tiles=640   # small objects

Writes detections.json (boxes in pixels of the original picture), summary.json and pictures/ to
`--output_dir`. A photo that its EXIF orientation turns is taken upright, as people see it. A file
that cannot be read is named and left out.
"""

import time

from absl import flags

from yolov1 import training
from yolov1.files import make_folder, user_path

from .lib import detectors, pictures
from .lib import flags as experiment_flags

IMAGES = flags.DEFINE_string("images", None, "File, folder or quoted pattern.", required=True)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at once.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder detect/ of the run.")
DEBUG = flags.DEFINE_boolean("debug", False, "The first eight pictures only.")
detectors.define()

DEBUG_IMAGES = 8


def main(argv):
    # A pattern that was not quoted arrives here file by file.
    paths = pictures.find_images([IMAGES.value, *argv[1:]])
    paths = paths[:DEBUG_IMAGES] if DEBUG.value else paths
    output = make_folder(user_path(OUTPUT_DIR.value or f"{flags.FLAGS.checkpoint}/detect"))
    return of_pictures(detectors.load_detector(), paths, output)


def of_pictures(detector, paths, output):
    """Everything that is found is written before anything is drawn."""
    start = time.perf_counter()
    held = 1 if flags.FLAGS.tiles else BATCH_SIZE.value  # a large picture fills batches by itself
    found = pictures.detect(detector, paths, BATCH_SIZE.value, held)
    seconds = time.perf_counter() - start
    write_detections(output, detector, found)
    count = len(found.rows)
    boxes = sum(len(row["detections"]) for row in found.rows)
    summary = {
        "images": count,
        "detections": boxes,
        "unreadable": len(found.unreadable),
        "seconds": seconds,
        "images_per_second": count / seconds,
    }
    training.write_json(output / "summary.json", summary)
    for path, detections, row in zip(found.paths, found.detections, found.rows, strict=True):
        if not pictures.draw(path, detections, detector.classes, output / row["picture"]):
            row["picture"] = None
    if not all(row["picture"] for row in found.rows):
        write_detections(output, detector, found)
    for entry in found.unreadable:
        print(f"cannot be read: {entry['file']}: {entry['reason']}")
    print(f"{count} pictures, {boxes} boxes; written to {output}")
    return 0 if count else 1


def write_detections(output, detector, found):
    content = {
        "checkpoint": flags.FLAGS.checkpoint,
        "classes": list(detector.classes),
        "score_threshold": detector.options["score_threshold"],
        "iou_threshold": detector.options["iou_threshold"],
        "images": found.rows,
        "unreadable": found.unreadable,
    }
    training.write_json(output / "detections.json", content)


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
