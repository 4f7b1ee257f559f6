"""`--watch`: what the loss sees of some images, kept at every evaluation of a training."""

import difflib

import keras
import numpy as np

from yolov1 import data, inference
from yolov1.microscope.looking import look
from yolov1.microscope.record import describe, read_record
from yolov1.training.watch import HARD, TRAIN, parse_watch

from . import evaluators
from .flags import UserError, user_errors


def observer(config, run, measure):
    """The callback that watches what the configuration says; None where it says nothing.

    Raises:
        UserError: an image that is not there.
    """
    return Watching(config, run, measure) if config.watch else None


class Watching(keras.callbacks.Callback):
    """Keeps the run's ``watched.npz``, see `yolov1.record`.

    It only looks: predictions of the evaluation set are those that were measured, those of images
    of the training set are made as they are measured.
    """

    def __init__(self, config, run, measure):
        super().__init__()
        self.config, self.path, self.measure = config, run.watched, measure
        self.watch = parse_watch(config.watch)
        sets = measure.eval_set, measure.train_set
        self.named = find("watch", self.watch.evaluation, sets[0], "evaluation", sets[1])
        of_training = find("watch", self.watch.train, sets[1], "training", sets[0])
        self.train = [sets[1][k] for k in of_training]
        others = len(sets[0]) - len(self.named)
        if self.watch.hard > others:
            raise UserError(
                f"--watch={config.watch}: {HARD}{self.watch.hard} takes images of the evaluation "
                f"set that are not named, of which it has {others}."
            )
        self.record, self.start, self.targets = None, None, None
        if config.resume and run.has_checkpoint and self.path.exists():
            with user_errors():
                self.record = read_record(self.path)
            if self.record.about["watch"] != config.watch:
                print(f"--resume: {self.path} begins anew, with --watch={config.watch!r}")
                self.record = None
        measure.predictions = []

    def on_train_batch_begin(self, batch, logs=None):
        """What is later than the checkpoint that the run goes on from belongs to another future."""
        if self.start is None:
            self.start = batch
            if self.record is not None:
                self.record = self.record.before(batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        if not any(name in logs for name in evaluators.HEADLINE):
            return
        rows = [row for batch in self.measure.predictions for row in batch]
        if not rows:
            return  # another worker measures
        self.measure.predictions.clear()
        if self.targets is None:
            self._choose()
        predictions = [rows[k] for k in self.chosen]
        detections = [self.measure.evaluator.detections[k] for k in self.chosen]
        if self.train:
            detections += self.measure.evaluator.detector.detect(
                *(self.prepared, self.config.batch_size),
                watch=lambda batch, _: predictions.extend(batch),
            )
        seen = look(
            *(np.stack(predictions), self.targets, detections),
            *(self.measure.grid, self.config.loss_semantics(), self.config.impl),
        )
        self.record = self.record.added(epoch + 1, int(logs["step"]), seen)
        self.record.write(self.path)

    def _choose(self):
        """The images, of which the hardest are known once their losses are, and what does not
        change of them."""
        config, grid, eval_set = self.config, self.measure.grid, self.measure.eval_set
        if self.record is not None and len(self.record):
            ids = [i["id"] for i in self.record.images if i["set"] == "evaluation"]
            self.chosen = find("watch", ids, eval_set, "evaluation")
        else:
            losses = self.measure.evaluator.losses
            self.chosen = [*self.named, *hardest(losses, self.watch.hard, self.named)]
            self.record = None
        examples = [*(eval_set[k] for k in self.chosen), *self.train]
        sets = ["evaluation"] * len(self.chosen) + ["training"] * len(self.train)
        rule = config.on_collision
        self.targets = np.stack([data.encode_example(e, grid, rule) for e in examples])
        self.prepared = [inference.prepare(e, grid, config.resize).numpy() for e in self.train]
        if self.record is None:
            known = eval_set.classes, grid, config.loss_semantics(), rule
            self.record = describe(examples, sets, *known, watch=config.watch)


def hardest(losses, count: int, without) -> list[int]:
    """The images with the highest loss, the highest first; one that is not a number is higher."""
    order = np.argsort(-np.nan_to_num(losses, nan=np.inf), kind="stable").tolist()
    return [k for k in order if k not in without][:count]


def find(flag, ids, dataset, kind, other=()) -> list[int]:
    """The places of images in a data set.

    Args:
        flag: that names them.
        kind: what the set is called.
        other: the run's other set, where they may be meant.

    Raises:
        UserError: an image is not there; the message has names that are near.
    """
    places = {example.image_id: k for k, example in enumerate(dataset)}
    for name in ids:
        if name in places:
            continue
        near = difflib.get_close_matches(name, places, n=5) or [f"{next(iter(places))}, ..."]
        hint = f"There are {', '.join(near)}."
        if any(example.image_id == name for example in other):
            hint = f"The other set has it: {TRAIN if kind == 'evaluation' else ''}{name}."
        raise UserError(f"--{flag}: no image {name!r} in the {kind} set ({dataset.name}). {hint}")
    return [places[name] for name in ids]
