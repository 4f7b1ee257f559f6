"""A loss that is not finite: named by image and term, and left in a file as a step to repeat."""

import shlex

import numpy as np

from yolov1.training.replay import replay
from yolov1.training.step_file import Step, describe
from yolov1.training.tasks import TASKS

MOST_BYTES = 64 << 20  # of weights that are put into the file


class NonFiniteLoss(FloatingPointError):
    """The loss of an image was NaN or infinite.

    Attributes:
        batch: (images, targets, indices) of the step; None where nothing knows.
        terms: ``[N, T]`` of it.
        number: of the step.
    """

    batch = terms = number = None


def require_finite(dataset, names, terms, batch, number: int):
    """Raises `NonFiniteLoss` where a term of an image is not finite.

    Args:
        dataset: which `batch`, (images, targets, indices), is of.
        names: of the T terms.
        terms: ``[N, T]``.
        number: of the step.
    """
    if np.isfinite(terms).all():
        return
    bad = np.argwhere(~np.isfinite(terms))
    indices = batch[2].numpy()
    named = ", ".join(
        f"{names[t]} of image {dataset[int(indices[i])].image_id!r} is {terms[i, t]}"
        for i, t in bad[:8]
    )
    more = f" (and {len(bad) - 8} more)" if len(bad) > 8 else ""
    error = NonFiniteLoss(
        f"The loss is not finite at step {number}: {named}{more}. The last checkpoint is from "
        "before this step. Usual causes: a learning rate that is too high, a warm-up that is too "
        "short, float16 overflow; --clip_norm=10 often helps."
    )
    error.batch, error.terms, error.number = batch, terms, number
    raise error


def leave_step(error: NonFiniteLoss, config, dataset, directory) -> NonFiniteLoss:
    """Writes ``nonfinite-<step>.npz`` into a run, see `step_file`: what the step was given, and the
    weights before it, where they take at most `MOST_BYTES`.

    The step has changed the weights by the time that its loss is seen. So those before it are
    worked out once more, from the last checkpoint: in as much time as has gone by since that.

    Returns:
        The error, whose message names the file.
    """
    number, path = error.number, directory / f"nonfinite-{error.number}.npz"
    names = ("images", "targets", "indices")
    arrays = {name: value.numpy() for name, value in zip(names, error.batch, strict=True)}
    ids = [dataset[int(k)].image_id for k in arrays["indices"]]
    about = describe(config, directory.path, dataset.classes, number, ids)
    about["terms"] = list(TASKS[config.task].terms)
    try:
        Step(about, arrays | {"terms": error.terms}).save(path)  # in case that no more can be had
    except OSError as fault:  # nothing must hide what it is about
        print(f"warning: {path} cannot be written: {fault}")
        return error
    try:
        step = replay(directory, config, dataset, number, batch=error.batch, prove=False)
        dropped = ("weights_after.", "gradients.")  # `repeat` finds the latter again
        if sum(value.nbytes for value in step.several("weights_before")) > MOST_BYTES:
            dropped += ("weights_before.",)
        step.arrays = {k: v for k, v in step.arrays.items() if not k.startswith(dropped)}
        step.save(path)
    except Exception as fault:
        print(f"warning: the weights before step {number} are not in {path}: {fault}")
    command = f"python -m experiments.replay {shlex.quote(f'--file={path}')}"
    left = NonFiniteLoss(f"{error} {path} holds the step; repeat it alone: {command}")
    left.batch, left.terms, left.number = error.batch, error.terms, number
    return left
