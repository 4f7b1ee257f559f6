"""`experiments.detect` on films, addresses, watched folders and names on standard input."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tests.shared import ROOT
from tests.streaming.films import greys, read_film, write_film


@pytest.fixture
def detect(known_run, call_experiment, tmp_path):
    """Runs the experiment; gives (how it ended, the lines, the summary, the folder)."""

    def run(images, *arguments):
        out = tmp_path / "out"
        done = call_experiment(
            *("detect", f"--checkpoint={known_run}", f"--images={images}"),
            *(f"--output_dir={out}", *arguments),
        )
        return done, *written(out), out

    return run


def written(out):
    lines = out / "detections.jsonl"
    rows = [json.loads(line) for line in lines.open()] if lines.is_file() else None
    summary = out / "summary.json"
    return rows, json.loads(summary.read_text()) if summary.exists() else None


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    pytest.importorskip("av", reason="films are read by PyAV")
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    return write_film(path, greys(30, (90, 120)), sound="aac")


@pytest.mark.parametrize("name", ["found.mp4", "found.webm"])
def test_a_film_to_lines_and_to_a_film(detect, film, tmp_path, name):
    done, rows, summary, out = detect(film, f"--video={tmp_path / name}", "--batch_size=8")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [row["frame"] for row in rows] == list(range(30))
    assert [row["seconds"] for row in rows] == pytest.approx([k / 25 for k in range(30)])
    for row in rows:
        assert (row["height"], row["width"]) == (90, 120) and "file" not in row
        assert [d["class"] for d in row["detections"]] == ["circle"] * 4
        first = min(d["box_xyxy"] for d in row["detections"])
        assert first == pytest.approx([15, 11.25, 45, 33.75], abs=1e-2)
    wanted = {"frames": 30, "dropped": 0, "damaged": 0, "detections": 120, "unreadable": 0}
    assert {key: summary[key] for key in wanted} == wanted
    assert summary["ended"] == "at its end" and summary["source"] == str(film)
    assert set(summary["stages"]) == {"decode", "network", "draw"}
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert summary["frames_per_second"] == pytest.approx(30 / summary["seconds"])
    assert "30 frames, 120 boxes" in done.stdout and "frames/s; latency p50" in done.stdout
    times, images, kinds, seconds = read_film(tmp_path / name)
    assert times == pytest.approx([k / 25 for k in range(30)], abs=1e-3)
    assert kinds["audio"] == ("aac" if name.endswith("mp4") else "opus")
    assert seconds == pytest.approx(1.2, abs=0.1)
    # Small frames are enlarged, so that their labels can be read; and there are coloured boxes.
    assert images[0].shape == (240, 320, 3)
    assert np.ptp(images[0].astype(int), axis=-1).max() > 100
    assert not (out / "pictures").exists()


def test_what_ends_a_film_early(detect, film):
    for flags, count in (
        (["--max_frames=7"], 7),
        (["--seconds=0.4"], 10),
        (["--debug"], 8),
        (["--debug", "--max_frames=7"], 7),  # what is given counts
    ):
        done, rows, summary, _ = detect(film, *flags)
        assert done.returncode == 0 and len(rows) == summary["frames"] == count


def test_live_counts_what_it_drops(detect, film):
    done, rows, summary, _ = detect(film, "--live")
    assert done.returncode == 0 and summary["live"]
    assert summary["frames"] + summary["dropped"] == 30 and rows[-1]["frame"] == 29
    assert summary["seconds"] > 1  # at the film's speed


def test_a_film_that_breaks_off(detect, tmp_path):
    pytest.importorskip("av", reason="films are read by PyAV")
    path = write_film(tmp_path / "a.mkv", greys(60), options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done, rows, summary, _ = detect(path, f"--video={tmp_path / 'b.mp4'}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: {path} breaks off" in done.stderr and "breaks off" in summary["ended"]
    assert 5 < len(rows) < 60 and len(read_film(tmp_path / "b.mp4")[0]) == len(rows)


def test_what_is_no_film(detect, tmp_path):
    pytest.importorskip("av", reason="films are read by PyAV")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film")
    for images, words in {
        tmp_path / "empty.mp4": "empty.mp4 is empty",
        tmp_path / "text.mp4": "text.mp4 cannot be opened",
        "camera:77": "there is no /dev/video77",
        "rtsp://127.0.0.1:9/x": "rtsp://127.0.0.1:9/x cannot be opened: Connection refused",
        f"watch:{tmp_path}/none": "no such folder",
    }.items():
        done, rows, _, _ = detect(images)
        assert done.returncode == 1 and rows is None
        assert words in done.stderr and "Traceback" not in done.stderr


def test_pictures_need_no_pyav(detect, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setitem(sys.modules, "av", None)  # as if it was not installed
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "notes").write_text("no picture")
    done, rows, summary, _ = detect(tmp_path / "a.png", tmp_path / "notes")
    assert done.returncode == 0 and rows is None and summary["images"] == 1
    (tmp_path / "a.mp4").touch()
    done, _, _, _ = detect(tmp_path / "a.mp4")
    assert done.returncode == 1 and "is empty" in done.stderr
    (tmp_path / "a.mp4").write_text("no film")
    done, _, _, _ = detect(tmp_path / "a.mp4")
    assert done.returncode == 1 and "pip install 'yolov1[video]'" in done.stderr


def test_flags_that_do_not_go_together(detect, film, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    for images, arguments, words in (
        (tmp_path / "a.png", ["--live"], "--live is of streams"),
        (tmp_path / "a.png", ["--max_frames=3"], "--max_frames is of streams"),
        (tmp_path / "a.png", [film], f"--images={film} is a stream, which is looked at alone"),
        (f"{film.parent}/*.mp4", [], f"a film, which is looked at alone: --images={film}."),
        (film, [f"--video={tmp_path}/a.gif"], "a film must end in .mp4"),
        (film, ["--seconds=0"], "--seconds"),
    ):
        done, _, _, _ = detect(images, *arguments)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_disk_that_is_full_is_said_with_the_file(detect, film, tmp_path):
    (tmp_path / "out").mkdir()
    lines = tmp_path / "out" / "detections.jsonl"
    lines.symlink_to("/dev/full")
    done, _, summary, _ = detect(film)
    assert done.returncode == 1 and f"error: {lines}: No space left on device" in done.stderr
    assert summary["ended"] == "by an error" and "Traceback" not in done.stderr


def test_a_window_where_there_is_no_display(detect, film, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    done, _, _, _ = detect(film, "--show")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "There is no display for a window" in done.stderr or "needs Tk" in done.stderr


def test_an_error_of_the_network_keeps_what_it_found(detect, film, tmp_path, monkeypatch):
    from yolov1 import inference

    look, calls = inference.Detector.detect, []

    def breaks(self, *arguments, **options):
        calls.append(None)
        if len(calls) == 4:  # the first traces
            raise ValueError("the network's output is NaN")
        return look(self, *arguments, **options)

    monkeypatch.setattr(inference.Detector, "detect", breaks)
    done, rows, summary, _ = detect(film, "--batch_size=8", f"--video={tmp_path / 'a.mp4'}")
    assert done.returncode == 1 and "output is NaN" in done.stderr
    assert len(rows) == summary["frames"] == 16 and summary["ended"] == "by an error"
    assert len(read_film(tmp_path / "a.mp4")[0]) == 16


def test_a_film_from_an_address(detect, film):
    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(film.parent))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done, rows, _, _ = detect(f"http://127.0.0.1:{server.server_port}/{film.name}")
        server.shutdown()
    assert done.returncode == 0 and len(rows) == 30


@contextlib.contextmanager
def standard_input(content):
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    with os.fdopen(read) as file:
        before, sys.stdin = sys.stdin, file
        try:
            yield
        finally:
            sys.stdin = before


def test_names_on_standard_input(detect, tmp_path):
    from PIL import Image

    for k in range(3):
        Image.new("RGB", (40 + k, 30)).save(tmp_path / f"{k}.png")
    names = [f"{tmp_path}/{k}.png" for k in (0, 1, 7, 2)]
    with standard_input("\n".join(names).encode()):
        done, rows, summary, out = detect("-")
    assert done.returncode == 0, done.stderr[-2000:]
    found = [row for row in rows if "detections" in row]
    assert [row["file"] for row in found] == [names[0], names[1], names[3]]
    assert [row["width"] for row in found] == [40, 41, 42]
    assert [row for row in rows if row not in found] == [
        {"file": names[2], "unreadable": f"the image {names[2]} does not exist"}
    ]
    assert (summary["frames"], summary["unreadable"], summary["detections"]) == (3, 1, 12)
    assert f"{names[0]}: 4 circle" in done.stdout
    assert f"cannot be read: {names[2]}: the image" in done.stdout
    for row in found:
        with Image.open(out / row["picture"]) as picture:
            assert min(picture.size) == 240
    with standard_input(f"{tmp_path}/none.png".encode()):
        assert detect("-")[0].returncode == 1


def test_a_folder_is_watched(detect, tmp_path):
    """Two pictures are there, one comes; the file is written below the folder itself."""
    from PIL import Image

    for name in "ab":
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
    (tmp_path / "out").mkdir()

    def late():
        end = time.monotonic() + 20
        lines = tmp_path / "out" / "detections.jsonl"
        while not (lines.exists() and lines.read_text().count("\n") == 2):
            assert time.monotonic() < end
            time.sleep(0.05)
        Image.new("RGB", (40, 30)).save(tmp_path / "c.png")

    thread = threading.Thread(target=late)
    thread.start()
    done, rows, summary, out = detect(f"watch:{tmp_path}", "--max_frames=3", "--seconds=30")
    thread.join()
    assert done.returncode == 0, done.stderr[-2000:]
    assert [os.path.basename(row["file"]) for row in rows] == ["a.png", "b.png", "c.png"]
    assert len(os.listdir(out / "pictures")) == 3 and summary["seconds"] < 25


@pytest.mark.slow
def test_a_signal_ends_a_watch_and_the_summary_is_there(known_run, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    process, out = start(known_run, f"watch:{tmp_path}", tmp_path)
    wait_for_lines(process, out, 1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "1 frames, 4 boxes" in said
    rows, summary = written(out)
    assert summary["ended"] == "by a signal" and len(rows) == summary["frames"] == 1


@pytest.mark.slow
def test_ctrl_c_ends_a_film_and_what_was_written_is_whole(known_run, tmp_path):
    pytest.importorskip("av", reason="films are read by PyAV")
    path = write_film(tmp_path / "a.mp4", greys(500), sound="aac")
    process, out = start(known_run, path, tmp_path, "--live", f"--video={tmp_path / 'b.mp4'}")
    wait_for_lines(process, out, 10)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    rows, summary = written(out)
    assert 10 <= len(rows) == summary["frames"] < 500
    assert len(read_film(tmp_path / "b.mp4")[0]) == len(rows)


def start(run, images, folder, *arguments):
    out = folder / "out"
    command = [sys.executable, "-m", "experiments.detect", f"--checkpoint={run}"]
    process = subprocess.Popen(
        [*command, f"--images={images}", f"--output_dir={out}", *arguments],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, out


def wait_for_lines(process, out, count):
    lines, end = out / "detections.jsonl", time.monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") >= count):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
