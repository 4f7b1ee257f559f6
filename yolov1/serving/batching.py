"""Pictures that come one by one, looked at in batches: one thread and a queue of bounded length."""

import concurrent.futures
import contextlib
import queue
import threading
import time
from typing import NamedTuple

from yolov1.inference import Detections


class Full(Exception):
    """There is no place in the queue."""


class Found(NamedTuple):
    """What the detector said of one picture."""

    detections: Detections
    batch_size: int  # pictures that were looked at together


class Batcher:
    """Runs a detector in a thread of its own, over as many pictures at once as wait.

    It never waits for a batch to fill: while it looks at one, the next gathers, so that batches
    are as large as the load.

    Args:
        detect: a list of pictures to a list of `Detections`, as `Detector.detect`.
        batch_size: most pictures looked at together.
        places: most pictures on their way at a time: being received, waiting or being looked at.
        watch: called with (pictures, seconds) of each batch.
    """

    def __init__(self, detect, *, batch_size=16, places=64, watch=lambda images, seconds: None):
        self.batch_size, self.places, self.taken = batch_size, places, 0
        self._detect, self._watch = detect, watch
        self._lock, self._waiting = threading.Lock(), queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def place(self, count=1):
        """Inside, so many pictures have places in the queue.

        Raises:
            Full: there are not so many.
        """
        with self._lock:
            if self.taken + count > self.places:
                raise Full
            self.taken += count
        try:
            yield
        finally:
            with self._lock:
                self.taken -= count

    def submit(self, image) -> concurrent.futures.Future:
        """A future of `Found`. One that is cancelled before its turn is not looked at."""
        future = concurrent.futures.Future()
        self._waiting.put((future, image))
        return future

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self):
        """Ends the thread once everything that waits is answered."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self):
        while (first := self._waiting.get()) is not None:
            self._answer(self._with_what_waits(first))
            del first  # no picture is kept until the next one comes

    def _with_what_waits(self, first):
        """A batch, but for what has been cancelled."""
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < self.batch_size:
                entry = self._waiting.get_nowait()
                if entry is None:
                    self._waiting.put(None)  # the end comes after this batch
                    break
                batch.append(entry)
        return [one for one in batch if one[0].set_running_or_notify_cancel()]

    def _answer(self, batch):
        """Looks at pictures together; where that fails, at each alone, so that one picture's fault
        is not another's."""
        if not batch:
            return
        try:
            begin = time.perf_counter()
            found = self._detect([image for _, image in batch])
            self._watch(len(batch), time.perf_counter() - begin)
        except Exception as error:
            if len(batch) == 1:
                batch[0][0].set_exception(error)
                return
            for one in batch:
                self._answer([one])
            return
        for (future, _), detections in zip(batch, found, strict=True):
            future.set_result(Found(detections, len(batch)))
