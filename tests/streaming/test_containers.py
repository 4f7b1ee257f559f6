import contextlib
import functools
import http.server
import os
import socket
import threading
import time
import types
from fractions import Fraction

import numpy as np
import pytest

from tests.streaming.films import Brightness, greys, number_of, read_film, write_film
from yolov1 import streaming
from yolov1.streaming import containers

av = pytest.importorskip("av", reason="films are read by PyAV: pip install 'yolov1[video]'")


def frames_of(source):
    return list(source.frames(threading.Event()))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "a.mp4", greys(30))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *(("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.mov", "mpeg4")),
        *(("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.mjpeg", "mjpeg")),
    ],
)
def test_every_frame_of_a_film_at_its_time(tmp_path, name, codec):
    source = streaming.open_source(write_film(tmp_path / name, greys(12), codec=codec))
    assert not source.live and source.audio is None and source.rate == 25
    frames = frames_of(source)
    assert [frame.index for frame in frames] == list(range(12))
    assert [number_of(frame.image) for frame in frames] == pytest.approx(range(12), abs=1)
    seconds = [frame.seconds for frame in frames]
    assert seconds == pytest.approx([k / 25 for k in range(12)], abs=2e-3)
    assert frames[0].image.shape == (48, 64, 3) and frames[0].image.dtype == np.uint8
    assert source.damaged == 0


