import os
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.streaming.films import Brightness, greys, number_of
from yolov1 import streaming
from yolov1.streaming import folders


def save(path, number=0, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(greys(number + 1)[number]).save(path, **options)
    return path


class Watched:
    """A folder that is looked at in a thread, and what is found there."""

    def __init__(self, folder, **options):
        self.found, self.reports = [], []
        self.stop = threading.Event()
        self.source = streaming.watch(folder, report=self.reports.append, **options)
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        for frame in self.source.frames(self.stop):
            self.found.append((os.path.basename(frame.name), number_of(frame.image)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def until(self, count, reports=0):
        end = time.monotonic() + 10
        while (len(self.found), len(self.reports)) != (count, reports):
            assert time.monotonic() < end, (self.found, self.reports)
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(folders, "EVERY", 0.02)
    monkeypatch.setattr(folders, "WHOLE_AFTER", 0.15)


def test_what_is_there_and_what_comes(tmp_path):
    save(tmp_path / "b.png", 1)
    os.utime(tmp_path / "b.png", (1000, 1000))
    save(tmp_path / "a.png", 2)
    with Watched(tmp_path) as watched:
        watched.until(2)
        assert watched.found == [("b.png", 1), ("a.png", 2)]  # the oldest first
        (tmp_path / "below").mkdir()
        save(tmp_path / "below" / "c.png", 3)
        (tmp_path / "notes.txt").write_text("no picture")
        watched.until(3)
        save(tmp_path / ".d.png", 4)
        os.replace(tmp_path / ".d.png", tmp_path / "d.png")  # moved in
        watched.until(4)
        os.remove(tmp_path / "d.png")
        time.sleep(0.2)
        assert watched.found[2:] == [("c.png", 3), ("d.png", 4)] and not watched.reports


def test_a_file_is_not_read_half_written(tmp_path):
    content = save(tmp_path / ".a.bmp", 5, format="BMP").read_bytes()
    with Watched(tmp_path) as watched, (tmp_path / "a.bmp").open("wb") as file:
        for start in range(0, len(content), len(content) // 9):
            file.write(content[start : start + len(content) // 9])
            file.flush()
            assert not watched.found and not watched.reports
            time.sleep(0.05)
        watched.until(1)
        assert watched.found == [("a.bmp", 5)] and not watched.reports


def test_a_writer_that_pauses_too_long_is_told_of_and_taken_when_done(tmp_path):
    content = save(tmp_path / ".a.png", 6, format="PNG").read_bytes()
    with Watched(tmp_path) as watched:
        (tmp_path / "a.png").write_bytes(content[:60])
        watched.until(0, reports=1)
        assert "a.png" in watched.reports[0]["file"] and watched.reports[0]["reason"]
        (tmp_path / "a.png").write_bytes(content)
        watched.until(1, reports=1)
        save(tmp_path / "a.png", 7)  # of the same name, but new
        watched.until(2, reports=1)
    assert watched.found == [("a.png", 6), ("a.png", 7)]


def test_what_is_not_whole_at_the_end_is_told_of(tmp_path):
    with Watched(tmp_path) as watched:
        (tmp_path / "a.png").touch()
        time.sleep(0.4)
        assert not watched.found and not watched.reports
    assert watched.reports == [
        {"file": str(tmp_path / "a.png"), "reason": "it was not whole yet when the watch ended"}
    ]


def test_folders_come_and_go_and_one_that_is_closed_is_told_of_once(tmp_path, monkeypatch):
    look, closed = os.scandir, {"gone": FileNotFoundError, "closed": PermissionError}

    def scandir(place):
        for name, error in closed.items():
            if str(place) == str(tmp_path / name):
                raise error(13, "it cannot be listed", place)
        return look(place)

    monkeypatch.setattr(os, "scandir", scandir)
    for name in (*closed, "open"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "a.png", 3)
    with Watched(tmp_path) as watched:
        watched.until(1, reports=1)
        time.sleep(0.2)
        assert watched.found == [("a.png", 3)]
        assert watched.reports == [
            {"file": str(tmp_path / "closed"), "reason": "it cannot be listed"}
        ]


def test_a_watched_folder_that_goes_breaks_off(tmp_path):
    save(tmp_path / "in" / "a.png", 1)
    source = streaming.watch(tmp_path / "in")
    frames = source.frames(threading.Event())
    assert number_of(next(frames).image) == 1
    os.rename(tmp_path / "in", tmp_path / "out")
    with pytest.raises(streaming.BrokenOff, match="watch:.*in breaks off: No such file"):
        next(frames)


def test_our_own_pictures_are_not_looked_at(tmp_path):
    (tmp_path / "out").mkdir()
    save(tmp_path / "out" / "a.png")
    save(tmp_path / "b.png", 1)
    with Watched(tmp_path, leave_out=[tmp_path / "out"]) as watched:
        watched.until(1)
        time.sleep(0.3)
        assert watched.found == [("b.png", 1)]
    with pytest.raises(streaming.StreamError, match="is left out"):
        streaming.watch(tmp_path / "out", leave_out=[tmp_path / "out"])
    with pytest.raises(streaming.StreamError, match="no such folder"):
        streaming.open_source(f"watch:{tmp_path}/none")


def test_names_come_one_by_one(tmp_path):
    """A program that waits for each answer before it asks again."""
    read, write = os.pipe()
    paths = [save(tmp_path / f"{k} x.png", k) for k in range(3)]
    (tmp_path / "text.png").write_text("no picture")
    reports, found = [], []
    with os.fdopen(read) as file:
        source = streaming.names(file, report=reports.append)
        os.write(write, f"{paths[0]}\n".encode())
        for result in streaming.run(Brightness(), source, 8):
            found.append((result.frame.name, number_of(result.frame.image)))
            if len(found) == 1:
                os.write(write, f"\n{tmp_path}/none.png\r\n{tmp_path}/text.png\n".encode())
                os.write(write, f"{paths[1]}\n{paths[2]}".encode())
                os.close(write)
    assert found == [(str(path), k) for k, path in enumerate(paths)]
    assert [os.path.basename(r["file"]) for r in reports] == ["none.png", "text.png"]
    assert "does not exist" in reports[0]["reason"]


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)  # as Python has it then
    with pytest.raises(streaming.StreamError, match="standard input is closed"):
        streaming.open_source("-")


def test_waiting_for_a_name_can_be_stopped(tmp_path):
    read, write = os.pipe()
    with os.fdopen(read) as file:
        run = streaming.run(Brightness(), streaming.names(file), seconds=0.2)
        assert list(run) == [] and run.figures()["seconds"] < 2
    os.close(write)


def test_pictures_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    save(tmp_path / "a.jpg", exif=turned)
    (frame,) = streaming.open_source(tmp_path).frames(threading.Event())
    assert frame.image.shape == (64, 48, 3) and frame.image.dtype == np.uint8
    other, reports = tmp_path / "scan.xyz", []
    other.write_bytes(b"what may have been a picture")
    source = streaming.open_source(tmp_path, report=reports.append)
    assert len(list(source.frames(threading.Event()))) == 1
    assert [entry["file"] for entry in reports] == [str(other)] and "suffix" in reports[0]["reason"]
    with pytest.raises(streaming.StreamError, match="no such file, and no camera"):
        streaming.open_source(tmp_path / "none.jpg")
