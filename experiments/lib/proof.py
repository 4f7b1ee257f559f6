"""That a file of a detector finds what the detector finds: measured on a data set, side by side."""

import statistics
import time

import numpy as np
import tensorflow as tf

from yolov1 import data, evaluation, inference

from .evaluators import PICTURE_THRESHOLD, Evaluator
from .flags import UserError

MAPS = ("map_voc07", "map_area", "map_coco")
TIMED = 50  # images, one by one

# The figures that are held against a tolerance, in words, and where each stands in `Proof.of`.
FIGURES = {
    "predictions": "largest deviation of predictions, as a share of the largest value",
    "boxes": "deviation of 99 % of the boxes, in pixels of the network's input",
    "changed": "share of boxes that appeared or disappeared",
    "map": "fall of a mean average precision",
}
# By precision. Of float32 the order of sums is left, and a box or two whose neighbour, by a hair,
# is suppressed in its place; of int8 what it costs in the end.
TOLERANCES = {
    "float32": {"predictions": 1e-4, "boxes": 0.02, "changed": 0.005, "map": 0.001},
    "float16": {"predictions": 0.02, "boxes": 0.5, "changed": 0.02, "map": 0.005},
    "int8": {"map": 0.02},
}


def tolerances(given) -> dict:
    """`TOLERANCES` with those that words ``NAME=VALUE`` give for all precisions, or ``VALUE`` for
    all figures.

    Raises:
        UserError: another name, or no number of at least 0.
    """
    values = {}
    for word in given:
        name, _, text = word.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        names = [name] if name else list(FIGURES)
        if not set(names) <= set(FIGURES) or not value >= 0:
            raise UserError(
                f"--tolerance must be a list of NAME=VALUE with the names {', '.join(FIGURES)} and "
                "values of at least 0, such as map=0.01,boxes=0.5, or one VALUE for all; got "
                f"{word!r}."
            )
        values |= dict.fromkeys(names, value)
    return {precision: own | values for precision, own in TOLERANCES.items()}


class Proof:
    """Runs files on a data set as the detector was that they were made of.

    Args:
        detector: an `inference.Detector` of a network.
        dataset: the images, and the objects in them.
        config: `TrainConfig` of the run, for batch size and loss.
        input_dtype: of the files. Those that take uint8 are held against the network on images
            that were rounded likewise; against its average precision on images that were not.
        loss: whether the configuration's semantics are the network's.
        timed: how many images are looked at one by one, for the time that takes.

    Attributes:
        run: the network's own figures.
    """

    def __init__(self, detector, dataset, config, *, input_dtype, loss=True, timed=TIMED):
        self._evaluator = Evaluator(detector, dataset, detector.grid, config, loss=loss)
        self._own = detector
        self.run, self._seen = self._measure(detector)
        if input_dtype == "uint8":
            self._own = on_whole_numbers(detector)
            _, self._seen = self._measure(self._own)
        weights = detector.model.weights if hasattr(detector.model, "weights") else ()
        self.run["bytes"] = sum(int(np.prod(w.shape)) * tf.as_dtype(w.dtype).size for w in weights)
        batches = data.evaluation_batches(dataset[:timed], detector.grid, 1, resize=detector.resize)
        self._images = [images for images, _ in batches]

    def _measure(self, detector):
        """(figures, (predictions ``[images, S, S, D]``, `Detections` of each image))."""
        self._evaluator.detector, predictions = detector, []
        with data.reading(self._evaluator.dataset):
            measured = self._evaluator(predictions)
        names = (*MAPS, "val_loss", "images", "images_per_second")
        figures = {name: measured.get(name) for name in names}
        return figures, (np.concatenate(predictions), self._evaluator.detections)

    def of(self, path) -> dict:
        """Loads a file and holds it against the network.

        Returns:
            ``bytes``; ``ms`` and ``run_ms``, the median for an image of batch 1 from its pixels to
            its boxes, of file and network in turns; ``prediction_deviation``,
            ``largest_prediction`` (absolute); ``boxes``, see `yolov1.evaluation.agreement`;
            the file's own figures as the run has them; ``change``: mean average precisions less
            the run's.
        """
        detector = inference.load(path)
        figures, (predictions, found) = self._measure(detector)
        own_predictions, own_found = self._seen
        change = {
            name: None if figures[name] is None else figures[name] - self.run[name] for name in MAPS
        }
        ms, run_ms = milliseconds((detector.look, self._own.look), self._images)
        return {
            "bytes": size_of(path),
            "ms": ms,
            "run_ms": run_ms,
            "prediction_deviation": float(np.abs(predictions - own_predictions).max()),
            "largest_prediction": float(np.abs(own_predictions).max()),
            "boxes": evaluation.agreement(
                own_found, found, side=detector.grid.image_size, score_threshold=PICTURE_THRESHOLD
            ),
            **figures,
            "change": change,
        }


