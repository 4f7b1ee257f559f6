"""YOLO text labels: one file per image with lines ``class cx cy w h`` in fractions of the image.

Layouts that are found by themselves, with the classes in ``classes.txt``, ``*.names`` or a YAML:

- a Darknet ``*.data`` file (names, train, valid: lists of image paths);
- a ``data.yaml`` (path, names, train, val, test: folders or lists, one or several);
- ``train.txt``, ``val.txt``: lists of image paths;
- ``images/train`` with ``labels/train``, or ``train/images`` with ``train/labels``;
- ``images`` with ``labels``, or images and labels side by side (one split only).

A label file lies beside its image, or where "labels" stands for "images" in its path. A line that
is repeated in a list counts again, as Darknet's users weigh rare images.
"""

import collections
import functools
import os
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats import split_names
from yolov1.data.formats.paths import is_there, locate, repeats, spellings, unique_ids
from yolov1.data.formats.walk import files_in, images_in, is_image
from yolov1.data.formats.yolo_settings import SPLITS, Settings
from yolov1.files import read_lines, read_text
from yolov1.names import agreed, read_names

IMAGE_FOLDERS = ("images", "JPEGImages")
SETTINGS = ("*.data", "data.yaml", "dataset.yaml", "*.yaml", "*.yml")
LAYOUTS = ("{}.txt", "images/{}", "{}/images", "{}")  # of a split, by its name


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


def _settings(path):
    """(folder, its `Settings` or None, remarks on others): the file given, or one in the folder."""
    if path.is_file():
        return path.parent, Settings(path), []
    if not path.is_dir():
        raise FileNotFoundError(f"yolo:{path} does not exist.")
    found, remarks = None, []
    for file in dict.fromkeys(file for pattern in SETTINGS for file in sorted(path.glob(pattern))):
        if found is not None:
            remarks.append((str(file), f"not read: {found.file.name} describes the data set"))
            continue
        try:
            settings = Settings(file)
        except ValueError as error:
            if file.name in SETTINGS or file.suffix == ".data":
                raise
            remarks.append((str(file), f"not read: {error}"))  # perhaps of another program
            continue
        found = settings if settings.names is not None or settings.splits() else None
    return path, found, remarks


def _own_classes(base):
    files = []
    for folder in (base, base / "labels"):
        files += [folder / "classes.txt", *sorted(folder.glob("*.names"))]
    names = agreed(files)
    if names is None:
        raise FileNotFoundError(
            f"yolo:{base}: no class names. Write one name per line into {base / 'classes.txt'}."
        )
    return names


def _other_names(base, own, labels):
    """Remarks on names files that say something else than what counts.

    Raises:
        ValueError: one lies among the labels that are read, as labelImg writes it, which then count
            by that one.
    """
    remarks = []
    for folder in sorted({base, *(file.parent for file in labels)}):
        file = folder / "classes.txt"
        names = read_names(file) if file.is_file() else own
        if names == own:
            continue
        said = f"it says {', '.join(names)}; the names of the data set are {', '.join(own)}"
        if folder != base:
            raise ValueError(
                f"yolo:{file}: {said}. The labels beside it may count by either: correct them, or "
                "remove the file."
            )
        remarks.append((str(file), f"not read: {said}"))
    return remarks


def _images(base, settings, split, whole):
    """(images of a split, or of all there is; remarks).

    `whole` says whether all that lies in `base` is the data set's.
    """
    if split is None:
        return _everything(base, settings, whole)
    images, remarks = [], []
    for part in split.split("+"):
        found, more = _of_split(base, settings, part)
        # One image of two splits counts once; a line that repeats counts again.
        known = set(map(os.path.realpath, images))
        images += [image for image in found if os.path.realpath(image) not in known]
        remarks += more
    return images, remarks


def _everything(base, settings, whole):
    splits = settings.splits() if settings else []
    if splits:
        images, remarks = _images(base, settings, "+".join(splits), whole)
        why = f"it is in none of the splits of {settings.file.name}; it is left out"
    else:
        inside = base / "images" if (base / "images").is_dir() else base
        images, remarks = images_in(inside)
        why = f"it does not lie in {inside}; it is left out"
        for file in (base / f"{name}.txt" for name in SPLITS):  # it may name images elsewhere
            found, more = _listed(file, base, settings)[:2] if file.is_file() else ([], [])
            known = set(map(os.path.realpath, images))
            images += [p for p in dict.fromkeys(found) if os.path.realpath(p) not in known]
            remarks += more
    if whole:
        taken = set(map(os.path.realpath, images))
        there, more = images_in(base)
        remarks += [(str(p), why) for p in there if os.path.realpath(p) not in taken]
        remarks += [*more, *_stray_labels(base, images)]
    return images, list(dict.fromkeys(remarks))


