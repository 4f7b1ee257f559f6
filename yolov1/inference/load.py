"""A trained detector from where it lies, whatever it is."""

from yolov1 import training
from yolov1.inference.detect import Detector


def load(path, *, which="last", **options) -> Detector:
    """The detector of a run directory, ready to find things.

    Args:
        path: the run.
        which: its weights, ``"last"`` or ``"best"``; see `yolov1.training.load_run`.
        options: `score_threshold`, `iou_threshold`, `max_detections`, `clip`, `resize` and `impl`
            of `Detector`, in place of the run's or the defaults.

    Returns:
        A `Detector` that knows its `classes`.

    Raises:
        FileNotFoundError: there is nothing, or no checkpoint in the run yet.
        WrongRun: a run that finds no boxes, or one that is damaged.
    """
    model, run = training.load_run(path, which)
    own = {"grid": run.grid, "wh": run.semantics.wh, "resize": run.config.resize}
    return Detector(model, classes=run.classes, **own | options)
