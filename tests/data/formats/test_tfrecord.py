"""Record files by offset, damaged ones too."""

import struct

import numpy as np
import pytest
import tensorflow as tf

from tests.data.records import detection, write
from yolov1 import data
from yolov1.data.formats import tfrecord


def test_frames_are_what_tensorflow_reads(tmp_path):
    # A length of 0x8b1f begins with the two bytes of a gzip file.
    contents = [b"", b"a", b"x" * 0x8B1F, bytes(range(256)) * 300]
    for records in (contents, contents[::-1], contents[2:], []):
        file = write(tmp_path / "x.tfrecord", *records)
        assert [f.read() for f in tfrecord.frames(file)] == records
        assert not any(f.error for f in tfrecord.frames(file))
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 5000, 20):
        file = write(tmp_path / "x.tfrecord", bytes(length))
        header = file.read_bytes()[:12]
        assert struct.unpack("<QI", header) == (length, tfrecord.crc(header[:8]))


def test_a_file_that_is_cut_off(tmp_path):
    whole = write(tmp_path / "x.tfrecord", *(detection(filename=f"{k}.jpg") for k in range(3)))
    content = whole.read_bytes()
    second, third = (f.start - tfrecord.HEADER_BYTES for f in tfrecord.frames(whole)[1:])
    for size in (second + 1, second + 11, second + 12, second + 200, third - 1):
        whole.write_bytes(content[:size])
        dataset = data.open(f"records:{whole}", bad_examples="skip")
        assert [e.image_id for e in dataset] == ["0"]
        (entry,) = dataset.skipped
        assert entry == (
            f"{whole}: record 2",
            f"the file is cut off at byte {size}, in the middle of this record",
        )
    with pytest.raises(data.BadExampleError, match="record 2: the file is cut off at byte"):
        data.open(f"records:{whole}")
    whole.write_bytes(content[:third])
    assert len(data.open(f"records:{whole}")) == 2


def test_a_damaged_length_ends_the_file(tmp_path):
    file = write(tmp_path / "x.tfrecord", *(detection(filename=f"{k}.jpg") for k in range(3)))
    content = bytearray(file.read_bytes())
    second = tfrecord.frames(file)[1].start - tfrecord.HEADER_BYTES
    for byte in (0, 7, 8):  # two of the length, one of its CRC
        damaged = content.copy()
        damaged[second + byte] ^= 4
        file.write_bytes(damaged)
        dataset = data.open(f"records:{file}", bad_examples="skip")
        assert [e.image_id for e in dataset] == ["0"]
        assert f"no record begins at byte {second}" in dataset.skipped[0][1]


def test_files_that_are_no_records(tmp_path):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    file = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(file), options) as writer:
        writer.write(detection())
    with pytest.raises(data.BadExampleError, match="compressed; unpack it with gunzip"):
        data.open(f"records:{file}")
    file.write_text("<html>404 not found</html>")
    with pytest.raises(data.BadExampleError, match="no record begins at byte 0"):
        data.open(f"records:{file}")
    file.write_bytes(b"")
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"records:{file}")
