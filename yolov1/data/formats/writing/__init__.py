"""One writer a format: ``write(splits, folder, options)``, and `write`, which takes any of them.

What they take are data sets, of labels or of what a detector found (then examples have scores).
Each module says how it counts coordinates. Formats of data sets (`DATA_SETS`) hold images of their
own, and boxes count on the pixels as they are stored, as the readers take them. The others
(`TOOLS`) are what programs for labelling read: those show a photo upright as its EXIF orientation
says, and so its boxes are turned.
"""

import os
from pathlib import Path

from yolov1.data.example import Dataset
from yolov1.data.formats.writing import (
    coco,
    csv,
    cvat,
    fiftyone,
    label_studio,
    labelled,
    labelme,
    records,
    voc,
    yolo,
)
from yolov1.data.formats.writing.image_files import distinct_ids
from yolov1.data.formats.writing.labelled import Options
from yolov1.files import safe_name
from yolov1.names import require_writable

DATA_SETS = {"coco": coco, "voc": voc, "yolo": yolo, "records": records, "fiftyone": fiftyone}
TOOLS = {"csv": csv, "labelme": labelme, "label_studio": label_studio, "cvat": cvat}
WRITERS = DATA_SETS | TOOLS


def write(spec, dataset, **options) -> list[tuple[str, str]]:
    """Writes a data set in a format: ``data.write("voc:PATH", dataset)``.

    Images are linked where the file system can; the text files that are written take little room.

    Args:
        spec: ``KIND:FOLDER``, a kind of `WRITERS`; the folder must be empty, or not exist yet.
        dataset: `Dataset`, or {name of a split: `Dataset`}, all of the same classes.
        options: fields of `labelled.Options`.

    Returns:
        (file, remark) of what the format cannot hold, or was changed.

    Raises:
        FileExistsError: the folder has something in it.
        ValueError: an unknown kind, names of classes that cannot be written, different classes, a
            split without images or whose name is none of a file, or two images of one id in one.
    """
    kind, _, place = str(spec).partition(":")
    if kind not in WRITERS or not place:
        raise ValueError(
            f"data.write: spec must be KIND:FOLDER with a kind of {', '.join(WRITERS)}; got "
            f"{spec!r}."
        )
    splits = dataset if isinstance(dataset, dict) else {None: dataset}
    classes = {tuple(one.classes) for one in splits.values()}
    if len(classes) != 1:
        raise ValueError(
            f"data.write: the splits must have the same classes; got {len(classes)} lists of them."
        )
    require_writable(next(iter(classes)), f"data.write to {kind}")
    for split, one in splits.items():
        _require_split(split, one)
        distinct_ids(one, f"data.write to {kind}")
    folder, options = Path(os.path.expanduser(place)), Options(**options)
    require_empty(folder)
    remarks = []
    if options.upright and kind in DATA_SETS:
        remarks = labelled.turned(splits, "an upright PNG is written in its place")
        splits = {
            split: Dataset(map(labelled.upright, one), one.classes, name=one.name)
            for split, one in splits.items()
        }
    return [*remarks, *WRITERS[kind].write(splits, folder, options)]


def _require_split(split, dataset):
    """Raises ValueError for what would lie elsewhere, or what no reader takes."""
    if split is not None and safe_name(split) != split:
        raise ValueError(
            f"data.write: a split's name becomes that of a file, got {split!r}. Give it another, "
            f"such as {safe_name(split)!r}."
        )
    if not len(dataset):
        raise ValueError(f"data.write: {split or dataset.name} has no image, expected some.")


def require_empty(folder):
    """Raises FileExistsError where writing could mix two data sets, or replace somebody's work."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        what = "is not empty" if folder.is_dir() else "is a file"
        raise FileExistsError(f"{folder} {what}. Remove it, or write into another folder.")
