"""Ctrl-C, taken where a run can be gone on from."""

import contextlib
import signal
import threading


class Interrupts:
    """Inside, Ctrl-C waits for `check`, or for the next `at_once`; a second one does not wait.

    Between two steps, and while weights are only looked at, a checkpoint of what is there is one of
    the run; while they change places with their average, it is one of no run.

    Attributes:
        count: of those that came.
    """

    def __init__(self):
        self.count, self._now, self._before = 0, False, None

    def __enter__(self):
        # Elsewhere nothing is to be done: signals come to the main thread, and where Ctrl-C is
        # ignored, as of a program that a shell starts in the background, it stays so.
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._came)
        return self

    def __exit__(self, *error):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _came(self, number, frame):
        self.count += 1
        if self._now or self.count > 1:
            raise KeyboardInterrupt

    def check(self):
        """Raises KeyboardInterrupt where Ctrl-C came."""
        if self.count:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self):
        """Inside, where nothing changes that a checkpoint holds, Ctrl-C need not wait."""
        self.check()
        self._now = True
        try:
            yield
        finally:
            self._now = False
