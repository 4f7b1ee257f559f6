"""A detector as a file that other programs run."""

import contextlib
import os
import tempfile
import warnings
from pathlib import Path

from yolov1.files import user_path
from yolov1.inference import formats
from yolov1.inference.detect import Detector
from yolov1.inference.metadata import Metadata
from yolov1.revision import git_revision


def export(
    detector,
    path,
    *,
    format="saved_model",
    precision="float32",
    nms=None,
    input_dtype="float32",
    calibration=None,
    revision=None,
    source=None,
):
    """Writes a `Detector` as a file or folder that runs without this package.

    `load` reads each of them back. The computation has the input ``images`` and the outputs
    ``predictions [N, S, S, D]`` and

    - suppression inside: ``boxes_xyxy [N, max_detections, 4]``, ``scores``, ``labels``, ``count``
      and ``finite`` of `Detector`. Suppression is the format's own: of boxes with equal scores it
      may find them in another order. A soft one can be inside a SavedModel alone;
    - suppression outside: ``boxes_xyxy [N, S*S*B, 4]`` and ``scores [N, S*S*B, C]``, decoded.

    A SavedModel has them all in its signature ``look``; ``serving_default`` has not the predictions
    where suppression is inside.

    Args:
        detector: of a network, with the thresholds that are to go along.
        path: of the file, or the folder (SavedModel, OpenVINO). What an earlier export wrote there
            is replaced once the new one is whole.
        format: a key of `yolov1.inference.formats.FORMATS`.
        precision: ``"float32"``; ``"float16"``: weights, and the network's arithmetic where the
            format has it; ``"int8"``: weights and the network's arithmetic, after calibration.
            Decoding is in float32 always.
        nms: ``"inside"`` or ``"outside"``; by default inside where the format has it.
        input_dtype: ``"float32"``, images in [0, 1]; or ``"uint8"``.
        calibration: for int8: a function that gives an iterator of images float32
            ``[1, image_size, image_size, 3]``, a hundred or so like those to come.
        revision: of the source, to be kept in the file; by default this one's.
        source: a name to be kept in the file, such as the run's.

    Returns:
        `path`.

    Raises:
        ValueError: a choice that the format has not; the message says what there is.
        MissingExtra: what writes the format is not installed.
        FileExistsError: there is something else at the path.
    """
    formats.check(format)
    module = formats.FORMATS[format]
    if not isinstance(detector, Detector):
        raise ValueError(
            f"export: expected a Detector of a network, got {type(detector).__name__}. Of views of "
            "an image (tiled, flipped) give the detector inside: whoever runs the file looks "
            "several times."
        )
    if getattr(detector, "metadata", None) is not None:
        raise ValueError(
            "export: this detector is a file's, whose network cannot be written once more. Give "
            "that of the run, or of a .keras file."
        )
    suppression = detector.options["suppression"]
    nms = formats.places(format, suppression)[0] if nms is None else nms
    choices = {"precision": precision, "nms": nms, "input_dtype": input_dtype}
    formats.check(format, suppression=suppression, **choices)
    if precision == "int8" and calibration is None:
        raise ValueError("export: precision int8 needs calibration=, images to measure ranges on.")
    metadata = Metadata(
        classes=detector.classes,
        grid=detector.grid,
        wh=detector.wh,
        resize=detector.resize,
        nms=nms,
        **detector.options,
        input_dtype=input_dtype,
        precision=precision,
        revision=git_revision() if revision is None else revision,
        source=source,
    )
    place = user_path(path)
    _check_name(place, module, format)
    with _replacing(place) as new:
        module.write(detector, new, metadata, calibration=calibration)
    return path


def _check_name(place, module, format):
    expected = Path(module.name_of("NAME"))
    if expected.suffix and place.suffix != expected.suffix:
        raise ValueError(
            f"export: a file of format {format} must be called {expected}, got {place.name}."
        )
    if format == "saved_model" and set(str(place)) & module.PATTERN:
        warnings.warn(
            f"export: TensorFlow cannot load a SavedModel from {place}, because it reads "
            "[ ] * ? \\ in a path as a pattern. Rename the folder before you load it elsewhere.",
            stacklevel=3,
        )
    if place.is_dir():
        if expected.suffix:
            raise FileExistsError(f"export: {place} is a folder, expected a file or nothing yet.")
        if any(place.iterdir()) and not module.recognises(place):
            raise _holds_others(place, [path.name for path in place.iterdir()])
    elif place.exists() and not expected.suffix:
        raise FileExistsError(f"export: {place} is a file, expected a folder or nothing yet.")


@contextlib.contextmanager
def _replacing(place):
    """A path for a file or folder, which takes its place only once whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    # On the same file system, under the final name, which some formats write into the file.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=place.parent) as folder:
        new = Path(folder) / place.name
        yield new
        if not place.is_dir():
            os.replace(new, place)
            return
        others = {p.name for p in place.iterdir()} - {p.name for p in new.iterdir()}
        if others:
            raise _holds_others(place, others)
        before = Path(folder) / "before"
        os.rename(place, before)
        try:
            os.rename(new, place)
        except OSError:
            os.rename(before, place)
            raise


def _holds_others(place, names):
    return FileExistsError(
        f"export: {place} holds other files ({', '.join(sorted(names)[:3])}), which would be lost. "
        "Give a new folder."
    )