def held_against(row: dict, allowed: dict) -> list[dict]:
    """The figures of `Proof.of` that exceed what is allowed: ``figure``, ``value``, ``allowed``."""
    boxes = row["boxes"]
    falls = [-change for change in row["change"].values() if change is not None]
    values = {
        "predictions": row["prediction_deviation"] / (row["largest_prediction"] or 1.0),
        "boxes": boxes["deviation_px_99"] or 0.0,
        "changed": (boxes["appeared"] + boxes["disappeared"]) / max(boxes["boxes"], 1),
        "map": max(falls, default=0.0),
    }
    return [
        {"figure": name, "value": values[name], "allowed": most}
        for name, most in allowed.items()
        if not values[name] <= most
    ]


def on_whole_numbers(detector):
    """The detector on images as a file sees them that takes uint8."""

    def model(images, training):
        whole = tf.clip_by_value(tf.round(images * 255), 0, 255) / 255
        return detector.model(whole, training=training)

    return inference.Detector(
        model, grid=detector.grid, wh=detector.wh, resize=detector.resize, **detector.options
    )


def milliseconds(looks, images) -> list[float]:
    """The median for one image of each function; they take turns, so that what else goes on in the
    machine slows one as it does the other."""
    for look in looks:
        _finished(look(images[0]))  # traces, and reserves memory
    taken = [[] for _ in looks]
    for image in images:
        for look, times in zip(looks, taken, strict=True):
            start = time.perf_counter()
            _finished(look(image))
            times.append(time.perf_counter() - start)
    return [1e3 * statistics.median(times) for times in taken]


def _finished(outputs):
    return [np.asarray(value) for value in outputs.values()]


def size_of(path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


# ------------------------------------------------------------------ in words

COLUMNS = {
    "format": lambda row: row["format"],
    "precision": lambda row: row["precision"],
    "nms": lambda row: row["nms"],
    "input": lambda row: row["input"],
    "MB": lambda row: f"{row['bytes'] / 1e6:.2f}",
    "ms": lambda row: f"{row['ms']:.2f}",
    "run's ms": lambda row: f"{row['run_ms']:.2f}",
    "predictions": lambda row: f"{row['prediction_deviation']:.1e}",
    "px": lambda row: _figure(row["boxes"]["deviation_px"], ".3f"),
    "99 %": lambda row: _figure(row["boxes"]["deviation_px_99"], ".3f"),
    "boxes": lambda row: str(row["boxes"]["boxes"]),
    "+": lambda row: str(row["boxes"]["appeared"]),
    "-": lambda row: str(row["boxes"]["disappeared"]),
    "mAP@.5": lambda row: _figure(row["map_voc07"], ".4f"),
    "change": lambda row: _figure(row["change"]["map_voc07"], "+.4f"),
    "COCO AP": lambda row: _figure(row["map_coco"], ".4f"),
    "change ": lambda row: _figure(row["change"]["map_coco"], "+.4f"),
}
WORDS = 4  # columns that are no numbers


def table(run: dict, exports: list) -> str:
    """The exports, a line each, below the run; those that are not there with the reason."""
    first = ["the run", "", "", "", f"{run['bytes'] / 1e6:.2f}", *[""] * (len(COLUMNS) - 5)]
    for name, key in (("mAP@.5", "map_voc07"), ("COCO AP", "map_coco")):
        first[list(COLUMNS).index(name)] = _figure(run[key], ".4f")
    lines, notes = [list(COLUMNS), first], []
    for row in exports:
        why = row.get("error") or row.get("left_out")
        shown = list(COLUMNS)[: WORDS if why else None]
        cells = [COLUMNS[name](row) for name in shown]
        lines.append(cells + ["-"] * (len(COLUMNS) - len(cells)))
        if why:
            notes.append(f"{row['format']} {row['precision']}: {why}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            f"{cell:<{width}}" if k < WORDS else f"{cell:>{width}}"
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, *notes])


def _figure(value, form) -> str:
    return "-" if value is None else format(value, form)