def test_times_need_not_be_equally_far_apart(tmp_path):
    times = [0, 0.04, 0.08, 0.5, 0.51, 2.0]

    source = streaming.open_source(write_film(tmp_path / "a.mp4", greys(6), times=times))
    want = [Fraction(t).limit_denominator(90_000) for t in times]
    assert [frame.time for frame in frames_of(source)] == want


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_film_is_taken_upright(tmp_path, degrees):
    image = np.full((48, 64, 3), 30, np.uint8)
    image[:16, :16] = 220  # upper left, as it is stored
    write_film(tmp_path / "a.mp4", [image] * 3, rotation=degrees)
    seen = frames_of(streaming.open_source(tmp_path / "a.mp4"))[0].image
    want = np.rot90(image, degrees // 90)  # against the clock
    assert seen.shape == want.shape
    assert np.abs(seen.astype(int) - want).mean() < 8


def test_pixels_that_are_not_square(tmp_path):
    for rotation, want in ((0, Fraction(4, 3)), (90, Fraction(3, 4)), (180, Fraction(4, 3))):
        write_film(tmp_path / "a.mp4", greys(3), aspect=Fraction(4, 3), rotation=rotation)
        source = streaming.open_source(tmp_path / "a.mp4")
        frames_of(source)
        assert source.aspect == want


def test_films_are_told_by_content_too(film, tmp_path):
    (tmp_path / "film").write_bytes(film.read_bytes())
    assert streaming.is_stream(tmp_path / "film")
    (tmp_path / "note.txt").write_text("frames\n" * 200)
    (tmp_path / "x.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    for name in ("note.txt", "x.bin"):
        assert not streaming.is_stream(tmp_path / name)


def test_an_animation_is_a_picture_unless_it_is_called_a_film(tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(image) for image in greys(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert not streaming.is_stream(tmp_path / "a.gif")
    assert len(frames_of(streaming.open_source(tmp_path / "a.gif"))) == 1
    named = f"video:{tmp_path / 'a.gif'}"
    assert streaming.is_stream(named)
    frames = frames_of(streaming.open_source(named))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_film_whose_frame_size_changes(tmp_path):
    small = write_film(tmp_path / "a.ts", greys(5, (48, 64)))
    large = write_film(tmp_path / "b.ts", greys(5, (96, 128)))
    (tmp_path / "c.ts").write_bytes(small.read_bytes() + large.read_bytes())
    frames = frames_of(streaming.open_source(tmp_path / "c.ts"))
    assert {frame.image.shape[:2] for frame in frames} == {(48, 64), (96, 128)}
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(set(seconds)) and len(seconds) == 10  # its time starts anew


# What is wrong with a film as a whole.


def sound_alone(path):
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        container.mux(track.encode(frame))
        container.mux(track.encode(None))


def test_what_is_no_film_is_refused_in_a_sentence(film, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:-400])  # its table is at its end
    sound_alone(tmp_path / "sound.mp4")
    for name, words in {
        "empty.mp4": "empty.mp4 is empty",
        "text.mp4": r"text.mp4 cannot be opened: Invalid data found when processing input",
        "cut.mp4": "cut.mp4 cannot be opened: ",
        "sound.mp4": "holds no pictures that move, it holds: audio",
        "none.mp4": "no such file",
    }.items():
        with pytest.raises(streaming.StreamError, match=words):
            streaming.open_source(tmp_path / name)
    with pytest.raises(streaming.StreamError, match="is a folder"):
        streaming.open_source(f"video:{tmp_path}")


def test_a_film_of_no_frame(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(streaming.StreamError, match="not one frame|cannot be opened"):
        frames_of(streaming.open_source(tmp_path / "a.mkv"))


def broken(source):
    """(frames that came, the sentence that ended them)."""
    frames = []
    with pytest.raises(streaming.BrokenOff) as raised:
        for frame in source.frames(threading.Event()):
            frames.append(frame)
    return frames, str(raised.value)


def noise(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_a_film_that_is_cut_keeps_what_came_before(tmp_path, name):
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    write_film(
        tmp_path / name,
        noise(60),
        codec=codec,
        container_options={"movflags": "faststart"} if name == "a.mp4" else None,
        options={"g": "10"},
    )
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    frames, words = broken(streaming.open_source(tmp_path / name))
    assert 15 <= len(frames) < 45 and [f.index for f in frames] == list(range(len(frames)))
    assert "breaks off" in words and "What came before is kept." in words


def test_a_film_damaged_in_its_middle_goes_on_after_it(tmp_path):
    path = write_film(tmp_path / "a.mp4", noise(60), options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = np.random.default_rng(1).bytes(6000)
    path.write_bytes(content)
    source = streaming.open_source(path)
    frames = frames_of(source)
    assert 40 <= len(frames) <= 60 and source.damaged > 0
    assert frames[-1].seconds == pytest.approx(59 / 25)


def test_sound_that_is_damaged_does_not_end_a_film(tmp_path):
    path = write_film(tmp_path / "a.mp4", greys(40), sound="aac")
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.dts is not None]
    content = bytearray(path.read_bytes())
    for start, size in places[20:30]:
        content[start : start + size] = np.random.default_rng(1).bytes(size)
    path.write_bytes(content)
    source = streaming.open_source(path)
    with streaming.VideoFile(tmp_path / "a.webm", source) as video:
        for result in streaming.run(Brightness(), source):
            video.write(result.frame, result.frame.image)
    assert source.damaged > 0
    times, _, _, seconds = read_film(tmp_path / "a.webm")
    assert len(times) == 40 and seconds > 1


# Cameras and addresses.


def test_a_camera_that_is_not_there():
    with pytest.raises(streaming.StreamError, match=r"there is no /dev/video77\. Devices here:"):
        streaming.open_source("camera:77")


def test_what_is_endless_is_live_and_stops():
    """FFmpeg's test picture stands in for a camera."""
    source = containers._source("test", "testsrc=size=64x48:rate=100", live=True, format="lavfi")
    run = streaming.run(Brightness(), source, 4, seconds=0.3)
    indices = [result.frame.index for result in run]
    assert len(indices) > 10 and indices == list(range(len(indices)))
    assert run.figures()["seconds"] < 3


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_an_address_where_nobody_answers(scheme):
    url = f"{scheme}://127.0.0.1:9/x"
    assert streaming.is_stream(url)
    with pytest.raises(streaming.StreamError, match=f"{url} cannot be opened: Connection refused"):
        streaming.open_source(url)


def test_the_password_of_an_address_is_not_told():
    url = "rtsp://me:pa@ss@127.0.0.1:9/a@b"
    with pytest.raises(streaming.StreamError, match="^rtsp://127.0.0.1:9/a@b cannot be opened"):
        streaming.open_source(url)


def test_an_address_that_says_nothing(monkeypatch):
    monkeypatch.setattr(containers, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        begin = time.monotonic()
        with pytest.raises(streaming.StreamError, match="cannot be opened: nothing came for 0.3 s"):
            streaming.open_source(url)
        assert time.monotonic() - begin < 5


@contextlib.contextmanager
def served(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_film_at_an_address(film):
    with served(functools.partial(Quiet, directory=str(film.parent))) as url:
        frames = frames_of(streaming.open_source(f"{url}/{film.name}"))
        assert [number_of(frame.image) for frame in frames] == pytest.approx(range(30), abs=1)
        with pytest.raises(streaming.StreamError, match="404"):
            streaming.open_source(f"{url}/none.mp4")


def stream_of(content, seconds, says=None):
    """A handler that sends the content in ten parts over so long.

    Args:
        says: the length that it announces; None: none, the sender says when it is at its end.
    """

    class Slowly(Quiet):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            announced = ("Content-Length", str(says)) if says else ("Transfer-Encoding", "chunked")
            self.send_header(*announced)
            self.end_headers()
            for part in (*np.array_split(np.frombuffer(content, np.uint8), 10), np.empty(0)):
                part = part.tobytes()
                self.wfile.write(part if says else b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(seconds / 10)
            self.close_connection = True

    return Slowly


def test_a_stream_without_an_end_is_live(tmp_path):
    content = write_film(tmp_path / "a.ts", greys(40), options={"bf": "0"}).read_bytes()
    with served(stream_of(content, 0.5)) as url:
        source = streaming.open_source(f"{url}/live")
        assert source.live
        results = list(streaming.run(Brightness(), source, 8))
    assert [result.frame.index for result in results] == list(range(40))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("01:02:03.500", 3723.5), ("2 minutes", None), ("1:2", None), ("0:0:inf", None)],
)
def test_a_length_is_read_where_a_film_says_one(text, seconds):
    """As Matroska does it, in a tag that anyone can write."""
    container = types.SimpleNamespace(start_time=None, duration=None)
    stream = types.SimpleNamespace(duration=None, metadata={"DURATION": text})
    clock = containers._Clock(container, stream, None)
    assert clock.promised == seconds and clock.missing() == (seconds is not None)


def test_a_stream_that_breaks_off(tmp_path):
    content = write_film(tmp_path / "a.ts", noise(40), options={"g": "5"}).read_bytes()
    with served(stream_of(content[: len(content) // 2], 0.2, says=len(content))) as url:
        results = []
        with pytest.raises(streaming.BrokenOff, match="breaks off"):
            for result in streaming.run(Brightness(), streaming.open_source(f"{url}/live"), 4):
                results.append(result)
    assert 10 <= len(results) < 30


def test_what_the_decoder_keeps_back_comes_before_the_end(tmp_path):
    """Of a film that breaks off between two frames, every frame comes."""
    path = write_film(tmp_path / "a.mp4", noise(30), container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        ends = [p.pos + p.size for p in container.demux(video=0) if p.dts is not None]
    content = path.read_bytes()
    with served(stream_of(content[: ends[14]], 0.1, says=len(content))) as url:
        frames, words = broken(streaming.open_source(f"{url}/a.mp4"))
    assert len(frames) == 15 and "breaks off: " in words


def test_a_stream_that_says_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "TIMEOUT", 0.5)
    content = write_film(tmp_path / "a.ts", noise(40), options={"g": "5"}).read_bytes()
    done = threading.Event()

    class Stalls(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            done.wait(20)

    with served(Stalls) as url:
        results = []
        with pytest.raises(streaming.BrokenOff, match="breaks off: nothing came for 0.5 s"):
            for result in streaming.run(Brightness(), streaming.open_source(f"{url}/live"), 4):
                results.append(result)
        done.set()
    assert 10 <= len(results) < 30


def test_without_pyav_it_is_named(monkeypatch, film):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(streaming.StreamError, match=r"pip install 'yolov1\[video\]'"):
        streaming.open_source(film)
    assert not streaming.is_stream(os.fspath(film.parent / "none"))