def _of_split(base, settings, part):
    names = split_names.spellings(part)
    stated = [n for n in names if settings and n in settings.splits()]
    if stated:
        places, remarks = settings.places(stated[0]), []
    else:
        tries = [base / pattern.format(n) for n in names for pattern in LAYOUTS]
        there = [p for p in tries if p.exists()]
        if not there:
            raise FileNotFoundError(
                f"yolo:{base}: no split {part!r}; looked for {', '.join(map(str, tries))}."
            )
        places = there[:1]
        others = [p for p in there[1:] if p not in there[0].parents]
        remarks = [(str(p), f"not read: the split {part!r} is {there[0]}") for p in others]
    images, known = [], set()
    for place in places:
        if place.is_dir():
            found, more = images_in(place)
            more += _stray_labels(_labels_of(place), found)
        elif is_image(place):
            found, more = [place], []
        else:
            found, moved, again = _listed(place, base, settings)
            more = moved + again
        images += [image for image in found if image not in known]
        known.update(found)
        remarks += more
    return images, remarks


def _listed(file, base, settings):
    """(images that a list names, remarks, remarks on repeated lines): its paths are relative to it,
    to ``path:``, or to the data set."""
    lines = [(k, line) for k, line in enumerate(read_lines(file), start=1) if line]
    anchors = [file.parent]
    anchors += [settings.root, *settings.anchors] if settings else [base, base.parent]
    found = locate([line for _, line in lines], anchors, files=True)
    images = [
        # "/" is no name of an image
        place or anchors[0] / (spellings(line)[-1] if line.strip("/\\") else "")
        for (_, line), place in zip(lines, found.places, strict=True)
    ]
    moved = [(str(file), found.remark())] if found.moved else []
    numbers = (number for number, _ in lines)
    return images, moved, repeats(file, zip(numbers, images, strict=True))


def _label_path(image):
    """Where the labels of an image are, or should be."""
    tries = [moved.with_suffix(".txt") for moved in _moved(image)]
    tries.append(image.with_suffix(".txt"))
    tries += [path.with_suffix(".TXT") for path in tries]
    return next((p for p in tries if is_there(p)), tries[0])


def _moved(path):
    """The path with "labels" in the place of "images", the last one first."""
    parts = path.parts
    for k in reversed(range(len(parts))):
        if parts[k] in IMAGE_FOLDERS:
            yield Path(*parts[:k], "labels", *parts[k + 1 :])


def _labels_of(folder):
    """The folder with the labels of a folder of images."""
    return next((moved for moved in _moved(folder) if moved.is_dir()), folder)


def _stray_labels(folder, images):
    """Remarks on label files below a folder that belong to none of the images."""
    used = {os.path.realpath(_label_path(image)) for image in images}
    files = [p for p in files_in(folder) if p.suffix.lower() == ".txt"]
    strays = (p for p in files if os.path.realpath(p) not in used and _are_labels(p))
    return [(str(p), "a label file without an image; it is left out") for p in strays]


def _are_labels(file):
    """Whether a text is no list of names or of images, and nobody's notes."""
    if file.name in ("classes.txt", *(f"{split}.txt" for split in SPLITS)):
        return False
    if "labels" in file.parts:
        return True
    try:
        words = read_text(file).split()
        return len(words) % 5 == 0 and all(map(np.isfinite, map(float, words)))
    except (OSError, ValueError):
        return False


def open_yolo(path, split, choose_classes, bad_examples, verify=True):
    """Opens YOLO labels; see `yolov1.data.open`."""
    base, settings, remarks = _settings(Path(path))
    own = settings.names if settings and settings.names is not None else _own_classes(base)
    classes = choose_classes(own)
    # A settings file may lie anywhere: what is around it belongs to it only where it says so.
    whole = not Path(path).is_file() or settings.says_root
    base = settings.root if settings else base
    images, more = _images(base, settings, split, whole)
    remarks += [*(settings.remarks if settings else ()), *more]

    label_of = {image: _label_path(image) for image in dict.fromkeys(images)}
    remarks += _other_names(base, own, label_of.values())
    users = collections.defaultdict(list)
    for image, file in label_of.items():
        users[file].append(image)

    def build(image, image_id):
        file = label_of[image]
        if not is_there(image):
            raise BadExampleError(f"the image {image} does not exist")
        if len(users[file]) > 1:
            raise BadExampleError(
                f"{' and '.join(p.name for p in users[file])} have one label file, {file}: there "
                "is no telling whose the boxes are"
            )
        try:
            annotation = parse_labels(read_text(file), own)
        except FileNotFoundError:
            raise BadExampleError(
                f"the label file {file} is missing; write an empty one for an image without objects"
            ) from None
        except BadExampleError as error:
            raise BadExampleError(f"{file}: {error}") from None
        return make_example(image_id, image, annotation, own, classes, verify)

    ids = unique_ids([os.path.abspath(image) for image in images])
    candidates = [
        (image, functools.partial(build, image, image_id))
        for image, image_id in zip(images, ids, strict=True)
    ]
    name = f"yolo:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, remarks)
