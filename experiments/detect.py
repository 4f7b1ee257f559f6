"""Runs a trained detector over pictures: annotated copies, and a JSON file of what was found.

    python -m experiments.detect --checkpoint=runs/shapes --images='photos/*.jpg'
    python -m experiments.detect --checkpoint=runs/shapes --images=photos   # a folder, or one file

Writes detections.json (boxes in pixels of the original picture), summary.json and pictures/ to
`--output_dir`. A photo that its EXIF orientation turns is taken upright, as people see it. A file
that cannot be read is named and left out.
"""

import glob
import time

import numpy as np
from absl import flags
from PIL import Image

from yolov1 import data, inference, training
from yolov1.data.formats.walk import images_in
from yolov1.files import make_folder, safe_name, user_path

from .lib import common, detectors
from .lib import flags as experiment_flags

IMAGES = flags.DEFINE_string("images", None, "File, folder or quoted pattern.", required=True)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at once.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder detect/ of the run.")
DEBUG = flags.DEFINE_boolean("debug", False, "The first eight pictures only.")
detectors.define()

DEBUG_IMAGES = 8


def main(argv):
    # A pattern that was not quoted arrives here file by file.
    paths = find_images([IMAGES.value, *argv[1:]])
    paths = paths[:DEBUG_IMAGES] if DEBUG.value else paths
    output = make_folder(user_path(OUTPUT_DIR.value or f"{flags.FLAGS.checkpoint}/detect"))

    detector = detectors.load_detector()
    start = time.perf_counter()
    rows, everything, unreadable = [], [], []
    for begin in range(0, len(paths), BATCH_SIZE.value):
        readable, images = read_images(paths[begin : begin + BATCH_SIZE.value], unreadable)
        found = detector.detect(images, BATCH_SIZE.value)
        for path, image, detections in zip(readable, images, found, strict=True):
            # Numbered, because two folders may hold files of one name.
            picture = f"pictures/{len(rows):04d}-{safe_name(path.stem)}.jpg"
            rows.append(describe(path, image.shape[:2], picture, detections, detector.classes))
            print(f"{path}: {count_by_class(detections, detector.classes) or 'nothing found'}")
        everything += zip(readable, found, strict=True)
    seconds = time.perf_counter() - start

    def write():
        found = {
            "checkpoint": flags.FLAGS.checkpoint,
            "classes": list(detector.classes),
            "score_threshold": detector.options["score_threshold"],
            "iou_threshold": detector.options["iou_threshold"],
            "images": rows,
            "unreadable": unreadable,
        }
        training.write_json(output / "detections.json", found)

    write()
    summary = {
        "images": len(rows),
        "detections": sum(len(row["detections"]) for row in rows),
        "unreadable": len(unreadable),
        "seconds": seconds,
        "images_per_second": len(rows) / seconds,
    }
    training.write_json(output / "summary.json", summary)
    for row, (path, detections) in zip(rows, everything, strict=True):
        if not draw(path, detections, detector.classes, output / row["picture"]):
            row["picture"] = None
    if not all(row["picture"] for row in rows):
        write()
    for entry in unreadable:
        print(f"cannot be read: {entry['file']}: {entry['reason']}")
    print(f"{len(rows)} pictures, {summary['detections']} boxes; written to {output}")
    return 0 if rows else 1


def describe(path, size, picture, detections, classes) -> dict:
    """What ``detections.json`` says of one picture; `size` and boxes are those of it upright."""
    turned = data.images.read_header(path).orientation
    return {
        "file": str(path),
        "picture": picture,
        "height": size[0],
        "width": size[1],
        **({"orientation": turned} if turned != 1 else {}),
        "detections": detections.to_json(classes, size),
    }


def draw(path, detections, classes, target) -> bool:
    """Writes the picture with its boxes; says so in a warning where that fails.

    It is read once more, because the detections of all pictures are written before any is drawn.
    """
    with common.drawing(target):
        picture = inference.draw(read(path), detections, classes, min_side=240)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target, quality=90)
        return True
    return False


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
        path = user_path(pattern)
        if path.is_dir():
            found, left_out = images_in(path)
            for file, reason in left_out:
                print(f"{file}: {reason}")
        elif path.exists():
            found = [path]
        else:
            # What is there is meant as it is written, whatever stands in its name.
            folder = next(above for above in path.parents if above.exists())
            rest = str(path.relative_to(folder))
            found = [folder / p for p in glob.glob(rest, root_dir=folder, recursive=True)]
        found = [p for p in found if not p.is_dir()]  # a link that leads nowhere is reported
        if not found:
            raise experiment_flags.UserError(
                f"--images={pattern}: no such file, no folder with pictures, and a pattern that "
                "nothing matches."
            )
        paths.update(found)
    return sorted(paths)


def read(path):
    """The pixels of a picture as a person sees it, uint8 ``[H, W, 3]``."""
    return data.images.decode(path, upright=True)


def read_images(paths, unreadable):
    """(paths, pixels) of those that can be read; the others are appended to `unreadable`."""
    readable, images = [], []
    for path in paths:
        try:
            images.append(read(path))
            readable.append(path)
        except MemoryError:
            raise
        except Exception as error:  # a decoder may raise anything
            reason = str(error) or type(error).__name__
            unreadable.append({"file": str(path), "reason": reason})
    return readable, images


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
