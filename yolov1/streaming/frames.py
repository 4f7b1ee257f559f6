"""A frame, and what all sources of frames have in common."""

import dataclasses
from collections.abc import Callable, Generator
from fractions import Fraction
from threading import Event

import numpy as np


class StreamError(OSError):
    """A source that cannot be opened, or a file of frames that cannot be written."""


class BrokenOff(StreamError):
    """A source that ended before its end: what came before is good."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
        image: uint8 ``[H, W, 3]`` RGB, upright.
        index: its place in the source, from 0; frames that were dropped are counted.
        time: seconds from the source's beginning; exact, as films have it.
        name: the file, of a picture that has one of its own.
    """

    image: np.ndarray
    index: int
    time: Fraction | float
    name: str | None = None

    @property
    def seconds(self) -> float:
        return float(self.time)


@dataclasses.dataclass
class Source:
    """Where frames come from.

    Attributes:
        name: for people; of an address, without user and password.
        frames: called once, with an event; a generator of frames that ends with the source, or
            soon after the event is set.
        live: frames come at their own pace: each is looked at as soon as it is there, where those
            of a file wait for a full batch.
        rate: frames a second on average; None where nobody knows.
        aspect: width of a pixel divided by its height, of an upright frame; right from the first
            frame on.
        audio: PyAV's audio stream; None: no sound.
        sound: what is to become of the sound; set by whoever writes it, before the first frame.
        damaged: parts that could not be decoded, and frames that the decoder calls corrupt.
    """

    name: str
    frames: Callable[[Event], Generator[Frame]]
    live: bool = False
    rate: Fraction | None = None
    aspect: Fraction = Fraction(1)
    audio: object = None
    sound: object = None
    damaged: int = 0


def from_arrays(images, rate=25, name="arrays") -> Source:
    """A source of images that are in memory, or that a generator makes: uint8 ``[H, W, 3]``."""
    rate = Fraction(rate)

    def frames(stop):
        for index, image in enumerate(images):
            if stop.is_set():
                return
            yield Frame(image, index, index / rate)

    return Source(name, frames, rate=rate)
