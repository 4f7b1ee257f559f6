"""TFRecord files of ``tf.train.Example``, with boxes or with one class for each image.

Features, by their usual names (M objects in an image):

- ``image/encoded``: the bytes of an image file. Where it is empty, the image that
  ``image/filename`` names must lie beside the record file or in ``images/`` there;
- boxes: ``image/object/bbox/{xmin,ymin,xmax,ymax}`` (fractions), ``image/object/class/text`` or
  ``.../class/label``, ``image/object/difficult`` and ``.../is_crowd`` where there are any, each M;
- or a class (ImageNet): ``image/class/label`` or ``image/class/text``. The whole image is one box
  of it, and the set trains a classifier as `yolov1.data.formats.folders` says.

Class names come from a ``label_map.pbtxt`` (or another ``*.pbtxt``) beside the files, or from
``classes.txt``, whose first line is label 1, as label maps count. Without either they are the texts
found in the files, sorted, or ``class 7`` where there are numbers only.
"""

import functools
import glob
import os
import re
from pathlib import Path

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats.label_map import ClassNames
from yolov1.data.formats.paths import locate, numbered
from yolov1.data.formats.record_index import read_index, scan, write_index
from yolov1.data.formats.split_names import spellings
from yolov1.data.formats.walk import files_in, is_image, left_out

RECORD_FILE = re.compile(r"\.(tf)?rec(ords?)?\b|-\d+-of-\d+", re.IGNORECASE)


def _files(pattern, split):
    """(files of the split, files of every split, remarks)."""
    path, remarks = Path(pattern), []
    if path.is_dir():
        # Those that `write_records` has not finished begin with a dot, and are not among them.
        there = [f for f in files_in(path) if not f.name.startswith(".")]
        every = [f for f in there if RECORD_FILE.search(f.name)]
        others = [f for f in there if f not in every and not is_image(f)]
        remarks = [(str(f), "not read: no record file by its name") for f, _ in left_out(others)]
    else:
        every = sorted(f for f in map(Path, glob.glob(str(pattern))) if f.is_file())
        every = [path] if path.is_file() else every
    if not every:
        raise FileNotFoundError(
            f"records:{pattern}: no record file; expected a file, a folder with *.tfrecord or "
            "NAME-00000-of-00010 in it, or a pattern such as 'data/train-*'."
        )
    files = []
    for part in split.split("+") if split else ():
        words = spellings(part)
        found = [f for f in every if set(words) & set(re.split(r"[^a-zA-Z0-9]+", _name(f, path)))]
        if not found:
            raise FileNotFoundError(
                f"records:{pattern}: no split {part!r} (a file with that word in its name); there "
                f"are: {', '.join(_name(f, path) for f in every[:10])}. Leave the split out to "
                "take all."
            )
        files += found
    return list(dict.fromkeys(files or every)), every, remarks


def _name(file, folder):
    """The words by which a file belongs to a split: its name, and its place in the folder given."""
    inside = folder.is_dir() and file.is_relative_to(folder)
    return str(file.relative_to(folder)) if inside else file.name


def _entries(file, remarks):
    """The records of a file: from its index, or else from the file."""
    entries, remark = read_index(file)
    if remark:
        remarks.append((str(file), remark))
    return scan(file) if entries is None else entries


def _image(entry):
    """Path of the image, or its `Place`."""
    if entry.place:
        return entry.place
    folder, filename = entry.frame.file.parent, entry.content.filename
    if filename:
        found = locate([filename], (folder, folder / "images"), files=True)
        if found.places[0] is not None and not found.moved:
            return found.places[0]
    raise BadExampleError(
        f"image/encoded is missing or empty, and the image {filename!r} lies neither in "
        f"{folder} nor in {folder / 'images'}"
    )


def _image_id(frame, content):
    path = Path(content.filename)
    name = path.with_suffix("") if is_image(path) else path
    return name.as_posix() if content.filename else f"{frame.file.stem}-{frame.number}"


def open_records(pattern, split, choose_classes, bad_examples, verify=True):
    """Opens TFRecord files; see `yolov1.data.open`.

    The bytes of an image are read and decoded when they are asked for. Of a set with one class for
    each image, `classes` leaves out the images of the other classes.
    """
    files, every, remarks = _files(pattern, split)
    of_indexes = []
    entries = [entry for file in files for entry in _entries(file, of_indexes)]
    name_of = ClassNames(every)
    if name_of.own is None:  # a split may lack a class that another has
        others = [e for file in every if file not in files for e in _entries(file, of_indexes)]
        contents = [entry.content for entry in [*entries, *others] if entry.content]
        name_of.learn({pair for c in contents for pair in zip(c.texts, c.labels, strict=True)})
    classes = choose_classes(name_of.own)
    remarks += [*name_of.remarks, *of_indexes]

    def build(entry):
        content = entry.content
        if content is None:
            raise BadExampleError(entry.error)
        names = [name_of(*pair) for pair in zip(content.texts, content.labels, strict=True)]
        if content.whole and names[0] in name_of.own and names[0] not in classes:
            return None
        annotation = Annotation(content.boxes_xyxy, names, content.difficult, (1, 1))
        image, image_id = _image(entry), _image_id(entry.frame, content)
        if entry.unreadable:
            raise BadExampleError(entry.unreadable)
        return make_example(
            image_id, image, annotation, name_of.own, classes, verify, header=entry.header
        )

    name = f"records:{pattern}" + (f" ({split})" if split else "")
    candidates = [(entry.frame, functools.partial(build, entry)) for entry in entries]
    dataset = collect(name, candidates, classes, bad_examples, remarks)
    # Shards may number their images each from 0: the second 0 becomes 0#2.
    ids = numbered([example.image_id for example in dataset.examples])
    for example, image_id in zip(dataset.examples, ids, strict=True):
        example.image_id = image_id
    return dataset


def index_records(pattern, split=None) -> list[Path]:
    """Writes an index beside each record file, so that opening need not read them.

    `write_records` does so itself. What `yolov1.data.open` gives is the same with an index and
    without; one that no longer fits its file is not used, and a note says so.

    Args:
        pattern: a file, a folder or a pattern, as after ``records:``.
        split: as of `yolov1.data.open`.

    Returns:
        The indexes.

    Raises:
        FileNotFoundError: no record file, or no such split.
        OSError: the folder cannot be written to.
    """
    pattern = os.path.expanduser(str(pattern).removeprefix("records:"))
    return [write_index(file) for file in _files(pattern, split)[0]]
