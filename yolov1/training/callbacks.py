"""What a run shows and writes while it goes, as Keras callbacks."""

import contextlib
import os
import sys
import time

import keras
import tensorflow as tf

from yolov1.semantics import TERMS
from yolov1.training.clocks import SPENT

# The order of metrics.csv; Keras sorts the logs by name. Others follow.
COLUMNS = (
    *("step", "seconds", "images_per_second", "learning_rate", "loss", *TERMS),
    *("input_seconds", "step_seconds", "val_loss", "map_voc07", "map_area", "map_coco"),
)
SHOWN = ("loss", *TERMS, "learning_rate", "images_per_second")
MEASURED = ("val_loss", "map_voc07", "accuracy")


class MetricsFile(keras.callbacks.Callback):
    """``metrics.csv``: a row an epoch; a resumed run drops the rows that it writes again, those of
    epochs that end at `first_step` or later."""

    def __init__(self, directory, first_step: int, epoch_ends: list[int]):
        super().__init__()
        done = sum(end < first_step for end in epoch_ends)
        self.directory = directory
        self.rows = [row for row in directory.read_metrics() if int(row["epoch"]) <= done]
        self.added = False

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        row = {"epoch": epoch + 1} | {name: logs[name] for name in COLUMNS if name in logs} | logs
        row["step"] = int(row["step"])  # Keras hands every log on as a float
        self.rows.append(row)
        self.added = True
        self.directory.write_metrics(self.rows, last=SPENT)

    def on_train_end(self, logs=None):
        """The time of what came after the last row, its checkpoint above all, belongs to it."""
        if self.added and logs:
            row = self.rows[-1]
            row |= {name: round(row[name] + logs[name], 3) for name in SPENT}
            self.directory.write_metrics(self.rows, last=SPENT)


class Patience(keras.callbacks.Callback):
    """Ends a training once so many evaluations in a row were none better than the best before.

    It looks at metrics.csv (and comes after `MetricsFile`), so that a run that is gone on with
    counts on.

    Args:
        directory: the `RunDirectory`.
        monitor: the figure that decides.
        sign: 1 where higher is better, -1 where lower is.
        evaluations: how many.
    """

    def __init__(self, directory, monitor: str, sign: int, evaluations: int):
        super().__init__()
        self.directory, self.monitor, self.sign = directory, monitor, sign
        self.evaluations = evaluations

    def on_train_begin(self, logs=None):
        self.on_epoch_end(0)

    def on_epoch_end(self, epoch, logs=None):
        texts = [row.get(self.monitor) for row in self.directory.read_metrics()]
        figures = [self.sign * float(text) for text in texts if text]
        best = max((f for f in figures if f == f), default=None)
        since = len(figures) if best is None else len(figures) - 1 - figures.index(best)
        if since >= self.evaluations:
            self.model.stop_training = True


@contextlib.contextmanager
def event_file(folder, first_step: int):
    """Inside, what `tf.summary` writes goes into a file for TensorBoard in this folder.

    Of the files that an earlier start of the run left, a reader forgets what is of `first_step` or
    later: it is written again.
    """
    writer = tf.summary.create_file_writer(os.fsencode(folder))
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    event = tf.compat.v1.Event(wall_time=time.time(), step=first_step, session_log=start)
    with writer.as_default():
        tf.raw_ops.ImportEvent(writer=writer._resource, event=event.SerializeToString())
        try:
            yield
        finally:
            writer.close()


class TensorBoardScalars(keras.callbacks.Callback):
    """The same numbers for TensorBoard, by step, into the `event_file` that it is called in."""

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        step = int(logs.pop("step", epoch))
        for name, value in logs.items():
            if isinstance(value, (int, float)):
                tf.summary.scalar(name, value, step=step)
        tf.summary.flush()


class ProgressLine(keras.callbacks.Callback):
    """On a terminal a bar that moves with the steps; in a file a line an epoch.

    Both show the loss and its terms, the learning rate, images/s and the time left of the run.
    """

    def __init__(self, epoch_ends: list[int], start_step: int, stream=None):
        super().__init__()
        self.stream = stream or sys.stdout
        self.interactive = self.stream.isatty()
        self.ends, self.start = epoch_ends, start_step
        self.begin = self.bar = None

    def on_train_begin(self, logs=None):
        self.begin = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.first = max(self.start, self.ends[epoch - 1] if epoch else 0)
        if self.interactive:
            print(f"Epoch {epoch + 1}/{len(self.ends)}", file=self.stream)
            self.bar = keras.utils.Progbar(
                self.ends[epoch] - self.first, stateful_metrics=["learning_rate", "minutes_left"]
            )

    def on_train_batch_end(self, batch, logs=None):
        if self.bar is not None:
            values = [(name, logs[name]) for name in SHOWN if name in logs]
            values.append(("minutes_left", self._seconds_left(batch + 1) / 60))
            self.bar.update(batch + 1 - self.first, values=values, finalize=False)

    def on_epoch_end(self, epoch, logs=None):
        if self.bar is not None:
            self.bar.update(self.ends[epoch] - self.first, finalize=True)
        shown = [f"{name} {logs[name]:.4g}" for name in (*SHOWN, *MEASURED) if name in logs]
        left = _clock(self._seconds_left(self.ends[epoch]))
        print(
            f"epoch {epoch + 1}/{len(self.ends)}  " + "  ".join(shown) + f"  left {left}",
            file=self.stream,
            flush=True,
        )

    def _seconds_left(self, done: int) -> float:
        per_step = (time.monotonic() - self.begin) / max(1, done - self.start)
        return per_step * (self.ends[-1] - done)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
