"""What a training looks at the clock for."""

import contextlib
import time

# The columns of metrics.csv that are a `Stopwatch`'s; they stand last.
SPENT = ("evaluation_seconds", "checkpoint_seconds", "other_seconds")


class Stopwatch:
    """Where the time of this process went since the last row of metrics.csv.

    Attributes:
        last: by part, the seconds that it took the last time.
    """

    def __init__(self):
        self.last = dict.fromkeys(("training", "evaluation", "checkpoint"), 0.0)
        self._restart()

    def _restart(self):
        self._seconds = dict.fromkeys(self.last, 0.0)
        self._begin = time.perf_counter()

    @contextlib.contextmanager
    def of(self, part: str):
        """Inside, time is spent on ``training`` (input and step), ``evaluation`` or
        ``checkpoint``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self._seconds[part] += seconds
            self.last[part] = seconds

    def row(self) -> dict[str, float]:
        """Seconds of evaluation, of checkpoints and of everything that is no training either (what
        callbacks do, mostly), since the last call; by `SPENT`."""
        seconds = self._seconds
        other = time.perf_counter() - self._begin - sum(seconds.values())
        self._restart()
        values = seconds["evaluation"], seconds["checkpoint"], other
        return {name: round(value, 3) for name, value in zip(SPENT, values, strict=True)}


class TimeLimit:
    """Whether there is time for one more part of a run, and for the checkpoint after it.

    Args:
        hours: from now on; 0: without end.
        spent: the `Stopwatch` that knows how long each part takes.
    """

    def __init__(self, hours: float, spent: Stopwatch):
        self._ends = time.monotonic() + 3600 * hours if hours else float("inf")
        self._last = spent.last

    def over(self, part: str) -> bool:
        needed = self._last[part] + self._last["checkpoint"]
        return time.monotonic() + needed > self._ends


class CheckpointClock:
    """Saves when enough time has passed since it last did; and for good every so many steps, and
    once in so many hours of training.

    Args:
        checkpoints: `Checkpoints`.
        minutes: how much is enough.
        keep_every: so many steps; 0: never for good.
        keep_hours: so many hours; 0: never for good.
        trained: the seconds of training, a variable.
    """

    def __init__(self, checkpoints, minutes, keep_every=0, keep_hours=0.0, trained=None):
        self.checkpoints, self.seconds, self.saved = checkpoints, 60 * minutes, time.monotonic()
        self.keep_every, self.keep_hours, self.trained = keep_every, keep_hours, trained
        self._kept = self._spans()

    @property
    def due(self) -> bool:
        """Whether enough time has passed."""
        return time.monotonic() - self.saved > self.seconds

    def _spans(self) -> int:
        """How often `keep_hours` have been trained for."""
        return int(self.trained.numpy() // (3600 * self.keep_hours)) if self.keep_hours else 0

    def save(self, done: int, due: bool):
        """Saves where it is due, or `done` steps are to be kept."""
        every = self.keep_every and done % self.keep_every == 0
        if every or (due and self._spans() > self._kept):
            self._kept = self._spans()
            self.checkpoints.save_kept()
        elif due:
            self.checkpoints.save_last()
        else:
            return
        self.saved = time.monotonic()
