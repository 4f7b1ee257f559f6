import os
import threading
from fractions import Fraction

import numpy as np
import pytest

from tests.streaming.films import (
    Brightness,
    greys,
    number_of,
    read_film,
    resident_bytes,
    write_film,
)
from yolov1 import streaming
from yolov1.streaming.video_file import fitted

av = pytest.importorskip("av", reason="films are written by PyAV: pip install 'yolov1[video]'")


def copy_of(film, target, **options):
    """Every frame of a film in another one; gives the frames."""
    source = streaming.open_source(film)
    run = streaming.run(Brightness(), source, 4, **options)
    frames = []
    with streaming.VideoFile(target, source) as video:
        for result in run:
            video.write(result.frame, result.frame.image)
            frames.append(result.frame)
    return frames


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "h264"), ("a.m4v", "h264"), ("a.mkv", "h264"), ("a.webm", "vp9")],
)
def test_frames_keep_their_times_and_pixels(tmp_path, name, codec):
    times = [0, 0.04, 0.08, 0.5, 0.54, 0.58, 1.2]
    film = write_film(tmp_path / "in.mp4", greys(7), times=times)
    copy_of(film, tmp_path / name)
    seen, images, kinds, _ = read_film(tmp_path / name)
    assert kinds == {"video": codec}
    assert seen == pytest.approx(times, abs=1e-3)  # WebM and Matroska count milliseconds
    assert [number_of(image) for image in images] == list(range(7))
    assert sorted(os.listdir(tmp_path)) == sorted({"in.mp4", name})  # nothing partial is left


