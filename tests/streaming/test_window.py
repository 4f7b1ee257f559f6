"""On a display of its own, where Xvfb is installed."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from tests.streaming.films import Brightness
from yolov1 import streaming

tkinter = pytest.importorskip("tkinter", reason="a window needs Tk")


@pytest.fixture
def display(monkeypatch):
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is a display that nobody sees: apt-get install xvfb")
    read, write = os.pipe()
    options = ["-displayfd", str(write), "-screen", "0", "320x240x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        ["Xvfb", *options], pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(write)
    with os.fdopen(read) as file:
        number = file.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield
    server.terminate()
    server.wait(10)


def test_a_window_shows_frames_until_it_is_closed(display):
    from PIL import ImageGrab

    images = (np.full((400, 1000, 3), (20, 200, 20), np.uint8) for _ in range(1000))
    run = streaming.run(Brightness(), streaming.from_arrays(images), 2)
    seen = []
    with streaming.Window("a title", run.stop) as window:
        for result in run:
            window.show(result.frame, result.frame.image)
            if result.frame.index == 5:
                screen = np.asarray(ImageGrab.grab(xdisplay=os.environ["DISPLAY"]))
                # 1000 pixels wide: as large as the screen is, and no larger.
                green = (screen[..., 1] > 150) & (screen[..., 0] < 100)
                assert 0.9 * 320 * 128 <= green.sum() <= 320 * 128
                window._window.event_generate("<Escape>")
                window._window.update()
            seen.append(result.frame.index)
    assert 6 <= len(seen) < 30  # what was under way still comes


def test_without_a_display_it_is_said(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(streaming.StreamError, match="There is no display for a window"):
        streaming.Window("a title", None)
