"""Images in one folder per class: ``PATH/<class>/*.jpg``, or ``PATH/<split>/<class>/*.jpg``.

A whole image is one box of its class, so that with a grid of one cell a classifier is trained by
the same pipeline: the targets of ``GridSpec(S=1, B=1, C=K, ...)`` begin with the one-hot label.
"""

import collections
import functools
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, collect, make_example
from yolov1.data.formats.paths import numbered
from yolov1.data.formats.split_names import NAMES, spellings
from yolov1.data.formats.walk import files_in, folders_in, is_image, left_out


def whole_image(name) -> Annotation:
    """The annotation of an image that is all of class `name`."""
    return Annotation(np.array([[0.0, 0.0, 1.0, 1.0]]), [name], [False], (1, 1))


def _plain(name):
    """``Training`` and ``train`` are one split."""
    return name.lower().removesuffix("ing")


def _parts(path, split):
    """(folders of the split, folders of every split, remarks); each holds folders of classes."""
    # A class may be called "train" (VOC has one): a split has folders in it.
    there = [f for f in folders_in(path) if _plain(f.name) in NAMES and folders_in(f)]
    if split is None:
        if not there:
            return [path], [path], []
        why = "it is none of the splits, nor in one; it is left out"
        others = [f for f in folders_in(path) if f not in there] + _stray_images(path)
        return there, there, [(str(f), why) for f in others]
    parts = []
    for part in dict.fromkeys(split.split("+")):
        tries = [path / name for name in spellings(part)]
        found = next((folder for folder in tries if folder.is_dir() and folders_in(folder)), None)
        names = [p.name for p in tries]
        found = found or next((folder for folder in there if _plain(folder.name) in names), None)
        if found is None:
            raise FileNotFoundError(
                f"folders:{path}: no split {part!r} ({tries[0]}/<class>/*.jpg); there are: "
                f"{', '.join(f.name for f in there) or 'none; leave the split out'}."
            )
        parts.append(found)
    return list(dict.fromkeys(parts)), [*there, *parts], []  # val and valid may be one folder


def _stray_images(folder):
    return sorted(p for p in folder.iterdir() if is_image(p) and not p.is_dir())


def _look_through(part, wanted):
    """([(class, image path)], remarks on what is there besides) of one split."""
    stray = "an image that lies in no class's folder; it is left out"
    remarks = [(str(p), stray) for p in _stray_images(part)]
    found = []
    for folder in folders_in(part):
        if folder.name not in wanted:
            continue
        files = [p for p in files_in(folder) if p.name[0] != "." or left_out([p])]
        found += [(folder.name, p) for p in files if is_image(p)]
        remarks += [(str(p), "not an image; it is left out") for p in files if not is_image(p)]
        if not any(map(is_image, files)):
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
    parts, every, remarks = _parts(path, split)
    own = tuple(sorted({folder.name for part in every for folder in folders_in(part)}))
    if not own:
        raise FileNotFoundError(
            f"folders:{path}: no folder of a class in it; expected {path}/<class>/*.jpg, or "
            f"{path}/<split>/<class>/*.jpg."
        )
    classes = choose_classes(own)

    def build(label, image, name):
        return make_example(name, image, whole_image(label), own, classes, verify)

    rows, ids = [], []
    for part in parts:
        found, more = _look_through(part, classes)
        remarks += more
        rows += found
        places = [image.relative_to(part) for _, image in found]
        stems = collections.Counter(place.with_suffix("") for place in places)
        names = [p.with_suffix("") if stems[p.with_suffix("")] == 1 else p for p in places]
        ids += [(part.name / name if len(parts) > 1 else name).as_posix() for name in names]
    candidates = [
        (image, functools.partial(build, label, image, name))
        for (label, image), name in zip(rows, numbered(ids), strict=True)
    ]
    name = f"folders:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, remarks)
