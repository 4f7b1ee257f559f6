"""Ctrl-C, SIGTERM and the end of a run's time, taken where a run can be gone on from."""

import contextlib
import signal
import threading


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which supervisors send before they kill: SLURM at a job's time limit,
    Kubernetes, a cloud that takes its machine back."""

    code, said = 143, "Terminated"  # as a shell calls a program that SIGTERM ended


class TimeIsUp(KeyboardInterrupt):
    """The run's own time limit (`TrainConfig.hours`) has come."""

    code, said = 0, "Time is up"  # it ended as it was asked to


def exit_status(stop: KeyboardInterrupt) -> int:
    """Of a program that this has ended."""
    return getattr(stop, "code", STATUS[signal.SIGINT])


def said(stop: KeyboardInterrupt) -> str:
    """What has ended a program, for people."""
    return getattr(stop, "said", "Interrupted")


def terminate(number, frame):
    """A handler of SIGTERM that does as Python's own handler of Ctrl-C does."""
    raise Terminated


# What a shell calls a program that a signal ended.
STATUS = {signal.SIGINT: 130, signal.SIGTERM: Terminated.code}
# The handlers that `Interrupts` stands in for. Where there is another (a signal is ignored, as
# Ctrl-C of a program that a shell starts in the background; or it is somebody else's), it stays.
HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}


@contextlib.contextmanager
def terminating():
    """Inside, SIGTERM raises `Terminated`, where it would have ended the program as it is."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Wishes:
    """What a run shall do between two steps, as all of its workers know at the same time.

    Args:
        interrupts: `Interrupts`, of this worker.
        limit: `clocks.TimeLimit`.
        agree: `strategies.Agreement`.
    """

    STOPS = (KeyboardInterrupt, Terminated, TimeIsUp)

    def __init__(self, interrupts, limit, agree):
        self.interrupts, self.limit, self.agree = interrupts, limit, agree

    def __call__(self, part: str, *wishes: bool) -> list:
        """To be asked by every worker: what shall stop the run, one of `STOPS` or None, and for
        each wish whether some worker has it.

        Args:
            part: what comes next, see `clocks.TimeLimit.over`.
        """
        came = self.interrupts.came or (TimeIsUp if self.limit.over(part) else None)
        found = self.agree(*(came is stop for stop in self.STOPS), *wishes)
        stops = [stop for stop, wanted in zip(self.STOPS, found, strict=False) if wanted]
        return [*stops, None][:1] + found[len(self.STOPS) :]


class Interrupts:
    """Inside, Ctrl-C and SIGTERM wait for `check`, or for the next `at_once`.

    Between two steps, and while weights are only looked at, a checkpoint of what is there is one of
    the run; while they change places with their average, it is one of no run. A second Ctrl-C does
    not wait; a second SIGTERM does: supervisors repeat it, and mean the same.

    Attributes:
        came: the class of what came first; None.
        impatient: whether Ctrl-C came a second time.
    """

    def __init__(self):
        self.came, self.impatient, self._now, self._before = None, False, False, {}

    def __enter__(self):
        # Elsewhere nothing is to be done: signals come to the main thread.
        if threading.current_thread() is threading.main_thread():
            for number, handler in HANDLERS.items():
                if signal.getsignal(number) is handler:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number, frame):
        again = self.came is not None and number == signal.SIGINT
        self.impatient |= again
        self.came = self.came or (Terminated if number == signal.SIGTERM else KeyboardInterrupt)
        if self._now or again:
            raise self.came

    def check(self):
        """Raises what came."""
        if self.came:
            raise self.came

    @contextlib.contextmanager
    def at_once(self):
        """Inside, where nothing changes that a checkpoint holds, they need not wait."""
        self.check()
        self._now = True
        try:
            yield
        finally:
            self._now = False
