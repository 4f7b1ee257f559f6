"""FiftyOne's detection exports (FiftyOneImageDetectionDataset), read without FiftyOne.

``labels.json`` is ``{"classes": [name, ...] or null, "labels": {image id: [{"label": index or name,
"bounding_box": [left, top, width, height], "attributes": {...}}, ...] or null}}`` with boxes in
fractions of the image; the image of an id is ``data/<id>`` with any suffix. Layouts that are found
by themselves:

- ``labels.json`` with ``data/`` (no split);
- ``<split>/labels.json`` with ``<split>/data/``;
- ``labels/<split>/labels.json`` (the TensorFlow 2 post), ``labels/<split>.json`` or
  ``images/<split>/labels.json``, with ``images/<split>/``.
"""

import collections
import functools
import os
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats import values
from yolov1.data.formats.paths import numbered
from yolov1.data.formats.split_names import spellings
from yolov1.data.formats.walk import images_in, is_image
from yolov1.names import distinct

PLACES = (
    "{split}/labels.json",
    "labels/{split}/labels.json",
    "labels/{split}.json",
    "images/{split}/labels.json",
)
# Attributes with which a box is not trained on and does not count: VOC's and COCO's. Open Images'
# IsGroupOf is none of them: the published system trains on groups.
DIFFICULT = ("difficult", "iscrowd")


def read_labels(file):
    """Reads a labels file; its entries are not checked yet.

    Returns:
        (tuple of class names, or None where labels are names; {image id: entries or None}).

    Raises:
        ValueError: not a labels file, or two classes of one name.
    """
    try:
        content = values.read_json(file)
        listed, labels = content["classes"], content["labels"]
        if not (listed is None or _is_list_of(listed, str)):
            raise TypeError(f"classes must be a list of names or null, got {listed!r}")
        if not isinstance(labels, dict):
            raise TypeError(f"labels must be an object, got {labels!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"fiftyone:{file} is not the labels file of a FiftyOneImageDetectionDataset "
            f"(classes and labels): {type(error).__name__} {error}"
        ) from None
    if listed is None:
        return None, labels
    if len(set(listed)) != len(listed):
        raise ValueError(f"fiftyone:{file}: two classes have one name: {', '.join(listed)}")
    return distinct(listed, f"fiftyone:{file}: classes"), labels


def _is_list_of(value, *types):
    return isinstance(value, list) and all(type(v) in types for v in value)  # True is no number


def names_in(labels) -> set[str]:
    """The class names that occur in the labels of all images."""
    entries = (e for found in labels.values() if isinstance(found, list) for e in found)
    names = (entry.get("label") for entry in entries if isinstance(entry, dict))
    return {name for name in names if isinstance(name, str)}


def parse_entries(entries, listed) -> Annotation:
    """The boxes of one image; null (an image that nobody labelled) is an image without objects.

    Args:
        entries: the list of an image in a labels file, or None.
        listed: the file's classes, or None where labels are names.

    Raises:
        BadExampleError: an entry without a known label and four finite fractions.
    """
    if entries is not None and not isinstance(entries, list):
        raise BadExampleError(f"the labels must be a list or null, got {entries!r}")
    corners, names, difficult = [], [], []
    for k, entry in enumerate(entries or ()):
        what = f"object {k + 1}"
        if not isinstance(entry, dict):
            raise BadExampleError(f"{what} must have a label and a bounding_box, got {entry!r}")
        names.append(_name(entry.get("label"), listed, what))
        box = entry.get("bounding_box")
        if not isinstance(box, list) or len(box) != 4:
            raise BadExampleError(f"{what}: bounding_box must be 4 numbers, got {box!r}")
        box = [values.number(v, f"{what}: bounding_box", "4 numbers") for v in box]
        if max(map(abs, box)) > 2:
            raise BadExampleError(
                f"{what}: bounding_box must be fractions of the image, not pixels; got {box}"
            )
        left, top, width, height = box
        corners.append((left, top, left + width, top + height))
        attributes = entry.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise BadExampleError(f"{what}: attributes must be an object, got {attributes!r}")
        flags = [values.flag(_value(attributes.get(n)), f"{what}: {n}") for n in DIFFICULT]
        difficult.append(any(flags))
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    return Annotation(boxes, names, difficult, (1, 1))


def _value(attribute):
    """Older exports have ``{"value": ...}`` in the place of a plain value."""
    return attribute.get("value") if isinstance(attribute, dict) else attribute


def _name(label, listed, what):
    if isinstance(label, str) and (listed is None or label in listed):
        return label
    if listed is None:
        raise BadExampleError(f"{what}: classes is null, so a label must be a name; got {label!r}")
    try:
        index = values.whole(label, what)
    except BadExampleError:
        index = -1
    if index in range(len(listed)):
        return listed[index]
    raise BadExampleError(
        f"{what} has the unknown label {label!r}; expected an index below {len(listed)} or one of "
        f"{', '.join(listed)}"
    )


