"""Any step of a training, once more to the bit: from the last checkpoint before it, or the seed.

Step s is a function of (seed, s) and of the state before it, and that is a function of an earlier
checkpoint and of the steps between. Nothing of the run is touched.
"""

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from yolov1 import data
from yolov1.cell_loss import cell_loss
from yolov1.training import strategies
from yolov1.training.digests import digest_of_weights, read_digests
from yolov1.training.optimizers import reschedule
from yolov1.training.run_directory import RunDirectory, WrongRun, environment
from yolov1.training.start import start_from_run
from yolov1.training.state import batches_of, epoch_end_steps, new_state, steps_per_epoch
from yolov1.training.step import make_step
from yolov1.training.step_file import Step, describe
from yolov1.training.tasks import TASKS

PROOF_STEPS = 100  # how many steps further it is worth going to meet the run again


def replay(run, config, dataset, number: int, *, batch=None, prove=True, say=print) -> Step:
    """A step of a run as it was taken, by the run's own compiled step.

    Args:
        run: the `RunDirectory`; it is only read.
        config: the run's at this step (`RunDirectory.config_at`).
        dataset: what it is trained on.
        number: of the step; the first is 0. Any of the whole run, which may have stopped before it.
        batch: the step's (images, targets, indices), where they are known already.
        prove: go on behind the step to where the run's digests, or a checkpoint, tell whether the
            weights are the run's to the bit, where that is at most `PROOF_STEPS` further.
        say: function of a line.

    Returns:
        The `Step`. Its ``about`` has ``base``, the step that was begun at; ``digests``, a row as of
        digests.csv for every step on the way; and ``proof``: ``equal`` and ``differs``, the steps
        before which the weights were, and were not, those that the run had.

    Raises:
        WrongRun: the run has no such step, or cannot be repeated here.
    """
    end = epoch_end_steps(len(dataset), config.batch_size, config.epochs)[-1]
    require_step(run, config, number, end)
    with _own_precision():
        strategy = strategies.resolve_strategy(config.strategy)
        grid = config.grid(len(dataset.classes))
        state = new_state(config, grid, len(dataset), run, strategy)
        base = _restore(run, config, dataset, state, number, say)
        known, end = _known(run, state, number, end, prove)
        origin = f"the checkpoint of step {base}" if base else "the start of the run"
        further = f", and {end - number - 1} behind it" if end - number > 1 else ""
        say(f"begins at {origin}: {number - base} steps to step {number}{further}")
        step, rows = None, {}
        with data.reading(dataset):
            batches = iter(batches_of(config, dataset, run, base, end))
            epochs = run.epochs_from(base)
            for k in range(base, end):
                if k in epochs:
                    now = dataclasses.replace(config, epochs=epochs[k])
                    reschedule(state.optimizer, now, steps_per_epoch(now, len(dataset)), run.path)
                    taken = _Taken(now, run.path, dataset.classes, state)
                rows[k] = {"step": k, "weights": digest_of_weights(state.model)}
                found = batch if batch is not None and k == number else next(batches)
                if k == number:
                    ids = [dataset[int(i)].image_id for i in found[2]]
                    step, mean = taken.whole(k, ids, *found)
                    if batch is not None:
                        next(batches, None)
                else:
                    mean = taken.plain(*found)
                rows[k] |= taken.row(mean)
        rows[end] = {"step": end, "weights": digest_of_weights(state.model)}
        step.about |= {
            "base": base,
            "digests": list(rows.values()),
            "proof": _proof(rows, known, state),
            "environment": environment(),
        }
    return step


def require_step(run, config, number, end):
    """Raises `WrongRun` where a run of `end` steps cannot be asked for this one."""
    if not 0 <= number < end:
        raise WrongRun(f"{run.path} has the steps 0 to {end - 1}, got {number}.")
    if (run / "darknet.json").exists():
        raise WrongRun(f"{run.path} was not trained here: it has no step.")
    fork = config.forked_from()
    if fork and number < fork[1]:
        raise WrongRun(
            f"{run.path} begins with step {fork[1]} of {fork[0]}, got {number}: replay its steps "
            "before there."
        )
    workers = strategies.cluster_task(config.strategy)[1]
    if workers > 1 or list((run / "checkpoints").glob("worker*")):
        raise WrongRun(
            f"{run.path} was trained by several workers, whose steps one process cannot repeat to "
            "the bit."
        )


@contextlib.contextmanager
def _own_precision():
    """Inside, a run's precision is set; afterwards it is what it was."""
    before = keras.mixed_precision.dtype_policy()
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def _restore(run, config, dataset, state, number, say) -> int:
    """Puts the state into the newest whole checkpoint that is not of a later step; its step."""
    for base in reversed([k for k in state.checkpoints.steps() if k <= number]):
        try:
            state.checkpoints.restore(base)
            return base
        except WrongRun as error:
            say(f"warning: {error} The checkpoint before is taken.")
    if config.fork:
        raise WrongRun(f"{run.path} has no whole checkpoint up to step {number} any more.")
    start_from_run(config, state, dataset.classes)
    return 0


def _known(run, state, number, end, prove):
    """Step -> digest of the weights before it, as the run had them (None: a checkpoint has them);
    and the step to go on until."""
    known = dict.fromkeys(state.checkpoints.steps())
    known |= {int(row["step"]): row["weights"] for row in read_digests(run)}
    behind = min((k for k in known if number < k <= end), default=end + PROOF_STEPS)
    near = prove and behind - number <= PROOF_STEPS
    return known, behind if near else number + 1


