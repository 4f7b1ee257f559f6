"""For TensorBoard, beside the scalars of `yolov1.training`: pictures with boxes, precision-recall
curves, histograms of weights, and flags with the figures that they gave.

All of it is written by `tf.summary` into the file that is open (`training.callbacks.event_file`).
"""

import io
import os
import shutil

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.hparams import api_pb2 as hparams_kinds
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata

from yolov1 import inference
from yolov1.evaluation.shortcomings import SHOWN

PICTURES = 4
LONGEST_SIDE = 480  # of a picture, in pixels: larger ones are made smaller
THRESHOLDS = 201  # of a curve, evenly from 0 to 1; what TensorBoard has by default
BUCKETS = 30  # of a histogram; likewise

FIGURES = ("map_voc07", "map_area", "map_coco", "accuracy", "val_loss")


class TensorBoard(keras.callbacks.Callback):
    """Writes what is seen of each evaluation. What cannot be written is a warning, once.

    Args:
        config: the run's `TrainConfig`.
        run: its `RunDirectory`.
        measure: its ``evaluator`` has `detections`, `dataset` and `curves` after an evaluation; a
            classifier's has none, and gives no pictures and curves.
    """

    def __init__(self, config, run, measure):
        super().__init__()
        self.config, self.run, self.measure = config, run, measure
        self.warned = set()

    def on_train_begin(self, logs=None):
        flags = self.config.to_dict()
        flags = {name: flags[name] for name in flags if name not in ("output_dir", "resume")}
        self._tried("flags", lambda: write_flags(flags, str(self.run.path)))

    def on_epoch_end(self, epoch, logs=None):
        if not any(name in (logs or {}) for name in FIGURES):
            return  # nothing was measured
        step = int(logs["step"])
        found = self.measure.evaluator
        if hasattr(found, "detections"):
            self._tried("pictures", lambda: write_pictures(found.detections, found.dataset, step))
            self._tried("curves", lambda: write_curves(found.curves, step))
        if self.config.histograms:
            self._tried("histograms", lambda: write_histograms(self.model.weights, step))

    def on_train_end(self, logs=None):
        self._tried("flags", write_end)

    def _tried(self, what, write):
        try:
            write()
        except Exception as error:  # the training does not depend on it
            if what not in self.warned:
                reason = f"{type(error).__name__}: {error}"
                print(f"warning: TensorBoard: {what} could not be written: {reason}")
            self.warned.add(what)


def write_pictures(detections, dataset, step: int):
    """The first pictures of a data set with what was found; the truth is thin and white.

    Args:
        detections: `Detections` of each image, in fractions of it.
        dataset: a `yolov1.data.Dataset`.
        step: of the training.
    """
    for k in range(min(PICTURES, len(dataset))):
        example = dataset[k]
        picture = inference.draw(
            _reduced(example.image),
            detections[k],
            dataset.classes,
            score_threshold=SHOWN,
            min_side=240,
            truth=example,
            orientation=example.orientation,
        )
        jpeg = io.BytesIO()
        Image.fromarray(picture).save(jpeg, "JPEG", quality=90)
        height, width = picture.shape[:2]
        tf.summary.write(
            _text(f"pictures/{k:02d}-{example.image_id}"),
            tf.constant([str(width), str(height), jpeg.getvalue()]),
            step,
            image_metadata.create_summary_metadata(None, None, converted_to_tensor=True),
        )


def write_curves(curves: dict, step: int):
    """Precision over recall of each class that has objects: name -> `Curve`, as
    `evaluation.evaluate` gives them."""
    for name, curve in curves.items():
        if curve.truth:
            tf.summary.write(
                _text(f"precision_recall/{name}"),
                np.stack(points(curve)).astype(np.float32),
                step,
                pr_curve_metadata.create_summary_metadata(None, None, THRESHOLDS),
            )