def _label_files(path, split):
    """The labels files of a split, or every one."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"fiftyone:{path} does not exist.")
    whole = path / "labels.json"
    if split is None:
        if whole.is_file():
            return [whole]
        files = _split_files(path)
        if not files:
            looked = ", ".join([str(whole), *(str(path / p.format(split="*")) for p in PLACES)])
            raise FileNotFoundError(f"fiftyone:{path}: no labels file; looked for {looked}.")
        return files
    files = []
    for part in split.split("+"):
        names = spellings(part)
        places = [path / place.format(split=name) for name in names for place in PLACES]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            has_whole = f" {whole} is not split: leave the split out." if whole.is_file() else ""
            raise FileNotFoundError(
                f"fiftyone:{path}: no split {part!r}; looked for {', '.join(map(str, places))}."
                + has_whole
            )
        files.append(found)
    return list(dict.fromkeys(files))


def _split_files(path):
    files = [file for place in PLACES for file in sorted(path.glob(place.format(split="*")))]
    return list(dict.fromkeys(files))


def _image_folder(file):
    """Where the images of a labels file are: the first of the known places that exists."""
    above = file.parent.parent
    places = (
        file.parent / "data",
        above.parent / "images" / file.parent.name,  # labels/<split>/labels.json
        above / "images" / file.stem,  # labels/<split>.json
    )
    return next((place for place in places if place.is_dir()), file.parent)


def _own_classes(path, parsed):
    """(names, remarks): those that the files list, of all splits; else those that occur, sorted."""
    remarks = []
    if path.is_dir():  # the split may lack a class that another has
        for file in _label_files(path, None):
            if file not in [one[0] for one in parsed]:
                try:
                    parsed = [*parsed, (file, *read_labels(file))]
                except ValueError as error:
                    remarks.append((str(file), f"not read: {error}"))
    parsed = sorted(parsed, key=lambda one: one[0])  # whichever split is opened
    listed = list(dict.fromkeys(names for _, names, _ in parsed if names is not None))
    own = list(dict.fromkeys(name for names in listed for name in names))
    if len(listed) > 1:
        remarks.append(
            (str(path), f"the files list different classes; all count: {', '.join(own)}")
        )
    if len(listed) == 0 or any(names is None for _, names, _ in parsed):
        found = set().union(*(names_in(labels) for _, names, labels in parsed if names is None))
        own += sorted(found - set(own))
    if not own:
        raise ValueError(
            f"fiftyone:{path}: classes is null and no image has an object, so there are no "
            "class names. Export with classes=[...]."
        )
    return tuple(own), remarks


def open_fiftyone(path, split, choose_classes, bad_examples, verify=True):
    """Opens an export; see `yolov1.data.open`.

    An image that the labels file does not list is left out, with a note: it may hold objects. So is
    the second image of one id.
    """
    path = Path(path)
    parsed = [(file, *read_labels(file)) for file in _label_files(path, split)]
    own, notes = _own_classes(path, parsed)
    if split is None and path.is_dir():
        why = f"not read: {parsed[0][0].name} above it is the whole data set"
        opened = [file for file, _, _ in parsed]
        notes += [(str(file), why) for file in _split_files(path) if file not in opened]
    classes = choose_classes(own)
    uses = collections.Counter(key for _, _, labels in parsed for key in labels)

    def build(folder, image, key, listed, entries, name):
        if image is None or not image.is_file():
            where = "" if Path(key).is_absolute() else f"; looked in {folder}"
            raise BadExampleError(f"the image {key} is missing{where}")
        annotation = parse_entries(entries, listed)
        return make_example(name, image, annotation, own, classes, verify)

    rows, ids = [], []
    for file, listed, labels in parsed:
        folder = _image_folder(file)
        images, remarks = images_in(folder)
        notes += [(name, why) for name, why in remarks if Path(name) != file]
        absolute = {os.path.realpath(key) for key in labels if Path(key).is_absolute()}
        there = {}
        for image in images:
            key = image.relative_to(folder).with_suffix("").as_posix()
            if os.path.realpath(image) not in absolute and there.setdefault(key, image) != image:
                notes.append((str(image), f"left out: it has the id of another, {there[key].name}"))
        for key, entries in labels.items():
            # FiftyOne writes whole paths where it was told to.
            image = Path(key) if Path(key).is_absolute() else there.pop(_key(key, there), None)
            rows.append((file, folder, image, key, listed, entries))
            name = Path(key).stem if Path(key).is_absolute() else _without_suffix(key)
            ids.append(name if uses[key] == 1 else f"{file.parent.name}/{file.stem}/{name}")
        why = f"{file.name} does not list it; it is left out"
        notes += [(str(image), why) for image in there.values()]
    candidates = [
        (f"{file}: {row[2]}", functools.partial(build, *row, name))
        for (file, *row), name in zip(rows, numbered(ids), strict=True)
    ]
    name = f"fiftyone:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, notes)


def _key(key, there):
    """The id as one of the images there: as it is, with the slashes of Windows, or a suffix."""
    turned = key.replace("\\", "/")
    tries = (key, turned, _without_suffix(turned))
    return next((one for one in tries if one in there), key)


def _without_suffix(key):
    return str(Path(key).with_suffix("")) if is_image(key) else key
