"""A trained detector from where it lies, whatever it is."""

from yolov1 import training
from yolov1.files import user_path
from yolov1.inference import formats
from yolov1.inference.detect import Detector
from yolov1.inference.file_detector import FileDetector
from yolov1.inference.metadata import WrongFile


def load(path, *, which="last", **options) -> Detector:
    """The detector of a run directory, or of a file that `export` wrote, ready to find things.

    Args:
        path: the run; or FILE.onnx, FILE.tflite, FILE.keras, a SavedModel's or OpenVINO folder.
        which: a run's weights, ``"last"`` or ``"best"``; see `yolov1.training.load_run`.
        options: `score_threshold`, `iou_threshold`, `max_detections`, `clip`, `suppression`,
            `sigma`, `resize` and `impl` of `Detector`, in place of those of the run or the file, or
            the defaults. Where a file suppresses inside, it can only find less: a higher
            `score_threshold`, fewer `max_detections`.

    Returns:
        A `Detector` that knows its `classes`. That of a file is a `FileDetector`, which has the
        file's `metadata`; that of a .keras file has the network, as a run's has.

    Raises:
        FileNotFoundError: there is nothing, or no checkpoint in the run yet.
        WrongRun: a run that finds no boxes, or one that is damaged.
        WrongFile: a file that is damaged, or does not say what it is, or of a later version; or one
            of another kind.
        MissingExtra: what runs the file is not installed.
        ValueError: an option that the file cannot follow.
    """
    place = user_path(path)
    if formats.format_of(place) is None:
        if place.is_file():
            names = ", ".join(module.name_of("NAME") for module in formats.FORMATS.values())
            raise WrongFile(f"{path} is no file of a detector. Give a run's folder, or {names}.")
        model, run = training.load_run(path, which)
        of_config = {name: getattr(run.config, name) for name in ("resize", "suppression")}
        own = {"grid": run.grid, "wh": run.semantics.wh, **of_config}
        return Detector(model, classes=run.classes, **own | options)
    if which != "last":
        raise ValueError(f"load: {path} holds one set of weights, got which={which!r}.")
    session = formats.open_file(place)
    if session.model is None:
        return FileDetector(session, **options)
    known = session.metadata
    own = {"resize": known.resize, **known.options}
    return Detector(
        session.model, grid=known.grid, wh=known.wh, classes=known.classes, **own | options
    )