def _proof(rows, known, state) -> dict:
    """Where the weights were the run's."""
    equal, differs = [], []
    for k, row in rows.items():
        if k not in known:
            continue
        digest = known[k]
        if digest is None:
            try:
                state.checkpoints.restore(k)
            except WrongRun:
                continue
            digest = digest_of_weights(state.model)
        (equal if digest == row["weights"] else differs).append(k)
    return {"equal": equal, "differs": differs}


class _Taken:
    """Takes steps: quickly, or with all that there is to see of one."""

    def __init__(self, config, folder, classes, state):
        self.config, self.folder, self.classes, self.state = config, folder, classes, state
        self.grid, self.task = config.grid(len(classes)), TASKS[config.task]
        self._plain = make_step(config, self.grid, state)

    def row(self, mean) -> dict:
        """What digests.csv has of a step besides its weights."""
        names = ("loss", *self.task.terms)
        return {n: repr(float(v)) for n, v in zip(names, (mean.sum(), *mean), strict=True)}

    def plain(self, images, targets, indices):
        """Takes a step; the means of its terms."""
        batch = strategies.to_replicas(self.state.strategy, (images, targets))
        return self._plain(*batch)[1].numpy()

    def whole(self, number, image_ids, images, targets, indices):
        """Takes a step; it, and the means of its terms."""
        state, config = self.state, self.config
        keeping = make_step(config, self.grid, state, keep_gradients=True)
        arrays = {"images": images, "targets": targets, "indices": indices}
        arrays |= _numbered("weights_before", state.model.variables)
        batch = strategies.to_replicas(state.strategy, (images, targets))
        terms, mean, rate, predictions, by_predictions, gradients = keeping(*batch)
        for name, parts in (
            ("terms", terms),
            ("predictions", predictions),
            ("by_predictions", by_predictions),
        ):
            parts = state.strategy.experimental_local_results(parts)
            arrays[name] = tf.concat(parts, axis=0)
        # Every replica has an equal share of the sum.
        shares = [state.strategy.experimental_local_results(g) for g in gradients]
        arrays |= _numbered("gradients", [sum(parts[1:], parts[0]) for parts in shares])
        arrays |= {"learning_rate": rate} | _numbered("weights_after", state.model.variables)
        arrays = {name: np.array(value) for name, value in arrays.items()}
        if config.task == "detect":
            arrays |= cells_of(config, self.grid, arrays["predictions"], arrays["targets"])
        about = describe(config, self.folder, self.classes, number, image_ids) | {
            "terms": list(self.task.terms),
            "variables": [v.path for v in state.model.variables],
            "trainable": [v.path for v in state.model.trainable_variables],
            "replicas": state.strategy.num_replicas_in_sync,
        }
        return Step(about, arrays), mean.numpy()


def _numbered(name, values) -> dict:
    return {f"{name}.{k}": np.array(getattr(v, "value", v)) for k, v in enumerate(values)}


def cells_of(config, grid, predictions, targets) -> dict:
    """What the loss makes of each cell: ``cell_terms``, ``has_object``, ``responsible``, ``iou``.

    The terms are the run's own implementation's, of images in which one cell alone has something to
    say: the others predict nothing where nothing is, which costs nothing.
    """
    cells = cell_loss(
        *(predictions, targets),
        grid=grid,
        semantics=config.loss_semantics(),
        impl=config.impl,
    )
    loss_of = TASKS[config.task].loss(config, grid)
    alone = tf.reshape(tf.eye(grid.cells), (grid.cells, grid.S, grid.S, 1)) > 0
    terms = [
        loss_of(tf.where(alone, p, tf.zeros_like(p)), tf.where(alone, t, tf.zeros_like(t)))[1]
        for p, t in zip(predictions, targets, strict=True)
    ]
    names = ("has_object", "responsible", "iou")
    found = {name: getattr(cells, name).numpy() for name in names}
    return {"cell_terms": tf.stack(terms).numpy()} | found


def repeat(step: Step) -> Step:
    """The step of a file once more: what the network says of its images and what the loss makes of
    that, from the weights in the file. It needs neither the run nor its data.

    Args:
        step: with ``weights_before``.

    Raises:
        WrongRun: it has no weights, or they do not fit.
    """
    config, before = step.config, step.several("weights_before")
    if not before:
        raise WrongRun("the file has no weights; --checkpoint=RUN says where the run is.")
    with tempfile.TemporaryDirectory() as folder, _own_precision():
        for name, text in step.about["cfg"].items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        name = "one" if config.strategy == "multi_worker" else config.strategy
        strategy = strategies.resolve_strategy(name)
        state = new_state(config, step.grid, 1, RunDirectory(folder), strategy)
        shapes = [tuple(v.shape) for v in state.model.variables]
        if shapes != [value.shape for value in before]:
            raise WrongRun("the weights of the file do not fit the network that it names.")
        for variable, value in zip(state.model.variables, before, strict=True):
            variable.assign(value)
        state.progress.step.assign(step.number)
        batch = (tf.constant(step.arrays[name]) for name in ("images", "targets", "indices"))
        taken = _Taken(config, folder, step.about["classes"], state)
        again, _ = taken.whole(step.number, step.about["image_ids"], *batch)
    # Of a state without its optimizer and its run these say nothing.
    unknown = ("weights_after.", "learning_rate")
    again.arrays = {k: v for k, v in again.arrays.items() if not k.startswith(unknown)}
    again.about = step.about | again.about | {"environment": environment()}
    return again
