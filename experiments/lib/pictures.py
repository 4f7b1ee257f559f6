"""Pictures in files: found, read, and what was found in them written and drawn."""

import dataclasses
import glob
from pathlib import Path

import numpy as np
from PIL import Image

from yolov1 import data, inference
from yolov1.data.formats.walk import images_in
from yolov1.files import safe_name, user_path

from . import common
from .flags import UserError


@dataclasses.dataclass
class Found:
    """What a detector found in picture files.

    Attributes:
        paths: those that could be read.
        detections: of each, in fractions of the picture as a person sees it.
        rows: what ``detections.json`` says of each.
        unreadable: file and reason of the others.
    """

    paths: list[Path] = dataclasses.field(default_factory=list)
    detections: list[inference.Detections] = dataclasses.field(default_factory=list)
    rows: list[dict] = dataclasses.field(default_factory=list)
    unreadable: list[dict] = dataclasses.field(default_factory=list)


def detect(detector, paths, batch_size, held=None) -> Found:
    """Runs the detector over the files, and says in a line what each holds.

    `held`: pictures in memory at once; by default a batch of them.
    """
    found, held = Found(), held or batch_size
    for begin in range(0, len(paths), held):
        readable, images = read_images(paths[begin : begin + held], found.unreadable)
        of_batch = detector.detect(images, batch_size)
        for path, image, detections in zip(readable, images, of_batch, strict=True):
            # Numbered, because two folders may hold files of one name.
            picture = f"pictures/{len(found.rows):04d}-{safe_name(path.stem)}.jpg"
            row = describe(path, image.shape[:2], picture, detections, detector.classes)
            found.rows.append(row)
            print(f"{path}: {count_by_class(detections, detector.classes) or 'nothing found'}")
        found.paths += readable
        found.detections += of_batch
    return found


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
            raise UserError(
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
