"""Folders of any name, and files that a full disk has cut."""

import os
import warnings

import numpy as np
import pytest
import tensorflow as tf

from yolov1.training.checkpoint_files import CheckpointFiles

FOLDERS = ["plain", "lr[0.01]", "a*b?", "back\\slash", "{a,b}", "caf\udce9", "new\nline", "x" * 250]


def state(value):
    return tf.train.Checkpoint(v=tf.Variable([value, 2.0]), w=tf.Variable(np.ones(50)))


def restored(files, step):
    found = state(0.0)
    with files.restoring(found, step) as status:
        status.assert_consumed()
    return float(found.v[0])


@pytest.mark.parametrize("name", FOLDERS)
def test_any_folder_keeps_and_restores(name, tmp_path):
    folder = tmp_path / name / "last"
    files = CheckpointFiles(folder, keep=2)
    assert files.newest_whole() is None and not files.has_any()
    for step in (5, 10, 20):
        files.save(state(step), step)
    assert files.steps() == [10, 20] and len(list(folder.iterdir())) == 5
    again = CheckpointFiles(folder, keep=2)
    assert again.newest_whole() == 20 and restored(again, 20) == 20 and restored(again, 10) == 10
    again.save(state(15), 15)  # gone back to 10
    assert again.steps() == [10, 15]


def test_tensorflow_finds_them_and_its_managers_are_read(tmp_path):
    files = CheckpointFiles(tmp_path / "ours", keep=2)
    files.save(state(7), 3)
    assert tf.train.latest_checkpoint(str(tmp_path / "ours")).endswith("ckpt-3")
    manager = tf.train.CheckpointManager(state(9), str(tmp_path / "theirs"), max_to_keep=2)
    manager.save(checkpoint_number=8)
    theirs = CheckpointFiles(tmp_path / "theirs", keep=2)
    assert theirs.newest_whole() == 8 and restored(theirs, 8) == 9


@pytest.fixture
def two(tmp_path):
    files = CheckpointFiles(tmp_path / "lr[0.01]", keep=2)
    for step in (1, 2):
        files.save(state(step), step)
    return files.folder


def cut(path, length):
    content = path.read_bytes()
    path.write_bytes(content[: length if length >= 0 else len(content) + length])


@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("length", [0, 1, 50, 150, -1])
def test_the_one_before_a_damaged_one_is_taken(kind, length, two):
    cut(two / f"ckpt-2.{kind}", length)
    files = CheckpointFiles(two, keep=2)
    with pytest.warns(UserWarning) as warned:
        assert files.newest_whole() == 1
    text = str(warned[0].message)
    assert f"{two}/ckpt-2.{kind} is damaged (" in text and "of step 1, is taken" in text
    assert restored(files, 1) == 1
    cut(two / "ckpt-1.index", 10)
    files = CheckpointFiles(two, keep=2)
    assert files.newest_whole() is None and files.has_any()
    assert "ckpt-1.index is damaged" in files.all_damaged() and f"2.{kind}" in files.all_damaged()


def test_a_flipped_bit_is_damage(two):
    path = two / "ckpt-2.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="data-00000-of-00001 is damaged"):
        assert CheckpointFiles(two, keep=2).newest_whole() == 1


@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
def test_missing_files_are_named(kind, two):
    (two / f"ckpt-2.{kind}").unlink()
    with pytest.warns(UserWarning, match=rf"ckpt-2.{kind} is missing"):
        assert CheckpointFiles(two, keep=2).newest_whole() == 1


@pytest.mark.parametrize("record", [None, b"", b"garbage\xff\0", b"model_checkpoint_path: "])
def test_the_record_of_the_last_is_not_needed(record, two):
    os.unlink(two / "checkpoint")
    if record is not None:
        (two / "checkpoint").write_bytes(record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CheckpointFiles(two, keep=2).newest_whole() == 2


def test_a_save_that_was_stopped_is_none(two):
    (two / "ckpt-3.data-00000-of-00001").write_bytes(b"half")
    files = CheckpointFiles(two, keep=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert files.newest_whole() == 2
    files.save(state(3), 3)
    assert files.newest_whole() == 3 and restored(files, 3) == 3