def points(curve):
    """What TensorBoard's curves are made of, from an `evaluation.average_precision.Curve`.

    Returns:
        Six arrays ``[THRESHOLDS]``: of the boxes that score at least each threshold those that are
        right and those that are wrong; true negatives, of which there are none among boxes: 0; the
        objects that are missed; precision, 0 where no box scores as much (TensorBoard leaves these
        points out); recall.
    """
    scores = np.clip(curve.scores.astype(np.float64), 0, 1)
    hits = np.rint(curve.precision * np.arange(1, len(scores) + 1)).astype(int)
    # Scores fall: those from `thresholds[i]` up are the first `number[i]`.
    number = np.searchsorted(-scores, -np.linspace(0, 1, THRESHOLDS), side="right")
    right = np.append(0, hits)[number]
    wrong, missed = number - right, curve.truth - right
    precision, recall = right / np.maximum(number, 1), right / curve.truth
    return right, wrong, np.zeros(THRESHOLDS), missed, precision, recall


def write_histograms(weights, step: int):
    """A histogram of the finite values of each of a model's weights (not of its counters)."""
    for weight in weights:
        values = keras.ops.convert_to_numpy(weight)
        if not np.issubdtype(values.dtype, np.floating):
            continue
        values = values[np.isfinite(values)].astype(np.float64)
        number, edges = np.histogram(values, BUCKETS)
        tf.summary.write(
            f"weights/{weight.path}",
            np.stack([edges[:-1], edges[1:], number], axis=1),
            step,
            histogram_metadata.create_summary_metadata(None, None),
        )


def write_flags(flags: dict, name: str):
    """The beginning of a training in the tab HPARAMS: flag -> bool, number or text.

    Args:
        name: of the training; those of one name are a row, with the mean of their figures.
    """
    _write_raw(hparams_api.hparams_pb(flags, trial_id=_text(name)))


def write_end(status=hparams_kinds.STATUS_SUCCESS):
    """Its end."""
    _write_raw(hparams_summary.session_end_pb(status))


# What a study says of a run, and what TensorBoard calls it.
_STATUS = {
    "finished": hparams_kinds.STATUS_SUCCESS,
    "failed": hparams_kinds.STATUS_FAILURE,
    "begun": hparams_kinds.STATUS_RUNNING,
}


def write_study(folder, study: dict):
    """``hparams/`` of a study for the tab HPARAMS: a row for each variant with the flags that were
    varied and the means of its seeds' figures. What was there is replaced.

    Args:
        folder: of the study.
        study: its ``summary.json``: ``varied``, the names of the flags; ``measure``, the figure
            that decides; and ``trials``, dicts of ``variant``, ``path`` (of the run, in the
            folder), ``state``, ``flags`` (name -> value) and ``figures`` (name -> number; of parts,
            which have a dot in their names, the measure alone is shown).
    """
    place = folder / "hparams"
    shutil.rmtree(place, ignore_errors=True)
    trials, measure = study["trials"], study["measure"]
    names = sorted({n for t in trials for n in t["figures"] if "." not in n} - {measure})
    names = [measure, *names]
    numeric = [name for name in study["varied"] if all(_is_number(t, name) for t in trials)]
    with _file(place):
        kinds = [hparams_api.HParam(name) for name in study["varied"]]
        figures = [hparams_api.Metric(_text(name)) for name in names]
        _write_raw(hparams_api.hparams_config_pb(kinds, figures))
    for trial in trials:
        flags = {k: float(v) if k in numeric else str(v) for k, v in trial["flags"].items()}
        with _file(place / trial["path"]):
            write_flags(flags, trial["variant"])
            for name in names:
                if name in trial["figures"]:
                    tf.summary.scalar(_text(name), trial["figures"][name], step=0)
            write_end(_STATUS.get(trial["state"], hparams_kinds.STATUS_UNKNOWN))


def _is_number(trial, name) -> bool:
    try:
        float(trial["flags"].get(name, 0))
    except ValueError:
        return False
    return True


def _file(folder):
    return tf.summary.create_file_writer(os.fsencode(folder)).as_default()


def _write_raw(summary):
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)


def _reduced(image):
    """An image ``[H, W, 3]`` whose longer side is at most LONGEST_SIDE."""
    shrink = max(image.shape[:2]) / LONGEST_SIDE
    if shrink <= 1:
        return image
    size = [max(1, round(side / shrink)) for side in image.shape[1::-1]]
    return np.asarray(Image.fromarray(image).resize(size, Image.BILINEAR, reducing_gap=2.0))


def _text(name: str) -> str:
    """A name that may hold bytes of a file's, as text that a protocol buffer takes."""
    return name.encode("utf-8", "replace").decode()
