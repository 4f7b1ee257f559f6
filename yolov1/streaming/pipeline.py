"""Decoding, network and what the caller does, each while the others work on other frames."""

import collections
import contextlib
import dataclasses
import itertools
import threading
import time

from yolov1 import inference
from yolov1.streaming.frames import Frame
from yolov1.streaming.latencies import Latencies

# How long the threads of a stream that was stopped may take to see it. One that waits for a camera
# or an address is left behind: it ends when its wait does.
PATIENCE = 2.0


@dataclasses.dataclass(frozen=True)
class Result:
    """A frame and what was found in it."""

    frame: Frame
    detections: inference.Detections


class Line:
    """What waits between two stages: bounded, and each of them can end it.

    Args:
        depth: most that waits; who has more must wait.
        newest: whoever has more does not wait; what has waited longest is dropped.
    """

    def __init__(self, depth, newest=False):
        self.dropped = 0
        self._depth, self._newest = depth, newest
        self._items = collections.deque()
        self._changed = threading.Condition()
        self._ended, self._error = False, None

    def put(self, item) -> bool:
        """False: the line has ended, and nobody will take the item."""
        with self._changed:
            while self._newest and len(self._items) >= self._depth:
                self._items.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._ended or len(self._items) < self._depth)
            if not self._ended:
                self._items.append(item)
            self._changed.notify_all()
            return not self._ended

    def take(self, least, most) -> list:
        """From `least` to `most` items, fewer once the line has ended, and none after the last.

        Raises:
            BaseException: with which the line ended, after the last item.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._items) >= least)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def end(self, error=None, discard=False):
        """Nothing more comes in; what waits can be taken, unless it is to be discarded."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            if discard:
                self._items.clear()
            self._changed.notify_all()


class Run:
    """See `run`."""

    def __init__(self, detector, source, *, batch_size, live, max_frames, seconds):
        self.detector, self.source = detector, source
        self._max_frames, self._seconds, self._live = max_frames, seconds, live
        at_once = 1 if live else batch_size
        self._batch = (1 if source.live or live else at_once, at_once)
        self._waiting = Line(at_once, newest=live)
        self._found = Line(at_once)
        self._stop = threading.Event()
        self._latencies = Latencies()
        self._busy = {"decode": 0.0, "network": 0.0, "draw": 0.0}
        self._frames, self._start, self._end = 0, None, None

    def stop(self):
        """Ends the source; the frames that it has given are still looked at, and their results come
        before the loop ends. For a handler of signals, or another thread."""
        self._stop.set()
        self._waiting.end()

    def __iter__(self):
        if self._start is not None:
            raise ValueError("streaming.run: a source has its frames once; make another run.")
        self._start = time.perf_counter()
        threads = [
            threading.Thread(target=stage, name=f"yolov1-{stage.__name__}", daemon=True)
            for stage in (self._decode, self._look)
        ]
        timer = threading.Timer(self._seconds or 0, self.stop)
        timer.daemon = True
        try:
            for thread in threads:
                thread.start()
            if self._seconds is not None and self.source.live:
                timer.start()
            while taken := self._found.take(1, 1):
                ((decoded, result),) = taken
                with self._at_work("draw"):
                    yield result
                self._frames += 1
                self._latencies.add(time.perf_counter() - decoded)
        finally:
            timer.cancel()
            self.stop()
            self._waiting.end(discard=True)
            self._found.end(discard=True)
            for thread in threads:
                if thread.ident is not None:
                    thread.join(PATIENCE)
            self._end = time.perf_counter()

    def _decode(self):
        error = None
        numbers = itertools.count(1) if self._max_frames is None else range(self._max_frames)
        try:
            with contextlib.closing(self.source.frames(self._stop)) as frames:
                for _ in numbers:  # after the last of them no other frame is waited for
                    with self._at_work("decode"):
                        frame = next(frames, None)
                    if frame is None or self._is_too_late(frame):
                        break
                    if self._live and not self.source.live:
                        # A file is shown at its own speed, as by a camera: else most was dropped.
                        self._stop.wait(self._start + frame.seconds - time.perf_counter())
                    if not self._waiting.put((time.perf_counter(), frame)):
                        break
        except BaseException as raised:
            error = raised
        finally:
            self._waiting.end(error)

    def _is_too_late(self, frame):
        return self._seconds is not None and not self.source.live and frame.seconds >= self._seconds

    def _look(self):
        error = None
        try:
            while taken := self._waiting.take(*self._batch):
                with self._at_work("network"):
                    images = [frame.image for _, frame in taken]
                    found = self.detector.detect(images, len(images))
                for (decoded, frame), detections in zip(taken, found, strict=True):
                    if not self._found.put((decoded, Result(frame, detections))):
                        return
        except BaseException as raised:
            error = raised
        finally:
            self._waiting.end(discard=error is not None)
            self._found.end(error)

    @contextlib.contextmanager
    def _at_work(self, stage):
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._busy[stage] += time.perf_counter() - begin

    def figures(self) -> dict:
        """What the stream did until now.

        Returns:
            frames: that came out of the loop; dropped: by `live`; damaged: see `Source`;
            seconds: from the beginning of the loop; frames_per_second;
            latency_ms: p50 and p99 of the time from a decoded frame to the loop's next turn; None
            before the first;
            stages: the share of the time in which each was at work. Of a live source, waiting for
            a frame is part of decoding.
        """
        end = self._end or time.perf_counter()
        seconds = max(end - (self._start or end), 1e-9)
        return {
            "frames": self._frames,
            "dropped": self._waiting.dropped,
            "damaged": self.source.damaged,
            "seconds": seconds,
            "frames_per_second": self._frames / seconds,
            "latency_ms": self._latencies.percentiles_ms(50, 99),
            "stages": {stage: busy / seconds for stage, busy in self._busy.items()},
        }


def run(detector, source, batch_size=8, *, live=False, max_frames=None, seconds=None) -> Run:
    """Runs a detector over the frames of a source; iterating over it gives each `Result` in order.

    Decoding and network work in threads of their own while the caller's loop has earlier frames.
    Between the stages at most `batch_size` frames wait.

    Args:
        detector: a `Detector`, or what has its `detect`.
        source: of `open_source`, `from_arrays` or your own.
        batch_size: most frames that go through the network at once. Of a file, each batch but the
            last is full; of a live source it is what has come while the network was at work.
        live: a frame that comes while another waits takes its place: what is shown is never older
            than two turns of the network. Files are read at their own speed. Without it no frame
            is dropped, and a source that is faster than the network must wait.
        max_frames: the source ends after as many frames, those that are dropped among them.
        seconds: the run ends after as many seconds: of the film, or of the clock where the source
            is live.

    Returns:
        A `Run`: iterable once, with `stop` and `figures`. A loop that is left by ``break`` or an
        exception ends all stages.

    Raises:
        BrokenOff: the source broke off; after the results of all that came before. Any other
            exception of a stage likewise.
    """
    if batch_size < 1:
        raise ValueError(f"streaming.run: batch_size must be at least 1, got {batch_size}.")
    return Run(
        detector, source, batch_size=batch_size, live=live, max_frames=max_frames, seconds=seconds
    )
