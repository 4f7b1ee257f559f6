"""Programs that run beside each other, and end with the one that started them.

Each has a log, which it holds locked as long as it lives: whoever finds the lock taken knows that
somebody is at it, also after a kill of the program that started it. And each has a shell that waits
for the end of that program, whatever ends it, and then asks the child to stop by SIGTERM, so that a
training saves what it has. (Of what Ray starts, SIGINT is blocked.)
"""

import collections
import contextlib
import os
import shlex
import signal
import subprocess
import time

from yolov1.interrupts import HANDLERS, Interrupts

PATIENCE = 120  # seconds that a child may take to save what it has
POLL = 0.2  # seconds between two looks at what runs
# Of `read`, the end of the starter is the end of its input. A child that waits in native code, for
# a machine that is gone, hears of no signal.
WATCH = f"""
read word || {{
    kill -TERM "$0"
    for second in $(seq {PATIENCE}); do sleep 1; kill -0 "$0" || exit; done
    kill -KILL "$0"
}}
"""
COMMAND = "$ "  # what a log has before each command


class Busy(Exception):
    """Somebody else is at it."""


class Child:
    """One program.

    Attributes:
        job: what it is about, the starter's.
        log: its path.
        begins: where in it its own lines do.
    """

    def __init__(self, job, command, log, place, cwd=None):
        self.job, self.log, self.place = job, log, place
        with open(log, "a", encoding="utf-8") as file:
            lock(file)
            file.write(f"{COMMAND}{shlex.join(command)}\n")
            file.flush()
            self.begins = file.tell()
            with place.cores():
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | place.environment,
                    cwd=cwd,
                    start_new_session=True,  # Ctrl-C is for the starter, which tells its children
                )
        self.watch = subprocess.Popen(
            ["sh", "-c", WATCH, str(self.process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ended(self) -> int | None:
        """Its exit status; None as long as it runs."""
        code = self.process.poll()
        if code is not None and self.watch is not None:
            self.watch.communicate(b"done\n")
            self.watch = None
        return code

    def stop(self):
        """Asks it to save and end; it does not wait for that."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def kill(self):
        """Ends it as it is."""
        self.process.kill()
        self.process.wait()
        self.ended()


def lock(file):
    """Locks an open file for as long as any program holds it open.

    Raises:
        Busy: it is locked.
    """
    try:
        import fcntl
    except ImportError:
        return  # Windows: two studies at one place are not told apart
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{file.name} is held by another program.") from None


def last_lines(log, count: int) -> list[str]:
    """The end of what the last program of a log said, without blank lines."""
    lines = collections.deque(maxlen=count)
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(COMMAND):
                lines.clear()  # what an earlier try said is no reason of this one's end
            elif line.strip():
                lines.append(line.rstrip())
    return [*lines]


class Place:
    """Where one of several children runs: on which cores, and on which GPU.

    Args:
        number: of the place, from 0.
        places: how many there are.
        gpus: names of the GPUs as ``CUDA_VISIBLE_DEVICES`` takes them.
        cores: how many it has, in turns of those there are; 0: all.
    """

    def __init__(self, number: int, places: int, gpus, cores: int = 0):
        self.environment = {}
        if places > 1 and gpus:
            self.environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        first = number * cores
        # More threads or fewer change the last bits of TensorFlow's convolutions, so that a share
        # of the cores is nobody's choice but the user's.
        self._cores = {there[k % len(there)] for k in range(first, first + cores) if there}

    @contextlib.contextmanager
    def cores(self):
        """Inside, what is started has this place's cores, and as many threads."""
        if not self._cores:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def visible_gpus() -> list[str]:
    """The GPUs that a program started from here sees; none is initialised."""
    found = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found is not None:
        return [name for name in found.split(",") if name and name != "-1"]
    import tensorflow as tf  # not where programs are only watched: half a gigabyte

    return [str(number) for number in range(len(tf.config.list_physical_devices("GPU")))]


class Pool:
    """Children, so many at once; Ctrl-C, SIGTERM or an error asks them to save and end.

    The two wait for the next `pause`: between any two instructions they would also break off what
    others' code has begun, such as the lock of a search's journal.
    """

    def __init__(self, at_once: int, cores: int = 0):
        gpus = visible_gpus()
        self._free = [Place(k, at_once, gpus, cores) for k in reversed(range(at_once))]
        self.running, self._interrupts = [], Interrupts()

    def __enter__(self):
        # (Also where the shell that started this has Ctrl-C ignored, as for `command &`.)
        self._before = {n: signal.signal(n, handler) for n, handler in HANDLERS.items()}
        self._interrupts.__enter__()
        return self

    def __exit__(self, *error):
        try:
            for child in self.running:
                child.stop()
            self._await_all()
        finally:
            self._interrupts.__exit__()
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _await_all(self):
        ends = time.monotonic() + PATIENCE
        try:
            while self.running and time.monotonic() < ends:
                self.ended()
                time.sleep(0.05)
        finally:  # a second Ctrl-C does not wait
            for child in self.running:
                child.kill()

    @property
    def free(self) -> bool:
        return bool(self._free)

    def pause(self):
        """Between two looks at what runs.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM has come.
        """
        with self._interrupts.at_once():
            time.sleep(POLL)

    def start(self, job, command, log) -> Child:
        """Starts a program in a free place.

        Raises:
            Busy: the log is another program's.
        """
        child = self.child(job, command, log, self._free[-1])
        self._free.pop()
        self.running.append(child)
        return child

    def child(self, job, command, log, place) -> Child:
        """What runs a program; of another kind of pool, something else with `Child`'s methods."""
        return Child(job, command, log, place)

    def ended(self) -> list[tuple[Child, int]]:
        """The children that have ended since the last call, with their exit status."""
        found = [(child, child.ended()) for child in self.running]
        found = [(child, code) for child, code in found if code is not None]
        for child, _ in found:
            self.running.remove(child)
            self._free.append(child.place)
        return found
