"""The splits that a data set has, by the files and folders of its kind."""

import os
import re
from pathlib import Path

from yolov1.data.formats import coco, fiftyone, folders, records, voc, voc_txt, yolo
from yolov1.data.formats.split_names import NAMES
from yolov1.data.formats.walk import folders_in


def splits(spec) -> list[str]:
    """The names of a data set's splits, in order; empty where it is all one.

    What is the union of others is none (VOC's ``trainval``), nor are VOC's lists of one class.

    Args:
        spec: as of `yolov1.data.open`.

    Raises:
        FileNotFoundError: the data set does not exist.
        ValueError: a file that describes it cannot be read.
    """
    kind, _, place = str(spec).partition(":")
    if kind not in _OF:
        return []
    path = Path(os.path.expanduser(place))
    if kind != "records" and not path.exists():  # those may be a pattern
        raise FileNotFoundError(f"{spec} does not exist.")
    found = _OF[kind](path)
    if {"train", "val"} <= set(found):
        found = [name for name in found if name != "trainval"]
    return sorted(set(found), key=lambda name: (_rank(name), name))


def _rank(name):
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _of_voc(path):
    there = [f for root in voc._roots(path)[0] for f in root.glob("ImageSets/Main/*.txt")]
    stems = {file.stem for file in there}
    return [one for one in stems if not any(one.endswith(f"_{other}") for other in stems)]


def _of_yolo(path):
    base, settings, _ = yolo._settings(path)
    stated = settings.splits() if settings else []
    if stated or path.is_file():
        return stated
    there = [name for name in NAMES for form in yolo.LAYOUTS if (base / form.format(name)).exists()]
    if (base / "images").is_dir() and set(there) & {p.name for p in folders_in(base / "images")}:
        there += [p.name for p in folders_in(base / "images")]  # beside known ones
    return there


def _of_coco(path):
    if path.is_file():
        return []
    every = coco._files(path, None)[1]
    tags = [
        f.parent.name if f.name == coco.ROBOFLOW else f.stem.removeprefix("instances_")
        for f in every
    ]
    short = [re.sub("(2014|2017)$", "", tag) for tag in tags]
    tags = short if len(set(short)) == len(set(tags)) else tags
    return tags if len(tags) > 1 or set(tags) & set(NAMES) else []


def _of_fiftyone(path):
    if path.is_file() or (path / "labels.json").is_file():
        return []
    files = fiftyone._split_files(path)
    return [f.parent.name if f.name == "labels.json" else f.stem for f in files]


def _of_records(path):
    every = records._files(path, None)[1]
    words = {w for f in every for w in re.split(r"[^a-zA-Z0-9]+", records._name(f, path))}
    return [name for name in NAMES if name in words]


def _of_voc_txt(path):
    return [] if path.is_file() else [file.stem for file in voc_txt._files(path, None)]


def _of_folders(path):
    every = folders._parts(path, None)[1]
    return [folder.name for folder in every if folder != path]


_OF = {
    "voc": _of_voc,
    "yolo": _of_yolo,
    "coco": _of_coco,
    "fiftyone": _of_fiftyone,
    "records": _of_records,
    "voc_txt": _of_voc_txt,
    "folders": _of_folders,
}
