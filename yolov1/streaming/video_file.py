"""Pictures to a film: H.264 or VP9, with the sound of the source."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from yolov1.files import make_folder, naming
from yolov1.streaming.containers import colours_of, import_av
from yolov1.streaming.frames import StreamError
from yolov1.streaming.sound import Sound

_H264 = ("libx264", {"preset": "veryfast", "crf": "21"})
_VP9 = (
    "libvpx-vp9",
    {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0", "row-mt": "1"},
)
# By suffix: the container's format, and the encoder with its options.
FORMATS = {
    ".mp4": ("mp4", *_H264),
    ".m4v": ("mp4", *_H264),
    ".mkv": ("matroska", *_H264),
    ".webm": ("webm", *_VP9),
}
TICKS = 90_000  # a second; a frame is at least a millisecond long, which is WebM's tick


class VideoFile:
    """A film that takes its place once whole; use it in a ``with``.

    Every picture is shown from its frame's time on, so a film whose frames are not equally far
    apart stays one. The first picture decides the size; one of another size is fitted into it on
    black. The format wants even sides: an odd one gets its last row or column twice.

    Args:
        path: ``.mp4``, ``.m4v`` and ``.mkv`` hold H.264, ``.webm`` VP9.
        source: whose sound is kept: as it is where the format takes its codec, else as AAC or, in
            WebM, Opus. It must not have been run yet.

    Raises:
        StreamError: another suffix, a folder, the file that is read, or PyAV is not installed.
    """

    def __init__(self, path, source):
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in FORMATS:
            known, got = ", ".join(FORMATS), suffix or "no suffix"
            raise StreamError(f"{self.path}: a film must end in {known}, got {got}.")
        if self.path.is_dir():
            raise StreamError(f"{self.path} is a folder, expected the name of a film.")
        if self.path.exists() and Path(source.name).exists() and self.path.samefile(source.name):
            raise StreamError(f"{self.path} is what is read. Write the film to another file.")
        self._av = import_av()
        self._format, self._codec, self._options = FORMATS[suffix]
        self._source = source
        if source.audio is not None:
            source.sound = Sound(source.audio, self._format)
        self._container = self._stream = self._size = None
        self._ticks = -TICKS
        self._partial = self.path.with_name(self.path.name + ".partial")
        make_folder(self.path.parent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, frame, picture):
        """Adds the picture that was made of a frame, uint8 ``[H, W, 3]``."""
        with naming(self.path):
            if self._container is None:
                self._open(frame, picture)
            video = self._av.VideoFrame.from_ndarray(fitted(picture, self._size), format="rgb24")
            video = video.reformat(format="yuv420p", dst_colorspace=self._colours)
            self._ticks = max(round(frame.time * TICKS), self._ticks + TICKS // 1000)
            video.pts, video.time_base = self._ticks, Fraction(1, TICKS)
            if self._sound is not None:
                self._sound.write(self._container)
            self._container.mux(self._stream.encode(video))

    def close(self):
        """Writes what the encoders still hold; the file is there then, if there was a frame."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            with naming(self.path), contextlib.closing(container):
                container.mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.end(container)
            os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _open(self, frame, picture):
        height, width = (side + side % 2 for side in picture.shape[:2])
        self._size = height, width
        self._container = self._av.open(str(self._partial), "w", format=self._format)
        rate = self._source.rate or Fraction(25)
        stream = self._container.add_stream(self._codec, rate=rate, options=self._options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.sample_aspect_ratio = self._source.aspect
        self._colours, number = colours_of(height)
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = number
        self._stream = stream
        self._sound = self._source.sound
        if self._sound is not None:
            self._sound.begin(self._container)


def fitted(picture, size) -> np.ndarray:
    """A picture ``[H, W, 3]`` in the size ``(height, width)``: as it is but for an odd side's last
    row or column, else as large as fits, in the middle, on black."""
    height, width = size
    missing = height - picture.shape[0], width - picture.shape[1]
    if missing == (0, 0):
        return picture
    if all(0 <= m <= 1 for m in missing):
        return np.pad(picture, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = [max(1, round(scale * side)) for side in picture.shape[1::-1]]
    canvas = Image.new("RGB", (width, height))
    canvas.paste(
        Image.fromarray(picture).resize(inner, Image.BILINEAR),
        ((width - inner[0]) // 2, (height - inner[1]) // 2),
    )
    return np.asarray(canvas)
