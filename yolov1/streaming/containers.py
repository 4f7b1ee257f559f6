"""Films, cameras and addresses as sources, by PyAV."""

import functools
import math
import os
import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from yolov1.streaming.frames import BrokenOff, Frame, Source, StreamError

# Suffixes by which films are known without a look at them.
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv", ".vob"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".mxf", ".y4m", ".h264", ".hevc", ".mjpg", ".mjpeg"),
)
# What PyAV's formats call films and are none: text as terminals show it, and pictures.
_NO_FILMS = ("tty", "image2", "_pipe")
_UNSPECIFIED = 2  # the colours of a film that says nothing of them
_HD = 720  # the height from which on a film is of high definition
TIMEOUT = 10.0  # seconds that an address may take to answer, and to send more
DAMAGED_AT_ONCE = 100  # parts of a file that cannot be read before no more is looked for


def import_av():
    """PyAV.

    Raises:
        StreamError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise StreamError(
            f"Films and cameras need PyAV, which cannot be imported ({error}). Install it with "
            "pip install 'yolov1[video]'."
        ) from None
    av.logging.set_level(None)  # a decoder's own words on every damaged part
    return av


def is_film(path) -> bool:
    """Whether a file that is no picture is a film: by its suffix, else by its content."""
    path = Path(path)
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        av = import_av()
    except StreamError:
        return False
    try:
        with av.open(str(path)) as container:
            named = container.format.name
            return bool(container.streams.video) and not any(w in named for w in _NO_FILMS)
    except av.error.FFmpegError:
        return False


def film(path) -> Source:
    """The frames of a video file.

    Raises:
        StreamError: it cannot be opened, or holds no pictures.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise StreamError(f"{path}: no such file.")
    if os.path.isdir(path):
        raise StreamError(f"{path} is a folder, expected a film.")
    if not os.path.getsize(path):
        raise StreamError(f"{path} is empty.")
    return _source(path, path, live=False)


def camera(which="0") -> Source:
    """A camera of this machine, by Video4Linux.

    Args:
        which: its number, or the path of its device.

    Raises:
        StreamError: there is none, or it cannot be opened.
    """
    device = f"/dev/video{which}" if which.isdecimal() else which
    name = f"camera:{which}"
    if not sys.platform.startswith("linux"):
        raise StreamError(f"{name}: cameras are read on Linux only, this is {sys.platform}.")
    if not os.path.exists(device):
        there = sorted(str(path) for path in Path("/dev").glob("video*"))
        raise StreamError(
            f"{name}: there is no {device}. Devices here: {', '.join(there) or 'none'}."
        )
    return _source(name, device, live=True, format="v4l2")


def address(url) -> Source:
    """A stream of rtsp, http or https. What has an end that is known beforehand is read as a file
    is, anything else is live.

    Raises:
        StreamError: nothing answers within `TIMEOUT`, or what comes holds no pictures.
    """
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    name = re.sub(r"(?<=://)[^/?#]*@", "", url)  # user and password are nobody else's business
    return _source(name, url, live=None, timeout=(TIMEOUT, TIMEOUT), options=options)


def _source(name, place, *, live, **options) -> Source:
    av = import_av()
    try:
        container = av.open(place, **options)
    except av.error.FFmpegError as error:
        raise StreamError(f"{name} cannot be opened: {_words(error)}.") from None
    streams = [s for s in container.streams.video if not _is_cover(av, s)]
    if not streams:
        held = sorted({stream.type for stream in container.streams}) or ["nothing"]
        container.close()
        raise StreamError(f"{name} holds no pictures that move, it holds: {', '.join(held)}.")
    stream = streams[0]
    live = container.duration is None if live is None else live
    # Decoding several frames at once keeps a few back, which a live stream cannot wait for.
    stream.thread_type = "SLICE" if live else "AUTO"
    audio = next(iter(container.streams.audio), None)
    source = Source(
        name, None, live, stream.average_rate, stream.sample_aspect_ratio or Fraction(1), audio
    )
    source.frames = functools.partial(_frames, av, container, stream, source)
    return source


