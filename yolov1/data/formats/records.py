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
import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from yolov1.data import images
from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats.label_map import LABEL_MAP, ClassNames, label_map_text
from yolov1.data.formats.paths import locate, numbered
from yolov1.data.formats.record_content import CORNERS
from yolov1.data.formats.record_index import read_index, scan, write_index
from yolov1.data.formats.walk import files_in, is_image, left_out
from yolov1.data.formats.yolo import ALIASES
from yolov1.files import read_text

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
        words = ALIASES.get(part, (part,))
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


def write_records(dataset, path, shards=1) -> list[Path]:
    """Writes a data set with its boxes as TFRecord files; beside them a label map and indexes.

    An image that is a file goes in as it is; a drawn one as PNG, so that no pixel changes. With its
    index a file need not be read to be opened, see `index_records`.

    Args:
        dataset: sequence of `Example` with `.classes`.
        path: the record file, as in ``records/train.tfrecord``.
        shards: into how many files the data set is cut, in order; with more than one they are
            ``records/train-00000-of-00004.tfrecord`` and so on.

    Returns:
        The files.

    Raises:
        FileExistsError: such files are there, or a label map of other classes.
        ValueError: more shards than images, or fewer than one.
    """
    import tensorflow as tf

    path = Path(path)
    if not 1 <= shards <= len(dataset):
        raise ValueError(
            f"write_records: shards must be from 1 to the number of images ({len(dataset)}), got "
            f"{shards}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    there = [path] if path.exists() else sorted(path.parent.glob(f"{path.stem}-*-of-*"))
    if there:
        raise FileExistsError(f"write_records: {there[0]} exists; remove it or write elsewhere.")
    label_map, text = path.parent / LABEL_MAP, label_map_text(dataset.classes)
    if label_map.exists() and read_text(label_map) != text:
        raise FileExistsError(
            f"write_records: {label_map} is of other classes than {', '.join(dataset.classes)}; "
            "write into another folder."
        )
    label_map.write_text(text, encoding="utf-8")
    files = [path]
    if shards > 1:
        names = [f"{path.stem}-{k:05d}-of-{shards:05d}{path.suffix}" for k in range(shards)]
        files = [path.with_name(name) for name in names]
    # They get their names once all are whole: a writer that was stopped leaves no data set.
    partial = [file.with_name(f".{file.name}.partial") for file in files]
    for k, file in enumerate(partial):
        first, last = (len(dataset) * j // shards for j in (k, k + 1))
        with tf.io.TFRecordWriter(str(file)) as writer:
            for index in range(first, last):
                writer.write(_serialized(dataset[index], dataset.classes))
    for written, file in zip(partial, files, strict=True):
        write_index(written, file)
        os.replace(written, file)
    return files


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


def _serialized(example, classes) -> bytes:
    from tensorflow import train

    encoded = example.encoded
    if encoded is None:
        file = io.BytesIO()
        Image.fromarray(example.image).save(file, "PNG")
        encoded = file.getvalue()
    with Image.open(io.BytesIO(encoded)) as image:
        kind = image.format.lower()
    height, width = example.size
    low = example.boxes_cxcywh[:, :2] - example.boxes_cxcywh[:, 2:] / 2
    corners = np.concatenate([low, low + example.boxes_cxcywh[:, 2:]], axis=1)
    suffix = example.path.suffix if example.path else f".{kind}"
    suffix = suffix if example.path or suffix in images.SUFFIXES else ".png"
    texts = {
        "encoded": [encoded],
        "format": [kind.encode()],
        # Names of files that are no UTF-8 come as lone surrogates, which no record may hold.
        "filename": [f"{example.image_id}{suffix}".encode(errors="backslashreplace")],
        "source_id": [example.image_id.encode(errors="backslashreplace")],
        "object/class/text": [classes[k].encode() for k in example.labels],
    }
    numbers = {
        "height": [height],
        "width": [width],
        "object/class/label": [int(k) + 1 for k in example.labels],
        "object/difficult": [int(flag) for flag in example.difficult],
    }
    fractions = {f"object/bbox/{n}": c.tolist() for n, c in zip(CORNERS, corners.T, strict=True)}
    feature = {
        **{k: train.Feature(bytes_list=train.BytesList(value=v)) for k, v in texts.items()},
        **{k: train.Feature(int64_list=train.Int64List(value=v)) for k, v in numbers.items()},
        **{k: train.Feature(float_list=train.FloatList(value=v)) for k, v in fractions.items()},
    }
    features = train.Features(feature={f"image/{name}": value for name, value in feature.items()})
    return train.Example(features=features).SerializeToString()
