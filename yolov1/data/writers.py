"""Any data set -> files: a FiftyOne export, or YOLO text labels.

Images keep their bytes: they become hard links where the file system has them, else copies. Drawn
images become PNG. A file takes its place only once it is whole, and the file that makes the folder
a data set (``labels.json``, ``classes.txt``) comes last.
"""

import json
import os
import shutil
from pathlib import Path

from PIL import Image

from yolov1.data.images import SUFFIXES
from yolov1.data.yolo_txt import images_in
from yolov1.files import replacing


def write_fiftyone(dataset, folder, *, link=True):
    """Writes ``data/`` and ``labels.json`` with classes and class indices; see `fiftyone_json`.

    A difficult box has the attribute ``difficult``. A ``/`` in an image id becomes ``_``.

    Args:
        dataset: `Dataset`.
        folder: made where it does not exist; files of the same names are replaced.
        link: hard links instead of copies, where that is possible.

    Raises:
        ValueError: two images have one id.
    """
    folder = Path(folder)
    labels = {}
    for name, example in zip(_names(dataset, "write_fiftyone"), dataset, strict=True):
        _place_image(example, folder / "data" / name, link)
        labels[Path(name).stem] = entries = []
        rows = zip(example.boxes_cxcywh, example.labels, example.difficult, strict=True)
        for box, label, difficult in rows:
            cx, cy, w, h = box.tolist()
            entry = {"label": int(label), "bounding_box": [cx - w / 2, cy - h / 2, w, h]}
            entries.append(entry | ({"attributes": {"difficult": True}} if difficult else {}))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"classes": list(dataset.classes), "labels": labels}
    with replacing(folder / "labels.json") as file:
        json.dump(content, file)


def write_yolo(dataset, folder, split, *, difficult=False, link=True):
    """Writes ``images/<split>``, ``labels/<split>`` (``label cx cy w h``) and ``classes.txt``.

    Call it once for each split. An image without objects gets an empty file. A ``/`` in an image id
    becomes ``_``.

    Args:
        dataset: `Dataset`.
        folder: made where it does not exist; files of the same names are replaced.
        split: name of the split: ``train``.
        difficult: write the boxes marked difficult too, which the format cannot mark. Like
            Darknet's converter, training here leaves them out.
        link: hard links instead of copies, where that is possible.

    Raises:
        ValueError: two images have one id, or the folder's ``classes.txt`` has other classes.
        FileExistsError: the split has other images, or label files of others.
    """
    folder = Path(folder)
    names = require_own_split(dataset, folder, split)
    labels = folder / "labels" / split
    labels.mkdir(parents=True, exist_ok=True)
    for name, example in zip(names, dataset, strict=True):
        lines = [
            f"{label} {cx:.9g} {cy:.9g} {w:.9g} {h:.9g}\n"  # nine digits give float32 back
            for label, (cx, cy, w, h), hard in zip(
                example.labels, example.boxes_cxcywh, example.difficult, strict=True
            )
            if difficult or not hard
        ]
        _place_image(example, folder / "images" / split / name, link)
        with replacing(labels / f"{Path(name).stem}.txt") as file:
            file.writelines(lines)
    with replacing(folder / "classes.txt") as file:
        file.write(_class_lines(dataset))


def require_own_split(dataset, folder, split):
    """The file names of the images, or the errors of `write_yolo`, before anything is written."""
    folder = Path(folder)
    names = _names(dataset, "write_yolo")
    classes = folder / "classes.txt"
    if classes.is_file() and classes.read_text(encoding="utf-8") != _class_lines(dataset):
        raise ValueError(
            f"write_yolo: {classes} has other classes than {', '.join(dataset.classes)}; all "
            "splits of a folder share one list. Open them together, or take another folder."
        )
    labels, images = folder / "labels" / split, folder / "images" / split
    others = {file.stem for file in labels.glob("*.txt")} - {Path(name).stem for name in names}
    if others:
        raise FileExistsError(
            f"write_yolo: {labels} has {len(others)} label files of other images "
            f"({min(others)}.txt). Remove {labels} and {images}, or take another folder."
        )
    others = {str(file.relative_to(images)) for file in images_in(images)} - set(names)
    if others:  # as where an export is converted in its own folder, and not all of it is usable
        raise FileExistsError(
            f"write_yolo: {images} has {len(others)} image(s) besides those to write "
            f"({min(others)}), which would have no label file. Take another folder (--root)."
        )
    return names


def _class_lines(dataset):
    return "".join(f"{name}\n" for name in dataset.classes)


def _names(dataset, op):
    """File names of the images, different also without their suffixes."""
    names = []
    for example in dataset:
        suffix = ".png" if example.path is None else example.path.suffix
        if suffix.lower() not in SUFFIXES:  # the content decides; the suffix makes it findable
            suffix = ".jpg" if example.jpeg else ".png"
        names.append(example.image_id.replace("/", "_").replace("\\", "_") + suffix)
    stems = [Path(name).stem for name in names]
    if len(set(stems)) != len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ValueError(f"{op}: two images have the id {twice!r}; ids become file names.")
    return names


def _place_image(example, target, link):
    target.parent.mkdir(parents=True, exist_ok=True)
    if example.path is not None and target.exists() and target.samefile(example.path):
        return
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    if example.path is None:
        Image.fromarray(example.draw()).save(partial, format="PNG")
    elif not (link and _linked(example.path, partial)):
        shutil.copyfile(example.path, partial)
    os.replace(partial, target)


def _linked(source, target):
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system, or one without links
        return False
    return True
