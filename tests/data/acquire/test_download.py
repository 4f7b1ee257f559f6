import builtins
import errno
import hashlib
import io
import shutil
import socket

import numpy as np
import pytest

from tests.data.acquire.server import FileServer
from yolov1.data.acquire import download
from yolov1.data.acquire.download import DownloadError, Progress

BODY = np.random.default_rng(0).bytes(1_000_000)
OTHER = np.random.default_rng(1).bytes(900_000)


def sha256(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with FileServer({"/a.tar": BODY}) as server:
        yield server


def fetch(server, path, body=BODY, **options):
    options = {"pause": 0.01, "attempts": 2, "stream": io.StringIO(), **options}
    return download.fetch(f"{server.url}/a.tar", path, sha256=sha256(body), **options)


def ranges(server):
    return [row[1] for row in server.log]


def sent(server):
    return sum(row[4] for row in server.log)


def only(path):
    """The one file in the folder is `path`."""
    return [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_file_once(server, tmp_path, size):
    path = tmp_path / "new" / "a.tar"
    assert fetch(server, path, size=size) == len(BODY)
    assert path.read_bytes() == BODY and only(path)
    assert fetch(server, path, size=size) == 0 and len(server.log) == 1


def test_dropped_connections_go_on_where_they_ended(server, tmp_path):
    server.cuts = [300_000, 200_000]
    server.etags["/a.tar"] = '"one"'
    told = io.StringIO()
    path = tmp_path / "a.tar"
    assert fetch(server, path, stream=told) == len(BODY)
    assert path.read_bytes() == BODY and only(path)
    assert ranges(server) == [None, "bytes=300000-", "bytes=500000-"]
    assert [row[2:4] for row in server.log] == [(None, 200), ('"one"', 206), ('"one"', 206)]
    assert sent(server) == len(BODY)  # no byte twice
    assert "a.tar: the connection ended 700000 bytes early; going on at 0.3 MB" in told.getvalue()


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_another_call_goes_on(server, tmp_path, size):
    server.cuts = [1000, 0, 0]
    path = tmp_path / "a.tar"
    with pytest.raises(
        DownloadError, match=r"gave up after 2 attempts.*0\.0 MB are kept in .*a.tar"
    ):
        fetch(server, path, size=size)
    assert (tmp_path / "a.tar.partial").read_bytes() == BODY[:1000] and not path.exists()
    assert fetch(server, path, size=size) == len(BODY) - 1000
    assert ranges(server)[-1] == "bytes=1000-" and sent(server) == len(BODY)
    assert path.read_bytes() == BODY and only(path)


def test_a_whole_partial_file_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.tar.partial").write_bytes(BODY)
    assert fetch(server, tmp_path / "a.tar", size=len(BODY)) == 0 and not server.log
    assert (tmp_path / "a.tar").read_bytes() == BODY


def test_a_server_without_ranges(server, tmp_path):
    server.ranges, server.cuts = False, [1000]
    told = io.StringIO()
    assert fetch(server, tmp_path / "a.tar", stream=told) == len(BODY) + 1000
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert ranges(server) == [None, "bytes=1000-"] and "starting over" in told.getvalue()


@pytest.mark.parametrize("header", ["etags", "modified"])
def test_a_file_that_changed_meanwhile(server, tmp_path, header):
    getattr(server, header)["/a.tar"] = '"one"'
    server.cuts = [1000, 0, 0]
    with pytest.raises(DownloadError, match="gave up"):
        fetch(server, tmp_path / "a.tar")
    server.files["/a.tar"] = OTHER
    getattr(server, header)["/a.tar"] = '"two"'
    assert fetch(server, tmp_path / "a.tar", OTHER) == len(OTHER)
    assert server.log[-1][1:4] == ("bytes=1000-", '"one"', 200)
    assert (tmp_path / "a.tar").read_bytes() == OTHER and only(tmp_path / "a.tar")


def test_a_weak_tag_promises_nothing(server, tmp_path):
    server.etags["/a.tar"] = 'W/"one"'
    server.cuts = [1000]
    fetch(server, tmp_path / "a.tar")
    assert server.log[-1][1:4] == ("bytes=1000-", None, 206)


def test_a_partial_file_that_is_too_long(server, tmp_path):
    (tmp_path / "a.tar.partial").write_bytes(OTHER + BODY)
    assert fetch(server, tmp_path / "a.tar") == len(BODY)
    assert [row[3] for row in server.log] == [416, 200]
    assert (tmp_path / "a.tar").read_bytes() == BODY


def test_a_file_of_unknown_length(server, tmp_path):
    server.lengths = False
    told = io.StringIO()
    assert fetch(server, tmp_path / "a.tar", stream=told) == len(BODY) and not told.getvalue()
    server.cuts = [1000]
    assert fetch(server, tmp_path / "b.tar", size=len(BODY)) == len(BODY)
    assert ranges(server) == [None, None, "bytes=1000-"]


def test_a_wrong_checksum(server, tmp_path):
    path = tmp_path / "a.tar"
    server.files["/a.tar"] = OTHER
    expected = f"SHA-256 expected {sha256(BODY)}, got {sha256(OTHER)}.*removed; call again"
    with pytest.raises(DownloadError, match=f"/a.tar: .* of 900000 bytes .* {expected}"):
        fetch(server, path)
    assert not path.exists() and not (tmp_path / "a.tar.partial").exists()
    server.files["/a.tar"] = BODY
    assert fetch(server, path) == len(BODY) and path.read_bytes() == BODY


def test_a_wrong_file_in_its_place_is_moved_aside(server, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(OTHER)
    with pytest.raises(
        DownloadError, match=r"wrong checksum.* It is now .*a\.tar\.bad; call again"
    ):
        fetch(server, path)
    assert (tmp_path / "a.tar.bad").read_bytes() == OTHER and not server.log
    assert fetch(server, path) == len(BODY) and path.read_bytes() == BODY


def test_another_file_is_found_out_before_it_is_read(server, tmp_path):
    with pytest.raises(
        DownloadError, match="a file of 1000000 bytes there, expected 5: .* another"
    ):
        fetch(server, tmp_path / "a.tar", size=5)
    assert not list(tmp_path.iterdir())


def test_what_servers_answer(server, tmp_path):
    server.codes = [503, 429]
    assert fetch(server, tmp_path / "a.tar", attempts=3) == len(BODY)
    server.codes, server.log = [503, 503], []
    with pytest.raises(DownloadError, match="answered 503 Service Unavailable; gave up after 2"):
        fetch(server, tmp_path / "b.tar")
    assert len(server.log) == 2
    server.files, server.log = {}, []
    with pytest.raises(DownloadError, match="answered 404 Not Found. Fetch it from another place"):
        fetch(server, tmp_path / "b.tar")
    assert len(server.log) == 1  # no use to ask again


def test_no_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar"
        with pytest.raises(DownloadError, match=r"no connection \(.*refused.*gave up after 2"):
            options = {"attempts": 2, "pause": 0.01, "stream": io.StringIO()}
            download.fetch(url, tmp_path / "a", sha256="", **options)
    with pytest.raises(DownloadError, match="expected an address with http:// .* got 'file:///etc"):
        download.fetch("file:///etc/passwd", tmp_path / "a", sha256="")


def test_a_connection_that_hangs_is_lost(server, tmp_path):
    server.stall, server.cuts = True, [1000]
    assert fetch(server, tmp_path / "a.tar", timeout=0.3) == len(BODY)
    assert ranges(server) == [None, "bytes=1000-"] and sent(server) == len(BODY)


class SmallDisk(io.FileIO):
    """A file on a disk with room for 250000 bytes."""

    room = 250_000

    def write(self, chunk):
        written = super().write(chunk[: max(0, self.room - self.tell())])
        if written < len(chunk):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written


def test_a_full_disk_keeps_what_came(server, tmp_path, monkeypatch):
    def small(path, mode="r", **options):
        return (
            SmallDisk(path, mode) if mode in ("ab", "wb") else builtins.open(path, mode, **options)
        )

    path = tmp_path / "a.tar"
    with monkeypatch.context() as patch:
        patch.setattr(download, "open", small, raising=False)
        with pytest.raises(DownloadError, match="full: 750000 more bytes are needed.*call again"):
            fetch(server, path)
    assert (tmp_path / "a.tar.partial").read_bytes() == BODY[:250_000]
    assert fetch(server, path) == 750_000 and path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=250000-"]


def test_too_little_space_is_known_beforehand(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=400_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        expected = (
            r"not enough space in .*: 1\.0 MB are needed, 0\.4 MB are free, 0\.6 MB are missing"
        )
        with pytest.raises(DownloadError, match=expected):
            fetch(server, tmp_path / "a.tar")
        assert not list(tmp_path.iterdir())
        (tmp_path / "a.tar.partial").write_bytes(BODY[:700_000])  # the rest fits
        assert fetch(server, tmp_path / "a.tar") == 300_000


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(stream, monkeypatch, total, count=100):
    clock = iter(np.arange(0, 1000, 0.25))  # each look at the clock is a quarter of a second later
    monkeypatch.setattr(download.time, "monotonic", lambda: float(next(clock)))
    progress = Progress("a.tar", stream)
    progress.start(0, total)
    for _ in range(count):
        progress.add(1_000_000)
    progress.end()
    assert progress.fetched == count * 1_000_000
    return stream.getvalue()


def test_progress_in_a_file(monkeypatch):
    lines = show(io.StringIO(), monkeypatch, 100_000_000).splitlines()
    assert len(lines) == 10
    # Fifty looks at the clock by `add`, and one for each of the five lines.
    assert lines[4] == "a.tar: 50.0 MB of 100.0 MB (50%), 3.6 MB/s, 0:13 left"
    assert len(show(io.StringIO(), monkeypatch, None, 250).splitlines()) == 2


def test_progress_on_a_terminal(monkeypatch):
    text = show(Terminal(), monkeypatch, 100_000_000)
    assert text.count("\n") == 1 and text.endswith("\n") and text.count("\r") > 50
    last = text.splitlines()[-1].rpartition("\r")[2]
    assert last.startswith("a.tar: 100.0 MB of 100.0 MB (100%)") and last.rstrip().endswith(
        "0:00 left"
    )
