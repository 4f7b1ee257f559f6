import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import write_image
from tests.data.records import NAMED, classified, detection, jpeg, record, write
from yolov1 import data
from yolov1.data.formats import record_index
from yolov1.data.formats.label_map import label_map_text
from yolov1.data.formats.record_index import index_file


def png(mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (7, 5)).save(file, "PNG")
    return file.getvalue()


def turned():
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6
    Image.open(io.BytesIO(jpeg())).save(file, "JPEG", exif=exif)
    return file.getvalue()


FAR = {"xmin": [0.2], "ymin": [0.1], "xmax": [1.3], "ymax": [0.4]}
ONE = {"object/class/text": ["dog"]}
# What a record may say, good and bad; the folder has images/beside.jpg.
RECORDS = {
    "usual": detection(),
    "no boxes": record({}, filename="b/ü.jpg", **{"object/class/text": []}),
    "no name": detection(filename=None),
    "labels": detection(**{"object/class/text": None, "object/class/label": [2, 1]}),
    "unknown label": detection(**{"object/class/text": None, "object/class/label": [2, 9]}),
    "unknown text": detection(**{"object/class/text": ["dog", "cow"]}),
    "whole": classified(2),
    "PNG": detection(encoded=png(), filename="x\0y.png"),
    "transparent": detection(encoded=png("RGBA")),
    "turned": detection(encoded=turned()),
    "clipped": record(FAR, **ONE),
    "crowd": detection(**{"object/difficult": None, "object/is_crowd": [1, 0]}),
    "beside": detection(encoded=None, filename="beside.jpg"),
    "gone": detection(encoded=None, filename="gone.jpg"),
    "no image": detection(encoded=b"GIF"),
    "pixels": record({k: [30.0, 20.0] for k in FAR}, **NAMED),
    "not an example": b"\xff\xff\xff",
    "empty": b"",
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.tfrecord", *RECORDS.values())
    write(tmp_path / "val.tfrecord", detection(filename="v"), detection(filename="v"))
    (tmp_path / "label_map.pbtxt").write_text(label_map_text(["cat", "dog"]))
    write_image(tmp_path / "images" / "beside.jpg")
    return tmp_path


def said(dataset):
    """All that a data set is, without the way to its pixels."""
    of_examples = [
        (
            *(e.image_id, e.size, e.jpeg, e.orientation, e.path, e.place),
            *(e.boxes_cxcywh.tobytes(), e.labels.tobytes(), e.difficult.tobytes()),
        )
        for e in dataset
    ]
    return of_examples, dataset.classes, dataset.skipped, dataset.notes, dataset.name


@pytest.mark.parametrize("options", [{}, {"verify": False}, {"verify": False, "classes": "dog"}])
@pytest.mark.parametrize("split", [None, "val"])
def test_it_says_what_the_file_says(folder, options, split):
    options = {"split": split, "bad_examples": "skip", **options}
    without = data.open(f"records:{folder}", **options)
    indexes = data.index_records(f"records:{folder}")
    assert indexes == [index_file(folder / f"{name}.tfrecord") for name in ("train", "val")]
    assert all(index.is_file() for index in indexes)
    assert said(data.open(f"records:{folder}", **options)) == said(without)
    if split is None:
        assert len(without) > 10 and len(without.skipped) > 5 and without.notes


def test_names_that_only_the_records_say(folder):
    (folder / "label_map.pbtxt").unlink()
    write(folder / "train.tfrecord", detection(), record(FAR, **{"object/class/text": ["cow"]}))
    without = data.open(f"records:{folder}", "val")
    data.index_records(folder, "train")
    assert said(data.open(f"records:{folder}", "val")) == said(without)
    assert without.classes == ("cat", "cow", "dog")


def test_the_file_itself_is_not_read(folder):
    file = write(folder / "train.tfrecord", detection(), detection(encoded=jpeg(1)))
    without = data.open(f"records:{file}")
    data.index_records(file)
    state = file.stat()
    file.write_bytes(bytes(state.st_size))
    os.utime(file, ns=(0, state.st_mtime_ns))
    assert said(data.open(f"records:{file}", verify=False)) == said(without)
    with pytest.raises(data.BadExampleError, match="the encoded image is damaged"):
        data.open(f"records:{file}")


def test_a_copy_keeps_its_index_and_another_content_does_not(folder):
    file = write(folder / "train.tfrecord", *(detection(filename=f"{k}") for k in range(9)))
    data.index_records(file)
    copied = folder / "copy" / "train.tfrecord"
    copied.parent.mkdir()
    for one, other in ((file, copied), (index_file(file), index_file(copied))):
        shutil.copyfile(one, other)
    os.utime(copied, ns=(0, 5))
    dataset = data.open(f"records:{copied}")
    assert len(dataset) == 9 and not dataset.notes
    # One letter of one class, as long as before: only a check sum tells.
    records = [detection(filename=f"{k}") for k in range(9)]
    records[4] = detection(filename="4", **{"object/class/text": ["dog", "cow"]})
    write(copied, *records)
    assert copied.stat().st_size == file.stat().st_size
    os.utime(copied, ns=(0, 6))
    dataset = data.open(f"records:{copied}")
    assert dataset.classes == ("cat", "cow", "dog")
    ((name, note),) = dataset.notes
    assert name == str(copied)
    assert note.startswith("its index is of another content than the file: every record is read.")
    assert note.endswith(f"yolov1.data.index_records({str(copied)!r})")
    data.index_records(copied)
    assert not data.open(f"records:{copied}").notes
    write(copied, *records[:3])
    assert len(data.open(f"records:{copied}")) == 3


def test_an_index_that_is_damaged_or_of_another_version(folder, monkeypatch):
    file = folder / "val.tfrecord"
    truth = said(data.open(f"records:{file}"))
    (index,) = data.index_records(file)
    content = index.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 8
    for other in (b"", content[:100], content[:-30], bytes(damaged), b"x" * 50):
        index.write_bytes(other)
        dataset = data.open(f"records:{file}")
        ((_, note),) = dataset.notes
        assert "cannot be read" in note and note.endswith(f"index_records({str(file)!r})")
        dataset.notes.clear()
        assert said(dataset) == truth
    monkeypatch.setattr(record_index, "VERSION", 2)
    index.write_bytes(content)
    assert "is of version 1, not 2" in data.open(f"records:{file}").notes[0][1]


def test_a_file_that_is_cut_off(folder):
    file = write(folder / "train.tfrecord", *(detection(filename=f"{k}") for k in range(3)))
    file.write_bytes(file.read_bytes()[:-20])
    without = data.open(f"records:{file}", bad_examples="skip")
    data.index_records(file)
    assert said(data.open(f"records:{file}", bad_examples="skip")) == said(without)
    assert len(without) == 2 and "cut off" in without.skipped[0][1]
    write(file)
    data.index_records(file)
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"records:{file}")


