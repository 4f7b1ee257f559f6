"""digests.csv: the loss of some steps to its last bit, and a digest of the weights before each.

A row is of one step (the first is 0): ``weights``, the digest of the network's variables before it,
and ``loss`` and its terms that it found, as decimals that read back exactly. The last row of a run
has no loss: its weights are those at the end. Two runs with the same row are in the same state, but
for their optimizers, which show in the weights one step later.
"""

import csv

import keras

from yolov1.files import replacing
from yolov1.training.content import digest
from yolov1.training.run_directory import WrongRun

NAME = "digests.csv"


def digest_of_weights(model) -> str:
    """Of all variables of a Keras model, those of batch normalisation and of dropout's generators
    included: the same on every machine of the same byte order."""
    return digest(*(variable.numpy() for variable in model.variables))


def read_digests(run) -> list[dict]:
    """The rows of a `RunDirectory`, column -> text; none where it has no such file.

    Raises:
        WrongRun: it is damaged.
    """
    path = run / NAME
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # A kill may have cut the last one.
            rows = list(csv.DictReader(line for line in file if line.endswith("\n")))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a row of another length")
        [int(row["step"]) for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise WrongRun(
            f"{path} is damaged: expected rows of steps ({error!r}). Take it away; the run can go "
            "on without it."
        ) from error
    return rows


def write_digests(run, rows):
    """All rows, in one replacement; nothing where there are none."""
    rows = list(rows)
    if rows:
        with replacing(run / NAME) as file:
            writer = csv.DictWriter(file, list(rows[0]), restval="")
            writer.writeheader()
            writer.writerows(rows)


class DigestsFile(keras.callbacks.Callback):
    """Adds a row every so many steps; a resumed run drops those of steps that it does again.

    Args:
        directory: the `RunDirectory`.
        every: so many.
        start: the step that the run begins with.
        terms: names of the terms of the loss.
    """

    def __init__(self, directory, every: int, start: int, terms):
        super().__init__()
        self.directory, self.every, self.start = directory, every, start
        self.columns = ("step", "weights", "loss", *terms)
        self.row, self.done = None, start

    def on_train_begin(self, logs=None):
        before = [row for row in read_digests(self.directory) if int(row["step"]) < self.start]
        with replacing(self.directory / NAME) as file:
            csv.DictWriter(file, self.columns, restval="").writeheader()
            csv.DictWriter(file, self.columns, restval="").writerows(before)

    def on_train_batch_begin(self, batch, logs=None):
        if batch % self.every == 0:
            self.row = {"step": batch, "weights": digest_of_weights(self.model)}

    def on_train_batch_end(self, batch, logs=None):
        self.done = batch + 1
        if self.row:
            logs = {name: float(value) for name, value in logs.items()}
            self._add(self.row | {name: repr(logs[name]) for name in self.columns[2:]})
        self.row = None

    def on_train_end(self, logs=None):
        self._add({"step": self.done, "weights": digest_of_weights(self.model)})

    def _add(self, row):
        with (self.directory / NAME).open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
