"""Which state a resumed run goes on from."""

import keras
import pytest

from yolov1.training import WrongRun
from yolov1.training.checkpoints import Checkpoints, Progress


@pytest.fixture
def make(tmp_path):
    def make(units=2):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
        optimizer = keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        progress = Progress(5)
        return Checkpoints(tmp_path, model, optimizer, progress), progress

    return make


def test_from_the_newest_that_is_whole(make, tmp_path):
    checkpoints, progress = make()
    assert checkpoints.newest() == 0
    checkpoints.save_last()  # interrupted before the first step
    assert make()[0].newest() == 0
    for step in (7, 9):
        progress.step.assign(step)
        checkpoints.save_last()
    again, progress = make()
    assert again.newest() == 9
    again.restore_last(7)  # the newest that all workers have
    assert int(progress.step.numpy()) == 7
    (tmp_path / "last" / "ckpt-9.index").write_bytes(b"")
    again, progress = make()
    with pytest.warns(UserWarning, match=r"ckpt-9\.index is damaged.* of step 7, is taken"):
        assert again.newest() == 7
    with pytest.raises(WrongRun, match=r"--resume: .*ckpt-9\.index is damaged"):
        again.restore_last(9)
    assert int(progress.step.numpy()) == 0  # nothing was restored in part
    with pytest.raises(WrongRun, match="have no step in common .step 3 is the newest"):
        again.restore_last(3)


def test_without_a_whole_one_or_with_another_networks(make, tmp_path):
    checkpoints, progress = make()
    progress.step.assign(4)
    checkpoints.save_last()
    with pytest.raises(WrongRun, match="step 4 in .* does not fit the run's configuration"):
        make(units=3)[0].restore_last(4)
    (tmp_path / "last" / "ckpt-4.data-00000-of-00001").unlink()
    again, _ = make()
    assert again.newest() == -1
    with pytest.raises(WrongRun, match="no checkpoint that is whole: .*data-00000.* is missing"):
        again.restore_last(-1)
    (tmp_path / "last" / "ckpt-4.index").unlink()
    again, _ = make()
    assert again.newest() == -1  # the record says that there was one
    with pytest.raises(WrongRun, match="files are gone"):
        again.restore_last(-1)


def test_those_that_stay(make, tmp_path, monkeypatch):
    """Also where the file system has no links; and a kill between the two folders loses none."""
    checkpoints, progress = make()
    progress.step.assign(4)
    checkpoints.save_kept()
    assert [(tmp_path / k / "ckpt-4.index").stat().st_nlink for k in ("kept", "last")] == [2, 2]

    def no_links(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    progress.step.assign(8)
    checkpoints.save_kept()
    assert (tmp_path / "last" / "ckpt-8.index").stat().st_nlink == 1
    again, progress = make()
    assert again.steps() == [4, 8] and again.newest() == 8
    again.restore(4)
    again.restore_last(8)

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfile", killed)
    progress.step.assign(12)
    with pytest.raises(KeyboardInterrupt):
        again.save_kept()
    again, progress = make()
    assert again.newest() == 8  # and step 12 is kept once it is done again
    again.restore_last(8)
    assert again.steps() == [4, 8]
