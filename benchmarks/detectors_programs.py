"""Programs that `bench_detectors` starts: what they cost, and what they answer."""

import contextlib
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import harness
from experiments.lib import children
from yolov1.training import write_json

SAMPLED = 1.0  # seconds between two looks at what a program has taken
SAID = 12  # last lines of one that failed


class Failed(Exception):
    """A program ended; with its last words."""


# --------------------------------------------------------------------------------- CPU-seconds


def of_descendants() -> float:
    """CPU-seconds, user and system, of all programs below this one: of those that have ended, as
    far as somebody waited for them, and so far of those that run.

    (Where there is no /proc, of the former.)
    """
    usage, tick = resource.getrusage(resource.RUSAGE_CHILDREN), os.sysconf("SC_CLK_TCK")
    parents, taken = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # After the name, which may hold anything: man 5 proc.
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
            pid = int(file.parent.name)
            parents[pid], taken[pid] = int(fields[1]), sum(map(int, fields[11:15])) / tick
    below, new = set(), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - below
        below |= new
    return usage.ru_utime + usage.ru_stime + sum(taken[pid] for pid in below)


@contextlib.contextmanager
def metered(record: Path):
    """Adds what the programs inside take to a file, a list of CPU-seconds, one for each try.

    They are looked at while they run: of one that is killed, or kills this program, there is what
    it took until then; and nothing is lost of those that nobody waited for.
    """
    tries, begin, done = read_record(record), of_descendants(), threading.Event()
    most = [0.0]

    def look():
        most[0] = max(most[0], of_descendants() - begin)
        write_json(record, [*tries, round(most[0], 2)])

    def watch():
        while not done.wait(SAMPLED):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        look()


def read_record(record: Path) -> list[float]:
    return json.loads(record.read_text()) if record.exists() else []


def run(command, log: Path, record: Path):
    """Runs a program to its end, what it says in a log, what it takes in a record.

    Ctrl-C asks it to save and end.

    Raises:
        Failed: its exit status is not 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with metered(record), children.Pool(1) as pool:
        pool.start(None, [*map(str, command)], log)
        while not (ended := pool.ended()):
            time.sleep(0.1)
    ((_, code),) = ended
    if code:
        said = "\n    ".join(children.last_lines(log, SAID))
        raise Failed(f"{log} ends with status {code}:\n    {said}")


# ------------------------------------------------------------------------------------- answers


class Program:
    """A process that answers requests, a line of JSON each; see `benchmarks.detectors_peer`.

    Raises:
        Failed: it ended; with its last words.
    """

    def __init__(self, command):
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=harness.ROOT,
            text=True,
        )
        self._answer()

    def ask(self, do, **request):
        """What it answers."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()[-SAID:]
            raise Failed("a detector ended; its last words:\n    " + "\n    ".join(said))
        return json.loads(line)

    def close(self):
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
