"""Films of a few frames, made with PyAV, and a detector whose answers are known."""

import resource
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from yolov1 import inference

TICKS = 90_000


def write_film(
    path,
    images,
    *,
    times=None,
    codec="libx264",
    format=None,
    sound=None,
    rotation=0,
    aspect=None,
    options=None,
    container_options=None,
):
    """Writes images uint8 ``[H, W, 3]`` (even sides) as a film, and gives its path.

    Args:
        times: seconds of each; by default 25 a second.
        sound: codec of a sine of 440 Hz that lasts as long.
        rotation: in degrees against the clock, that the file asks a player for.
    """
    import av

    images = list(images)
    times = [k / 25 for k in range(len(images))] if times is None else times
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25 if codec == "mpeg4" else TICKS)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if sound:
            track = container.add_stream(sound, rate=48000, layout="mono")
        for image, seconds in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            for part in _sine(av, times[-1] + 0.04):
                container.mux(track.encode(part))
            container.mux(track.encode(None))
    return path


def _sine(av, seconds, part=1920):
    wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * 48000)) / 48000)
    samples = (wave[None] * 8000).astype(np.int16)
    for start in range(0, samples.shape[1], part):
        few = np.ascontiguousarray(samples[:, start : start + part])
        frame = av.AudioFrame.from_ndarray(few, "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        yield frame


def greys(count, size=(48, 64)):
    """Images that can be told apart by their brightness, which `number_of` reads."""
    return [np.full((*size, 3), 20 + 5 * (k % 40), np.uint8) for k in range(count)]


def number_of(image) -> int:
    return round((float(np.mean(image)) - 20) / 5)


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def read_film(path):
    """(times, images, codec by kind of stream, seconds of sound) of a film."""
    import av

    with av.open(str(path)) as container:
        kinds = {s.type: s.codec_context.codec.canonical_name for s in container.streams}
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    sound = 0.0
    if "audio" in kinds:
        with av.open(str(path)) as container:
            for part in container.decode(audio=0):
                sound += part.samples / part.sample_rate
    return [t for t, _ in frames], [i for _, i in frames], kinds, sound


class Brightness:
    """A detector that finds one box in a frame, whose score is the frame's brightness."""

    classes = ("grey", "other")

    def __init__(self, seconds=0.0):
        self.batches, self.seconds = [], seconds

    def detect(self, images, batch_size=32, watch=None):
        self.batches.append(len(images))
        time.sleep(self.seconds)
        return [
            inference.Detections([[0.25, 0.25, 0.75, 0.75]], [float(np.mean(image)) / 255], [0])
            for image in images
        ]
