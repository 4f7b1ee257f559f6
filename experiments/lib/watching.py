"""`--watch`: what the loss sees of some images, kept at every evaluation of a training."""

import difflib

import keras
import numpy as np

from yolov1 import data, inference
from yolov1.microscope.looking import look
from yolov1.microscope.record import describe, read_record
from yolov1.training import RunDirectory
from yolov1.training.watch import HARD, TRAIN, parse_watch

from . import evaluators
from .flags import UserError, user_errors


def observer(config, run, measure):
    """The callback that watches what the configuration says; None where it says nothing."""
    return Watching(config, run, measure) if config.watch else None


class Watching(keras.callbacks.Callback):
    """Keeps the run's ``watched.npz``, see `yolov1.microscope.record`.

    It only looks: predictions of the evaluation set are those that were measured, those of images
    of the training set are made as they are measured.
    """

    def __init__(self, config, run, measure):
        super().__init__()
        self.config, self.path, self.measure = config, run.watched, measure
        self.watch = parse_watch(config.watch)
        self.named, of_training = places(config, measure.train_set, measure.eval_set)
        self.train = [measure.train_set[k] for k in of_training]
        begun, origin = config.resume and run.has_checkpoint, config.forked_from()
        earlier = self._of(run) if begun else self._of(RunDirectory(origin[0])) if origin else None
        self.ids = None
        if earlier is not None:
            self.ids = [one["id"] for one in earlier.images if one["set"] == "evaluation"]
        self.record, self.start, self.targets = earlier if begun else None, None, None
        measure.predictions = []

    def _of(self, run):
        """What a run has kept of the same images; None where there is nothing."""
        if not run.watched.exists():
            return None
        with user_errors():
            record = read_record(run.watched)
        if record.about["watch"] == self.config.watch:
            return record
        print(f"--watch={self.config.watch} begins anew: {run.watched} is of others")
        return None

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
        if self.ids is not None:
            self.chosen = find("watch", self.ids, eval_set, "evaluation")
        else:
            losses = self.measure.evaluator.losses
            self.chosen = [*self.named, *hardest(losses, self.watch.hard, self.named)]
        examples = [*(eval_set[k] for k in self.chosen), *self.train]
        sets = ["evaluation"] * len(self.chosen) + ["training"] * len(self.train)
        rule = config.on_collision
        self.targets = np.stack([data.encode_example(e, grid, rule) for e in examples])
        self.prepared = [inference.prepare(e, grid, config.resize).numpy() for e in self.train]
        if self.record is None:
            known = eval_set.classes, grid, config.loss_semantics(), rule
            self.record = describe(examples, sets, *known, watch=config.watch)


def places(config, train_set, eval_set):
    """Where the images are that the configuration names: places in the evaluation set and in the
    training set.

    Raises:
        UserError: one is not there, or there are not as many as shall be chosen.
    """
    watch = parse_watch(config.watch)
    named = find("watch", watch.evaluation, eval_set, "evaluation", train_set)
    others = len(eval_set) - len(named)
    if watch.hard > others:
        raise UserError(
            f"--watch={config.watch}: {HARD}{watch.hard} takes images of the evaluation set that "
            f"are not named, of which it has {others}. Ask for no more."
        )
    return named, find("watch", watch.train, train_set, "training", eval_set)


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
    if not ids:
        return []
    known = {example.image_id: k for k, example in enumerate(dataset)}
    for name in ids:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=5) or [f"{next(iter(known))}, ..."]
        hint = f"There are {', '.join(near)}."
        if any(example.image_id == name for example in other):
            hint = f"The other set has it: {TRAIN if kind == 'evaluation' else ''}{name}."
        raise UserError(f"--{flag}: no image {name!r} in the {kind} set ({dataset.name}). {hint}")
    return [known[name] for name in ids]
