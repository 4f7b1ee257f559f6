"""``--storage``: a run outlives its machine; and which checkpoints stay."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.training.small_runs import assert_same_bits, final_state, finish, rows, run, start
from yolov1.training import RunDirectory, Storage, WrongRun
from yolov1.training.checkpoint_files import CheckpointFiles

pytestmark = pytest.mark.usefixtures("no_report")

pytest.importorskip("fsspec", reason="of the extra storage")


def files(folder) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_another_machine_goes_on_from_it(whole, tmp_path, scheme):
    """A folder stands for each machine: it sees nothing of the other's."""
    storage = f"{scheme}{tmp_path / 'far' / 'run'}"
    process = start(tmp_path / "one", storage=storage, checkpoint_minutes=0)
    while RunDirectory(tmp_path / "far" / "run").steps < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    _, said = run(tmp_path / "two", storage=storage)
    assert "already holds a run. Give --resume" in said
    code, said = run(tmp_path / "two", storage=storage, resume=True)
    assert code == 0 and f"from {storage}" in said and f"copied:   {storage}" in said, said
    assert_same_bits(final_state(whole[0]), final_state(tmp_path / "two"))
    assert rows(whole[0]) == rows(tmp_path / "two")
    # It is the run, file by file.
    assert files(tmp_path / "far" / "run") == files(tmp_path / "two")
    for name in files(tmp_path / "two"):
        there, here = tmp_path / "far" / "run" / name, tmp_path / "two" / name
        assert there.read_bytes() == here.read_bytes(), name


def test_a_storage_that_fails_does_not_end_the_training(tmp_path):
    (tmp_path / "file").touch()
    storage = f"{tmp_path / 'file'}/run"
    code, said = run(tmp_path / "run", storage=storage, checkpoint_minutes=0, epochs=1)
    assert f"is not in {storage}: " in said and "The next one will be tried." in said
    assert code != 0 and "error: " in said  # the last copy is missing
    assert (tmp_path / "run" / "summary.json").exists()


def test_what_is_no_place_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(WrongRun, match=r"--storage=sheep://a/b: Protocol not known"):
        Storage("sheep://a/b")
    code, said = run(tmp_path / "run", storage="sheep://a/b")
    assert code != 0 and "Protocol not known" in said and not (tmp_path / "run").exists()


def test_what_is_sent_and_what_is_removed(tmp_path):
    """Only what has changed is sent, the index of a checkpoint last; older checkpoints go after."""
    here, there = tmp_path / "run", tmp_path / "far"
    folder = here / "checkpoints" / "last"
    folder.mkdir(parents=True)
    (here / "workers" / "ray").mkdir(parents=True)
    for name in ("metrics.csv", "a.partial", "launch.lock", "workers/ray/x", "workers/0.log"):
        (here / name).write_text(name)
    for step in (1, 2):
        for kind in ("index", "data-00000-of-00001"):
            (folder / f"ckpt-{step}.{kind}").write_text(f"{step}")
    storage, sent = Storage(str(there)), []
    put = storage._put
    storage._put = lambda path, target: (sent.append(path.name), put(path, target))
    storage.send(RunDirectory(here))
    assert [name.startswith("ckpt") and name.endswith(".index") for name in sent[-2:]] == [True] * 2
    assert not any(name.endswith(".index") for name in sent[:-2])
    assert files(there) == files(here) - {"a.partial", "launch.lock", "workers/ray/x"}
    assert storage.steps() == [1, 2]

    sent.clear()
    storage.send(RunDirectory(here))
    assert sent == []
    CheckpointFiles(folder, keep=1).drop_after(1)
    (here / "metrics.csv").write_text("another")
    storage.send(RunDirectory(here))
    assert sorted(sent) == ["checkpoint", "metrics.csv"] and storage.steps() == [1]
    # A new program does not know what the one before has sent: a step that was done again after a
    # loss has other numbers in files of the same size.
    (folder / "ckpt-1.data-00000-of-00001").write_text("x")
    Storage(str(there)).send(RunDirectory(here))
    kept = there / "checkpoints" / "last" / "ckpt-1.data-00000-of-00001"
    assert kept.read_text() == "x"
    # What a kill leaves half written is no step, and nothing that is fetched.
    (kept.parent / "ckpt-9.index.partial").touch()
    (kept.parent / "ckpt-8.data-00000-of-00001").touch()
    assert storage.steps() == [1]
    assert Storage(str(there)).fetch(RunDirectory(tmp_path / "new"))
    assert not list((tmp_path / "new").rglob("*.partial"))


def test_fetch_takes_only_what_has_got_further(tmp_path):
    far, near = tmp_path / "far", tmp_path / "near"
    for folder, step in ((far, 5), (near, 7)):
        last = folder / "checkpoints" / "last"
        last.mkdir(parents=True)
        for kind in ("index", "data-00000-of-00001"):
            (last / f"ckpt-{step}.{kind}").write_text(f"{step}")
    assert not Storage(str(far)).fetch(RunDirectory(near))
    assert Storage(str(near)).fetch(RunDirectory(far)) and RunDirectory(far).steps == 7


@pytest.mark.slow
def test_how_many_checkpoints_stay(tmp_path):
    code, said = run(tmp_path / "run", keep_last=3, keep_hours=1e-9, checkpoint_minutes=0)
    assert code == 0, said
    directory = tmp_path / "run" / "checkpoints"
    last, kept = (CheckpointFiles(directory / name, keep=0).steps() for name in ("last", "kept"))
    assert len(last) == 3 and last[-1] == 10
    assert set(last[:-1]) <= set(kept) and len(kept) >= 8  # each took longer than 4 microseconds
    for name, value in (("keep_last", 0), ("keep_hours", -1)):
        _, said = run(tmp_path / "other", **{name: value})
        assert f"--{name} must be at least" in said


@pytest.mark.slow
def test_an_object_store(whole, tmp_path, monkeypatch):
    """A server of S3 on this machine; the training is killed as it saves."""
    pytest.importorskip("s3fs", reason="of the extra s3")
    pytest.importorskip("moto.server", reason="needs a server of S3: pip install moto[server]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    for name, value in (
        *(("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")),
        *(("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")),
    ):
        monkeypatch.setenv(name, value)
    try:
        import s3fs

        store = s3fs.S3FileSystem()
        for _ in range(200):
            try:
                store.mkdir("bucket")
                break
            except OSError:
                time.sleep(0.1)
        storage = Storage("s3://bucket/runs/a")
        flags = {"storage": storage.uri, "checkpoint_minutes": 0}
        process = start(tmp_path / "one", **flags)
        while max(storage.steps(), default=0) < 4:
            assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finish(start(tmp_path / "two", resume=True, **flags))
        assert_same_bits(final_state(whole[0]), final_state(tmp_path / "two"))
        assert set(storage._there()) == files(tmp_path / "two")
        assert storage.steps() == [9, 10] and not store.exists("bucket/runs/a/config.json.partial")
    finally:
        server.kill()
        server.wait()
