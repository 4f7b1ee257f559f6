"""Images in one folder per class: ``PATH/<class>/*.jpg``, or ``PATH/<split>/<class>/*.jpg``.

A whole image is one box of its class, so that with a grid of one cell a classifier is trained by
the same pipeline: the targets of ``GridSpec(S=1, B=1, C=K, ...)`` begin with the one-hot label.
"""

import collections
import functools
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, collect, make_example
from yolov1.data.formats.yolo import ALIASES
from yolov1.data.images import SUFFIXES

SPLITS = ("train", "val", "valid", "validation", "trainval", "test")


def whole_image(name) -> Annotation:
    """The annotation of an image that is all of class `name`."""
    return Annotation(np.array([[0.0, 0.0, 1.0, 1.0]]), [name], [False], (1, 1))


def _folders(path):
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_image(path):
    return path.suffix.lower() in SUFFIXES


def _parts(path, split):
    """(folders of the split, folders of every split there is); each holds folders of classes."""
    # A class may be called "train" (VOC has one): a split has folders in it.
    there = [f for f in _folders(path) if f.name in SPLITS and _folders(f)]
    if split is None:
        return (there, there) if there else ([path], [path])
    parts = []
    for part in dict.fromkeys(split.split("+")):
        tries = [path / name for name in ALIASES.get(part, (part,))]
        found = next((folder for folder in tries if folder.is_dir() and _folders(folder)), None)
        if found is None:
            raise FileNotFoundError(
                f"folders:{path}: no split {part!r} ({tries[0]}/<class>/*.jpg); there are: "
                f"{', '.join(f.name for f in there) or 'none; leave the split out'}."
            )
        parts.append(found)
    return parts, [*there, *parts]


def _look_through(part, wanted):
    """([(class, image path)], remarks on what is there besides) of one split."""
    stray = "an image that lies in no class's folder; it is left out"
    remarks = [(str(p), stray) for p in sorted(part.iterdir()) if p.is_file() and _is_image(p)]
    found = []
    for folder in _folders(part):
        if folder.name not in wanted:
            continue
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
        found += [(folder.name, p) for p in files if _is_image(p)]
        remarks += [(str(p), "not an image; it is left out") for p in files if not _is_image(p)]
        if not any(map(_is_image, files)):
            remarks.append((str(folder), "no image of this class"))
    return found, remarks


def open_folders(path, split, choose_classes, bad_examples, verify=True):
    """Opens images in one folder per class; see `yolov1.data.open`.

    Classes are the names of the folders, sorted, over every split there is, so that the splits
    agree. With `classes`, the images of the others are left out. An `image_id` is
    ``<class>/<stem>``, with the suffix where two files have one stem, and with the split in front
    where several are opened.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"folders:{path} is not a folder.")
    parts, every = _parts(path, split)
    own = tuple(sorted({folder.name for part in every for folder in _folders(part)}))
    if not own:
        raise FileNotFoundError(
            f"folders:{path}: no folder of a class in it; expected {path}/<class>/*.jpg, or "
            f"{path}/<split>/<class>/*.jpg."
        )
    classes = choose_classes(own)

    def build(part, label, image, stems):
        place = image.relative_to(part)
        name = (place.with_suffix("") if stems[place.with_suffix("")] == 1 else place).as_posix()
        name = name if len(parts) == 1 else f"{part.name}/{name}"
        return make_example(name, image, whole_image(label), own, classes, verify)

    candidates, remarks = [], []
    for part in parts:
        found, more = _look_through(part, classes)
        remarks += more
        stems = collections.Counter(image.relative_to(part).with_suffix("") for _, image in found)
        for label, image in found:
            candidates.append((image, functools.partial(build, part, label, image, stems)))
    name = f"folders:{path}" + (f" ({split})" if split else "")
    dataset = collect(name, candidates, classes, bad_examples)
    dataset.notes += remarks
    return dataset
