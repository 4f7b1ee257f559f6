"""What the records of a file say besides their pixels, kept in a small file beside it.

Without one, every record is read and parsed when a data set is opened, and the header of every
image. The index of ``train.tfrecord`` is ``.train.tfrecord.index.npz`` there, an archive of NumPy
arrays: the dot in front keeps patterns such as ``train*`` from taking it for a record file.

It counts as long as the record file has the size and the time of change that it had, or, where it
was copied, the size and the check sum that a TFRecord has of each of its records.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolov1.data import images
from yolov1.data.example import BadExampleError
from yolov1.data.formats import tfrecord
from yolov1.data.formats.record_content import Content, parse_record
from yolov1.data.places import Place, read_places, stamp
from yolov1.files import replacing

VERSION = 1


class Entry(NamedTuple):
    """A record without the bytes of its image."""

    frame: tfrecord.Frame
    content: Content | None  # its `encoded` is empty
    error: str = ""  # why there is no content
    place: Place | None = None  # of the image; None where the record does not hold it
    header: images.Header | None = None  # of the image, where it was looked at
    unreadable: str = ""  # why it was looked at and has none


def scan(file) -> list[Entry]:
    """The records of a file, read and parsed; headers of images are not looked at."""
    return [_entry(frame) for frame in tfrecord.frames(file)]


def _entry(frame):
    if frame.error:
        return Entry(frame, None, frame.error)
    record = frame.read()
    try:
        content = parse_record(record)
    except BadExampleError as error:
        return Entry(frame, None, str(error))
    # The bytes lie in the record as they are: their place is enough to read them again.
    start, length = record.find(content.encoded), len(content.encoded)
    place = frame.part(start, length) if length else None
    return Entry(frame, content._replace(encoded=b""), place=place)


def _with_header(entry):
    if entry.place is None:
        return entry
    try:
        return entry._replace(header=images.read_header(read_places([entry.place])[0]))
    except (OSError, ValueError) as error:
        return entry._replace(unreadable=str(error))


def index_file(file) -> Path:
    return Path(file).with_name(f".{Path(file).name}.index.npz")


def write_index(file, name=None) -> Path:
    """Reads a record file and writes its index, under the name that the file will have.

    Raises:
        OSError: the folder cannot be written to.
    """
    size, time = stamp(file)
    entries = [_with_header(entry) for entry in scan(file)]
    contents = [e.content or Content("", b"", np.empty((0, 4)), [], [], [], False) for e in entries]
    labels = [label for content in contents for label in content.labels]
    places = [e.place or e.frame.part(0, 0) for e in entries]
    texts = {
        "errors": [e.error for e in entries],
        "unreadable": [e.unreadable for e in entries],
        "filenames": [content.filename for content in contents],
        "texts": [text for content in contents for text in content.texts],
    }
    columns = {
        "stamp": np.array([VERSION, size, time]),
        "frames": np.array([(e.frame.start, e.frame.length) for e in entries]).reshape(-1, 2),
        "sums": _check_sums([e.frame for e in entries]),
        "places": np.array([(p.start, p.length) for p in places]).reshape(-1, 2),
        "headers": np.array([_numbers(e.header) for e in entries]).reshape(-1, 5),
        "whole": np.array([content.whole for content in contents], bool),
        "objects": np.array([len(content.boxes_xyxy) for content in contents], np.int64),
        "boxes": np.concatenate([np.empty((0, 4)), *(c.boxes_xyxy for c in contents)]),
        "labels": np.array([label or 0 for label in labels], np.int64),
        "labelled": np.array([label is not None for label in labels], bool),
        "difficult": np.array([flag for c in contents for flag in c.difficult], bool),
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
    }
    target = index_file(name or file)
    with replacing(target, binary=True) as stream:
        np.savez_compressed(stream, **columns)
    return target


def _numbers(header):
    return (0,) * 5 if header is None else (*header.size, *header[1:])


def _check_sums(frames):
    """The check sums behind the records, as they stand in the file; 0 for one that is broken."""
    length = tfrecord.FOOTER_BYTES
    behind = [f.part(f.length, length if not f.error else 0) for f in frames]
    return np.array([int.from_bytes(c, "little") for c in read_places(behind)], np.uint32)


def read_index(file) -> tuple[list[Entry] | None, str]:
    """(the records of a file by its index, or None; why it is not used, empty where none is)."""
    path = index_file(file)
    if not path.is_file():
        return None, ""
    try:
        with np.load(path) as archive:
            columns = {name: archive[name] for name in archive.files}
        version, *expected = columns["stamp"].tolist()
        if version != VERSION:
            return None, _again(f"is of version {version}, not {VERSION}", file)
        entries = _entries(Path(file), columns)
        if not _is_of(file, expected, entries, columns["sums"]):
            return None, _again("is of another content than the file", file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        return None, _again(f"cannot be read ({error})", file)
    return entries, ""


def _again(reason, file):
    return (
        f"its index {reason}: every record is read. Write it anew: "
        f"yolov1.data.index_records({str(file)!r})"
    )


def _is_of(file, expected, entries, sums):
    size, time = stamp(file)
    if [size, time] == expected:
        return True
    return size == expected[0] and np.array_equal(_check_sums([e.frame for e in entries]), sums)


def _entries(file, columns):
    texts = json.loads(columns["texts"].tobytes())
    of_file, entries, last = stamp(file), [], 0
    rows = [columns[name].tolist() for name in ("frames", "places", "headers", "whole", "objects")]
    words = [texts[name] for name in ("errors", "unreadable", "filenames")]
    labels = [
        label if there else None
        for label, there in zip(columns["labels"].tolist(), columns["labelled"], strict=True)
    ]
    difficult = columns["difficult"].tolist()
    for number, row in enumerate(zip(*rows, *words, strict=True), start=1):
        (start, length), place, header, whole, count, error, unreadable, filename = row
        frame = tfrecord.Frame(file, number, start, length, of_file, "")
        first, last = last, last + count
        content = Content(
            filename=filename,
            encoded=b"",
            boxes_xyxy=columns["boxes"][first:last],
            texts=texts["texts"][first:last],
            labels=labels[first:last],
            difficult=difficult[first:last],
            whole=whole,
        )
        height, width, jpeg, *rest = header
        entries.append(
            Entry(
                frame,
                None if error else content,
                error,
                Place(file, *place, of_file) if place[1] else None,
                images.Header((height, width), bool(jpeg), *rest) if height else None,
                unreadable,
            )
        )
    return entries
