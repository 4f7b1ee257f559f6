import numpy as np
import pytest
import tensorflow as tf

from tests.data.folders import write_voc
from yolov1 import data
from yolov1.data.formats import tfrecord


def same(one, other):
    assert one.classes == other.classes and len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.image_id == b.image_id and a.size == b.size
        np.testing.assert_allclose(a.boxes_cxcywh, b.boxes_cxcywh, atol=2e-7)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.difficult, b.difficult)
        np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.parametrize("shards", [1, 3])
def test_round_trip_of_drawn_images(tmp_path, shards):
    dataset = data.open("shapes:count=7", image_size=48)
    files = data.write_records(dataset, tmp_path / "out" / "train.tfrecord", shards=shards)
    assert len(files) == shards and all(f.is_file() for f in files)
    again = data.open(f"records:{tmp_path / 'out'}", "train")
    same(dataset, again)
    data.write_records(again, tmp_path / "val.tfrecord")
    same(dataset, data.open(f"records:{tmp_path}", "val"))


def test_round_trip_of_files(tmp_path):
    objects = [("dog", (6, 4, 30, 24), False), ("cat", (0, 0, 60, 40), True)]
    root = write_voc(tmp_path / "voc", {"a": objects, "b.c": [], "d": objects[1:]})
    dataset = data.open(f"voc:{root}")
    (file,) = data.write_records(dataset, tmp_path / "x.tfrecord")
    same(dataset, data.open(f"records:{file}"))
    content = file.read_bytes()
    assert all(example.path.read_bytes() in content for example in dataset)  # not encoded anew
    parsed = [tf.train.Example.FromString(f.read()) for f in tfrecord.frames(file)]
    first = parsed[0].features.feature
    assert first["image/format"].bytes_list.value == [b"jpeg"]
    assert first["image/object/class/label"].int64_list.value == [2, 1]  # from 1


def test_a_writer_that_is_stopped_leaves_no_data_set(tmp_path, monkeypatch):
    from yolov1.data.formats.writing import records

    dataset = data.open("shapes:count=4", image_size=32)
    original, calls = records._serialized, []

    def stop(example, classes):
        calls.append(example)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(example, classes)

    monkeypatch.setattr(records, "_serialized", stop)
    with pytest.raises(KeyboardInterrupt):
        data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    with pytest.raises(FileNotFoundError):
        data.open(f"records:{tmp_path}")
    monkeypatch.setattr(records, "_serialized", original)
    data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    assert len(data.open(f"records:{tmp_path}")) == 4


def test_the_writer_does_not_mix(tmp_path):
    dataset = data.open("shapes:count=4,classes=2", image_size=32)
    data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    for shards in (1, 2, 4):
        with pytest.raises(FileExistsError, match=r"train-00000-of-00002\.tfrecord exists"):
            data.write_records(dataset, tmp_path / "train.tfrecord", shards=shards)
    other = data.open("shapes:count=4,classes=3", image_size=32)
    with pytest.raises(FileExistsError, match="label_map.pbtxt is of other classes than circle"):
        data.write_records(other, tmp_path / "val.tfrecord")
    assert not (tmp_path / "val.tfrecord").exists()
    for shards in (0, 5):
        with pytest.raises(
            ValueError, match=rf"from 1 to the number of images \(4\), got {shards}"
        ):
            data.write_records(dataset, tmp_path / "test.tfrecord", shards=shards)
