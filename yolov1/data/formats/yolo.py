"""YOLO text labels: one file per image with lines ``class cx cy w h`` in fractions of the image.

Layouts that are found by themselves, with the classes in ``classes.txt``, ``*.names`` or a YAML:

- a Darknet ``*.data`` file (names, train, valid: lists of image paths);
- a ``data.yaml`` (path, names, train, val, test: folders or lists);
- ``train.txt``, ``val.txt``: lists of image paths;
- ``images/train`` with ``labels/train``, or ``train/images`` with ``train/labels``;
- ``images`` with ``labels``, or images and labels side by side (one split only).

A label file lies beside its image, or where "labels" stands for "images" in its path.
"""

import functools
import os
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats.image_files import file_names, place_image
from yolov1.data.images import SUFFIXES
from yolov1.files import read_names, replacing

ALIASES = {"val": ("val", "valid", "validation"), "valid": ("valid", "val")}


def parse_labels(text, classes) -> Annotation:
    """Reads the text of a label file; an empty one is an image without objects.

    Raises:
        BadExampleError: a line that is not ``class cx cy w h``.
    """
    boxes, names = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            label, cx, cy, w, h = (float(word) for word in words)
        except ValueError:
            raise BadExampleError(
                f"line {number} must be 'class cx cy w h' (five numbers), got {line.strip()!r}"
            ) from None
        if label not in range(len(classes)):
            raise BadExampleError(
                f"line {number}: unknown class {words[0]}; expected an index below {len(classes)}"
            )
        if max(abs(cx), abs(cy), abs(w), abs(h)) > 2:
            raise BadExampleError(
                f"line {number}: coordinates must be fractions of the image, not pixels; got "
                f"{line.strip()!r}"
            )
        boxes.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
        names.append(classes[int(label)])
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    return Annotation(boxes, names, [False] * len(names), (1, 1))


def parse_settings(text) -> dict:
    """The few lines of a ``*.data`` or ``data.yaml`` that matter, without a YAML library.

    Understands ``key = value``, ``key: value``, ``key: [a, b]``, ``key: {0: a, 1: b}``, and the
    list or mapping on the lines that follow a bare ``key:``.
    """
    settings, key = {}, None
    for line in text.splitlines():
        line = line.split(" #")[0].rstrip()
        if not line.strip() or line.startswith("#"):
            continue
        entry = line.strip()
        if key is not None and (line[0].isspace() or entry.startswith("- ")):
            item = entry[2:] if entry.startswith("- ") else entry.partition(":")[2]
            settings[key].append(_unquoted(item))
            continue
        mark = min((m for m in "=:" if m in entry), key=entry.index, default=None)
        if mark is None:
            continue
        name, _, value = (part.strip() for part in entry.partition(mark))
        key = None
        if value[:1] in ("[", "{"):
            items = [item for item in value[1:-1].split(",") if item.strip()]
            mapping = value[0] == "{"
            settings[name] = [_unquoted(i.partition(":")[2] if mapping else i) for i in items]
        elif value:
            settings[name] = _unquoted(value)
        else:
            key, settings[name] = name, []
    return settings


def _unquoted(text):
    return text.strip().strip("'\"")


def _resolve(base, text):
    """A path from a list file. Such lists are written for another folder: leading parts may go."""
    path = Path(text.replace("\\", "/"))
    if path.is_absolute():
        tries = [path]
    else:
        tries = [base / path, base.parent / path]
    tries += [base.joinpath(*path.parts[k:]) for k in range(1, len(path.parts))]
    return next((p for p in tries if p.exists()), tries[0])


def _settings(path):
    """(folder, settings) of a data set: the file given, or the one found in the folder."""
    if path.is_file():
        return path.parent, parse_settings(path.read_text())
    if not path.is_dir():
        raise FileNotFoundError(f"yolo:{path} does not exist.")
    for pattern in ("*.data", "data.yaml", "dataset.yaml", "*.yaml", "*.yml"):
        for file in sorted(path.glob(pattern)):
            settings = parse_settings(file.read_text())
            if "names" in settings:
                return path, settings
    return path, {}


def _own_classes(base, settings):
    names = settings.get("names")
    if isinstance(names, list):
        return tuple(names)
    files = [_resolve(base, names)] if names else []
    for folder in (base, base / "labels"):
        files += [folder / "classes.txt", *sorted(folder.glob("*.names"))]
    for file in files:
        if file.is_file():
            return read_names(file)
    raise FileNotFoundError(
        f"yolo:{base}: no class names. Write one name per line into {base / 'classes.txt'}."
    )


def images_in(folder):
    found = (Path(top) / f for top, _, files in os.walk(folder) for f in files)
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES)


def _images(base, settings, split):
    """Image paths of a split, or every image."""
    if split is None:
        return images_in(base / "images" if (base / "images").is_dir() else base)
    images = {}
    for part in split.split("+"):
        names = ALIASES.get(part, (part,))
        stated = [settings[n] for n in names if settings.get(n)]
        stated = stated[0] if stated and isinstance(stated[0], list) else stated[:1]
        root = _resolve(base, settings["path"]) if settings.get("path") else base
        places = [_resolve(root, text) for text in stated]
        for n in names:
            places += [base / f"{n}.txt", base / "images" / n, base / n / "images", base / n]
        place = next((p for p in places if p.exists()), None)
        if place is None:
            raise FileNotFoundError(
                f"yolo:{base}: no split {part!r}; looked for {', '.join(map(str, places))}."
            )
        if place.is_dir():
            found = images_in(place)
        else:
            lines = (line.strip() for line in place.read_text().splitlines())
            found = [_resolve(base, line) for line in lines if line]
        images.update(dict.fromkeys(found))
    return list(images)


def _label_path(image):
    parts = list(image.parts)
    tries = [image.with_suffix(".txt")]
    for k in reversed(range(len(parts) - 1)):
        if parts[k] in ("images", "JPEGImages"):
            moved = Path(*parts[:k], "labels", *parts[k + 1 :])
            tries.insert(0, moved.with_suffix(".txt"))
    return next((p for p in tries if p.is_file()), tries[0])


def open_yolo(path, split, choose_classes, bad_examples, verify=True):
    """Opens YOLO labels; see `yolov1.data.open`."""
    base, settings = _settings(Path(path))
    own = _own_classes(base, settings)
    classes = choose_classes(own)

    def build(image):
        file = _label_path(image)
        try:
            annotation = parse_labels(file.read_text(), own)
        except FileNotFoundError:
            raise BadExampleError(
                f"the label file {file} is missing; write an empty one for an image without objects"
            ) from None
        except UnicodeDecodeError:
            raise BadExampleError(f"the label file {file} is not text") from None
        except BadExampleError as error:
            raise BadExampleError(f"{file}: {error}") from None
        return make_example(image.stem, image, annotation, own, classes, verify)

    candidates = [
        (image, functools.partial(build, image)) for image in _images(base, settings, split)
    ]
    name = f"yolo:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples)


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
        place_image(example, folder / "images" / split / name, link)
        with replacing(labels / f"{Path(name).stem}.txt") as file:
            file.writelines(lines)
    with replacing(folder / "classes.txt") as file:
        file.write(_class_lines(dataset))


def require_own_split(dataset, folder, split):
    """The file names of the images, or the errors of `write_yolo`, before anything is written."""
    folder = Path(folder)
    names = file_names(dataset, "write_yolo")
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