def _is_cover(av, stream):
    """The picture on a record's sleeve."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _words(error):
    if type(error).__name__ == "ExitError":  # what PyAV's clock makes of it
        return f"nothing came for {TIMEOUT:g} s"
    return f"{error.strerror or error} ({type(error).__name__})"


def _frames(av, container, stream, source, stop):
    clock = _Clock(container, stream, source.rate)
    index = 0
    with container:
        for packet in _packets(av, container, stream, source):
            if stop.is_set():
                return
            decoded = ()
            try:
                if packet is None or packet.stream is stream:
                    decoded = stream.decode(packet)
                elif clock.begin is not None:
                    source.sound.add(packet, clock.begin)
            except av.error.FFmpegError:
                source.damaged += 1
            for picture in decoded:
                source.damaged += picture.is_corrupt
                turns = round(picture.rotation / 90)  # against the clock
                if not index and turns % 2:
                    source.aspect = 1 / source.aspect
                pixels = np.rot90(_pixels(picture), turns)
                yield Frame(np.ascontiguousarray(pixels), index, clock.at(picture))
                index += 1
        missing = clock.missing()
    if not index:
        raise BrokenOff(f"{source.name}: not one frame of it can be decoded.")
    if missing:
        raise BrokenOff(
            f"{source.name} breaks off: it should last {clock.promised:.2f} s, and the last frame "
            f"is at {float(clock.last):.2f} s. What came before is kept."
        )


def colours_of(height):
    """(what PyAV calls the colours of a film that says nothing of them, their number in a film): by
    custom BT.709 in those of high definition, else BT.601."""
    return ("ITU709", 1) if height >= _HD else ("ITU601", 6)


def _pixels(picture):
    if picture.colorspace == _UNSPECIFIED and picture.format.name.startswith("yuv"):
        return picture.reformat(
            format="rgb24", src_colorspace=colours_of(picture.height)[0]
        ).to_ndarray()
    return picture.to_ndarray(format="rgb24")


def _packets(av, container, stream, source):
    """Those of the pictures, and of the sound where somebody wants it; None before the error, for
    the decoder to give what it keeps back.

    Raises:
        BrokenOff: no more can be read.
    """
    streams = [stream] if source.sound is None else [stream, source.audio]
    damaged, reason = 0, "what follows is damaged"
    while damaged < DAMAGED_AT_ONCE:
        try:
            for packet in container.demux(streams):
                source.damaged += damaged
                damaged = 0
                yield packet
            return
        except av.error.InvalidDataError:
            damaged += 1
        except av.error.FFmpegError as error:
            reason = _words(error)
            break
    yield None
    raise BrokenOff(f"{source.name} breaks off: {reason}. What came before is kept.")


class _Clock:
    """The times of frames: from the container's beginning, and always rising.

    A film says at which time each of its frames is due, so frames need not be equally far apart.
    Where it does not, or the time jumps back, as in a stream that its sender started anew, a frame
    comes one step after the one before.
    """

    def __init__(self, container, stream, rate):
        self.stream, self.step = stream, 1 / (rate or Fraction(25))
        self.begin = None
        if container.start_time is not None and container.duration is not None:
            self.begin = Fraction(container.start_time, 1_000_000)  # so that the sound keeps step
        self.last, self.end = None, 0

    def at(self, picture) -> Fraction:
        follows = Fraction(0) if self.last is None else self.last + self.step
        if picture.pts is None:
            now = follows
        else:
            stamp = picture.pts * self.stream.time_base
            self.begin = stamp if self.begin is None else self.begin
            now = stamp - self.begin
            if self.last is not None and now <= self.last:
                self.begin, now = stamp - follows, follows
        length = (picture.duration or 0) * self.stream.time_base
        self.last, self.end = now, now + (length or self.step)
        return now

    @property
    def promised(self) -> float | None:
        """Seconds that the film's own table says that the pictures last; None: it says nothing."""
        stream = self.stream
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        text = stream.metadata.get("DURATION")  # of Matroska and WebM: 00:01:02.500000000
        try:
            hours, minutes, seconds = (text or "").split(":")
            total = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        except ValueError:  # there is none, or a text that some program put there
            return None
        return total if math.isfinite(total) else None

    def missing(self) -> bool:
        """Whether more than the last moments of what was promised did not come."""
        return self.promised is not None and self.end < self.promised - max(0.5, 2 * self.step)
