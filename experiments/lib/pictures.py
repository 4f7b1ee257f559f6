"""Pictures in files: found, read, and what was found in them written and drawn."""

import dataclasses
import glob
from pathlib import Path

import numpy as np

from yolov1 import data, inference, streaming
from yolov1.data.formats.walk import images_in
from yolov1.files import user_path
from yolov1.streaming.drawing import picture_name, save

from . import common
from .flags import UserError

MIN_SIDE = 240  # smaller pictures are enlarged to it, so that their labels can be read


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


def detect(detector, paths, batch_size) -> Found:
    """Runs the detector over the files, and says in a line what each holds."""
    found = Found()
    source = streaming.pictures(paths, report=found.unreadable.append)
    for result in streaming.run(detector, source, batch_size):
        path, detections = Path(result.frame.name), result.detections
        picture = picture_name(len(found.rows), path)
        size = result.frame.image.shape[:2]
        found.paths.append(path)
        found.detections.append(detections)
        row = describe(path, size, detections, detector.classes)
        found.rows.append({"file": row.pop("file"), "picture": picture} | row)
        print(f"{path}: {count_by_class(detections, detector.classes) or 'nothing found'}")
    return found


def describe(path, size, detections, classes) -> dict:
    """What ``detections.json`` says of one picture; `size` and boxes are those of it upright."""
    turned = data.images.read_header(path).orientation
    return {
        "file": str(path),
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
        image = data.images.decode(path, upright=True)
        save(inference.draw(image, detections, classes, min_side=MIN_SIDE), target)
        return True
    return False


def unreadable(entry) -> str:
    """What the console says of a file that cannot be read."""
    return f"cannot be read: {entry['file']}: {entry['reason']}"


def count_by_class(detections, classes) -> str:
    """Such as '3 circle, 1 star'."""
    counts = np.bincount(detections.labels, minlength=len(classes))
    return ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True) if n)


def find_images(patterns):
    """The files that paths, folders and patterns stand for, each once, sorted.

    Raises:
        UserError: nothing matches a pattern, or nothing but films.
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
            if found and all(map(streaming.is_stream, found)):  # beside pictures, it is left out
                film = min(found)
                raise UserError(
                    f"--images={pattern}: {film} is a film, which is looked at alone: "
                    f"--images={film}."
                )
        found = [p for p in found if not p.is_dir()]  # a link that leads nowhere is reported
        if not found:
            raise UserError(
                f"--images={pattern}: no such file, no folder with pictures, and a pattern that "
                "nothing matches."
            )
        paths.update(found)
    return sorted(paths)