def test_the_writer_writes_it(tmp_path):
    dataset = data.open("shapes:count=5", image_size=32)
    files = data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    indexes = [index_file(file) for file in files]
    assert sorted(tmp_path.glob(".*")) == indexes
    by_index = data.open(f"records:{tmp_path}")
    for index in indexes:
        index.unlink()
    assert said(by_index) == said(data.open(f"records:{tmp_path}"))
    assert sorted(tmp_path.glob("train*")) == files  # a pattern does not find an index


def test_nothing_is_written_where_data_is_opened(folder):
    before = sorted(folder.rglob("*"))
    data.open(f"records:{folder}", bad_examples="skip")
    assert sorted(folder.rglob("*")) == before
    folder.chmod(0o500)
    try:
        if not os.access(folder, os.W_OK):
            with pytest.raises(PermissionError):
                data.index_records(folder)
    finally:
        folder.chmod(0o700)


def test_records_of_records_keep_the_bytes_of_their_images(tmp_path):
    file = write(tmp_path / "x.tfrecord", detection(), detection(encoded=png(), filename="b.png"))
    dataset = data.open(f"records:{file}")
    (again,) = data.write_records(dataset, tmp_path / "again" / "x.tfrecord")
    copied = data.open(f"records:{again}")
    assert [e.encoded for e in copied] == [jpeg(), png()] == [e.encoded for e in dataset]
    assert [e.image_id for e in copied] == ["a", "b"] and [e.jpeg for e in copied] == [True, False]
    np.testing.assert_allclose(copied[0].boxes_cxcywh, dataset[0].boxes_cxcywh, atol=2e-7)