def test_colours_are_kept(tmp_path):
    for size in ((48, 64), (720, 1280)):
        colours = np.array([(220, 30, 30), (30, 200, 30), (30, 30, 210), (230, 220, 40)], np.uint8)
        image = np.repeat(np.repeat(colours.reshape(2, 2, 3), size[0] // 2, 0), size[1] // 2, 1)
        source = streaming.from_arrays([image])
        with streaming.VideoFile(tmp_path / "a.mp4", source) as video:
            for frame in source.frames(threading.Event()):
                video.write(frame, frame.image)
        frames = streaming.run(Brightness(), streaming.open_source(tmp_path / "a.mp4"))
        (seen,) = (result.frame.image for result in frames)
        middle = seen[size[0] // 4 :: size[0] // 2, size[1] // 4 :: size[1] // 2]
        assert np.abs(middle.reshape(4, 3).astype(int) - colours).max() <= 6, size


@pytest.mark.parametrize("shape", [(47, 63), (48, 63), (47, 64)])
def test_odd_sides_are_made_even(tmp_path, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    source = streaming.from_arrays([image] * 3)
    with streaming.VideoFile(tmp_path / "a.mp4", source) as video:
        for result in streaming.run(Brightness(), source):
            video.write(result.frame, result.frame.image)
    _, images, _, _ = read_film(tmp_path / "a.mp4")
    assert {i.shape[:2] for i in images} == {(48, 64)}
    assert all(np.abs(i.astype(int) - 90).max() < 8 for i in images)  # no black seam


def test_a_frame_of_another_size_is_fitted_in():
    picture = np.full((10, 30, 3), 200, np.uint8)
    np.testing.assert_array_equal(fitted(picture, (10, 30)), picture)
    wide = fitted(picture, (40, 60))
    assert wide.shape == (40, 60, 3)
    assert (wide[10:30] == 200).all() and not wide[:10].any() and not wide[30:].any()
    assert (fitted(np.zeros((9, 29, 3), np.uint8) + 7, (10, 30)) == 7).all()


def test_times_that_stand_still_still_rise(tmp_path):
    source = streaming.from_arrays(greys(3))
    with streaming.VideoFile(tmp_path / "a.webm", source) as video:
        for k, image in enumerate(greys(3)):
            video.write(streaming.Frame(image, k, Fraction(1, 2)), image)
    assert read_film(tmp_path / "a.webm")[0] == pytest.approx([0.5, 0.501, 0.502])


@pytest.mark.parametrize(
    ("given", "codec", "target", "kept", "same"),
    [
        ("in.mp4", "aac", "a.mp4", "aac", True),
        ("in.ts", "aac", "b.mp4", "aac", True),
        ("in.mkv", "libopus", "a.webm", "opus", True),
        ("in.mkv", "libopus", "c.mp4", "opus", True),
        ("in.mp4", "aac", "b.webm", "opus", False),
        ("in.mkv", "pcm_s16le", "d.mp4", "aac", False),
    ],
)
def test_the_sound_is_kept(tmp_path, given, codec, target, kept, same):
    film = write_film(tmp_path / given, greys(50), sound=codec)
    copy_of(film, tmp_path / target)
    _, _, kinds, seconds = read_film(tmp_path / target)
    assert kinds["audio"] == kept
    assert seconds == pytest.approx(2, abs=0.1)
    packets = [packets_of_sound(film), packets_of_sound(tmp_path / target)]
    if same:  # and bit by bit, but for the headers that a transport stream has
        cut = 7 if given.endswith(".ts") else 0
        assert [p[cut:] for p in packets[0]] == packets[1]
    # It is the tone that it was, where it was: 440 Hz, under the pictures' time.
    wave, rate, begin = samples_of(tmp_path / target)
    tone = np.fft.rfftfreq(len(wave), 1 / rate)[np.abs(np.fft.rfft(wave)).argmax()]
    assert tone == pytest.approx(440, abs=2) and abs(begin) < 0.05


def packets_of_sound(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.dts is not None]


def samples_of(path):
    with av.open(str(path)) as container:
        parts = list(container.decode(audio=0))
    wave = np.concatenate([p.to_ndarray().reshape(-1) for p in parts]).astype(float)
    return wave, parts[0].sample_rate, parts[0].time


def test_the_sound_of_a_film_that_begins_late(tmp_path):
    """By its own clock: pictures and sound are moved alike."""
    late = {"output_ts_offset": "3"}
    film = write_film(tmp_path / "in.ts", greys(25), sound="aac", container_options=late)
    with av.open(str(film)) as container:
        assert container.start_time > 2_900_000
    copy_of(film, tmp_path / "a.mkv")
    times = read_film(tmp_path / "a.mkv")[0]
    assert times[0] < 0.1 and abs(samples_of(tmp_path / "a.mkv")[2]) < 0.1


def test_sound_is_not_waited_for_nor_lost_when_a_film_is_cut_short(tmp_path):
    film = write_film(tmp_path / "in.mp4", greys(100), sound="aac")
    assert len(copy_of(film, tmp_path / "a.mp4", max_frames=25)) == 25
    times, _, _, seconds = read_film(tmp_path / "a.mp4")
    assert len(times) == 25 and 0.9 < seconds < 2.5


def test_what_was_written_is_whole_after_an_error(tmp_path):
    source = streaming.from_arrays(greys(40))
    with pytest.raises(KeyError):
        with streaming.VideoFile(tmp_path / "a.mp4", source) as video:
            for result in streaming.run(Brightness(), source):
                video.write(result.frame, result.frame.image)
                if result.frame.index == 19:
                    raise KeyError
    assert len(read_film(tmp_path / "a.mp4")[0]) == 20


def test_without_a_frame_there_is_no_file(tmp_path):
    with streaming.VideoFile(tmp_path / "new" / "a.mp4", streaming.from_arrays([])):
        pass
    assert os.listdir(tmp_path / "new") == []


def test_what_no_film_can_be_is_refused(tmp_path):
    for name, words in (("a.gif", r"got \.gif"), ("a", "got no suffix")):
        with pytest.raises(streaming.StreamError, match=rf"end in \.mp4, .*\.webm, {words}"):
            streaming.VideoFile(tmp_path / name, streaming.from_arrays([]))
    film = write_film(tmp_path / "in.mp4", greys(2))
    (tmp_path / "link.mp4").symlink_to(film)
    with pytest.raises(streaming.StreamError, match="is what is read"):
        streaming.VideoFile(tmp_path / "link.mp4", streaming.open_source(film))
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(streaming.StreamError, match="folder.mp4 is a folder"):
        streaming.VideoFile(tmp_path / "folder.mp4", streaming.from_arrays([]))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be a folder"):
        streaming.VideoFile(tmp_path / "file" / "a.mp4", streaming.from_arrays([]))


def test_a_film_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.mp4.partial").symlink_to(tmp_path / "none" / "a.mp4")
    source = streaming.from_arrays(greys(1))
    with (
        pytest.raises(FileNotFoundError) as caught,
        streaming.VideoFile(tmp_path / "a.mp4", source) as video,
    ):
        (frame,) = source.frames(threading.Event())
        video.write(frame, frame.image)
    assert caught.value.filename == str(tmp_path / "a.mp4")


@pytest.mark.slow
def test_memory_does_not_grow_with_a_film(tmp_path):
    """Six thousand frames, four minutes, with sound, read from one file and written to another."""
    sizes = []
    film = write_film(tmp_path / "in.mp4", greys(6000, (240, 320)), sound="aac")
    source = streaming.open_source(film)
    run = streaming.run(Brightness(), source, 8)
    with (
        streaming.JsonLines(tmp_path / "a.jsonl", Brightness.classes) as lines,
        streaming.VideoFile(tmp_path / "a.mp4", source) as video,
    ):
        for result in run:
            lines.write(result)
            video.write(result.frame, streaming.draw(result, Brightness.classes))
            if result.frame.index % 500 == 499:
                sizes.append(resident_bytes())
    assert len(sizes) == 12 and max(sizes[3:]) - sizes[2] < 20 * 2**20
    assert len(read_film(tmp_path / "a.mp4")[0]) == 6000
