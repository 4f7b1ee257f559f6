"""What a training looks at the clock for."""

import contextlib
import time

# The columns of metrics.csv that are a `Stopwatch`'s; they stand last.
SPENT = ("evaluation_seconds", "checkpoint_seconds", "other_seconds")


class Stopwatch:
    """Where the time of this process went since the last row of metrics.csv."""

    def __init__(self):
        self._restart()

    def _restart(self):
        self._seconds = dict.fromkeys(("training", "evaluation", "checkpoint"), 0.0)
        self._begin = time.perf_counter()

    @contextlib.contextmanager
    def of(self, part: str):
        """Inside, time is spent on ``training`` (input and step), ``evaluation`` or
        ``checkpoint``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - begin

    def row(self) -> dict[str, float]:
        """Seconds of evaluation, of checkpoints and of everything that is no training either (what
        callbacks do, mostly), since the last call; by `SPENT`."""
        seconds = self._seconds
        other = time.perf_counter() - self._begin - sum(seconds.values())
        self._restart()
        values = seconds["evaluation"], seconds["checkpoint"], other
        return {name: round(value, 3) for name, value in zip(SPENT, values, strict=True)}


class CheckpointClock:
    """Saves when enough time has passed since it last did, and every so many steps for good.

    Args:
        checkpoints: `Checkpoints`.
        minutes: how much is enough.
        keep_every: so many; 0: never for good.
    """

    def __init__(self, checkpoints, minutes: float, keep_every: int = 0):
        self.checkpoints, self.seconds, self.saved = checkpoints, 60 * minutes, time.monotonic()
        self.keep_every = keep_every

    def save_if_due(self, done: int, always=False):
        """To be called once `done` steps are."""
        if self.keep_every and done % self.keep_every == 0:
            self.checkpoints.save_kept()
        elif always or time.monotonic() - self.saved > self.seconds:
            self.checkpoints.save_last()
        else:
            return
        self.saved = time.monotonic()
