"""A run on its way to a tracker, in a thread of its own: the training never waits for it."""

import collections
import math
import textwrap
import threading

import keras

from yolov1.training import write_json

# What a tracker gets of a run directory; not the weights, which are large.
FILES = (
    *("config.json", "dataset.json", "metrics.csv", "summary.json", "evaluation.json"),
    *("report.html", "pictures/*"),
)
PATIENCE = 30.0  # seconds that the end of a run waits for a tracker that gets nothing done


class Tracker(keras.callbacks.Callback):
    """Writes a run to a tracker: a Keras callback for its numbers, and a context manager whose end
    is the run's, and writes its files.

    What is to be written waits in a row. What fails stays at its head, is said in a warning once,
    and is tried again when there is more to write, for the last time at the end of the run.

    Args:
        track: KIND:URI.
        kind, address: what `yolov1.tracking.check` makes of it.
        run: the `RunDirectory`. Its ``tracking.json`` says which run of the tracker it is, for a
            resumed run to go on with.

    Raises:
        MissingExtra: the kind's extra is not installed.
    """

    def __init__(self, track: str, kind, address: str, run):
        super().__init__()
        self.track, self.run = track, run
        self._jobs, self._done = collections.deque(), 0
        self._more, self._closing, self._warned = threading.Event(), False, False
        values = run.read_json("config.json")
        before = run.read_json("tracking.json") if values["resumed"] else {}
        # A URI may be relative to a folder, and a run be resumed in another.
        same = before and (before["track"] == track or before["address"] == address)
        self.store = kind.Store(before["address"] if same else address)
        self._put(self._begin, before["id"] if same else None, values)
        self._thread = threading.Thread(target=self._work, daemon=True, name="tracking")
        self._thread.start()

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        step = int(logs.pop("step", epoch))
        self._put(self.store.metrics, numbers(logs), step)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None:
            self.close("finished")
        else:
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
            self.close("interrupted" if stopped else "failed")

    def close(self, status: str):
        """Writes files of the run and how it ended: ``finished``, ``failed`` or ``interrupted``;
        what cannot be written is named."""
        if status == "finished":
            summary = self.run.read_json("summary.json")
            per_class = summary.get("ap_per_class") or summary.get("accuracy_per_class") or {}
            figures = {f"final/{name}": value for name, value in numbers(summary).items()}
            figures |= {f"final/class/{name}": v for name, v in numbers(per_class).items()}
            self._put(self.store.metrics, figures, self.run.steps)
        self._put(self.store.end, status)
        for path in [path for name in FILES for path in sorted(self.run.path.glob(name))]:
            folder = path.parent.relative_to(self.run.path)
            self._put(self.store.file, path, folder.as_posix() if folder.parts else None)
        self._closing = True
        self._more.set()
        done = -1
        while self._thread.is_alive() and done != self._done:
            done = self._done
            self._thread.join(PATIENCE)
        if self._jobs:
            print(
                f"warning: --track={self.track}: {len(self._jobs)} of "
                f"{len(self._jobs) + self._done} entries were not written; everything is in "
                f"{self.run.path}."
            )
        else:
            print(f"tracked:  {self.store.place}")

    def _put(self, write, *arguments):
        self._jobs.append((write, arguments))
        self._more.set()

    def _begin(self, previous, values):
        name = str(self.run.path)
        found = self.store.begin(previous, name, values["config"], tags(values))
        place = {"track": self.track, "address": self.store.address, "id": found}
        write_json(self.run / "tracking.json", place)

    def _work(self):
        last = False
        while not last:
            self._more.wait()
            self._more.clear()
            last = self._closing  # what was put before is written in this round
            self._write()

    def _write(self):
        while self._jobs:
            write, arguments = self._jobs[0]
            try:
                write(*arguments)
            except Exception as error:  # the training does not depend on it
                self._warn(error)
                return
            self._jobs.popleft()
            self._done += 1

    def _warn(self, error):
        if not self._warned:
            reason = textwrap.shorten(str(error).partition("\n")[0], 300, placeholder=" ...")
            print(
                f"warning: --track={self.track}: the training goes on, and what was not written is "
                f"tried again: {type(error).__name__}: {reason}",
                flush=True,
            )
        self._warned = True


def numbers(values: dict) -> dict:
    """Those of a dict's values that are finite numbers."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def tags(values: dict) -> dict:
    """What a run's ``config.json`` says of where it came from, name -> text."""
    revision = values["environment"]["git_revision"]
    if not revision:
        return {}
    return {
        "git_revision": revision.removesuffix("-dirty"),
        "git_dirty": str(revision.endswith("-dirty")).lower(),
    }
