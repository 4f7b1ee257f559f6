"""What an experiment measures of a network on a data set, by task, and how it is shown."""

import time

import numpy as np
import tensorflow as tf
from PIL import Image

from yolov1 import data, evaluation, inference, ops
from yolov1.evaluation.shortcomings import SHOWN
from yolov1.files import safe_name
from yolov1.losses import ResponsibleBoxes, YoloLoss
from yolov1.reporting import crops
from yolov1.training import write_json

from . import common

PICTURES = 12
PICTURE_THRESHOLD = SHOWN


class Evaluator:
    """Detects on a data set and measures the detections, as often as asked.

    The detector is traced once; a later call sees the weights that the model then has.

    Args:
        model: a Keras model, or what finds things already: an `inference.Detector`, of a run or a
            file, or what has its `detect`.
        dataset, grid: what to measure on, and the network's `GridSpec`.
        config: `TrainConfig`, of which are taken semantics, batch size, what becomes of colliding
            objects, what ``val_loss`` is measured against, and, of a Keras model, `resize` and
            `suppression`.
        loss: whether the semantics are the network's, so that its loss can be measured.
        options: further ones of `inference.Detector`, of a Keras model.

    Attributes:
        detector: what finds things; another may take its place between two calls.
        detections: of the last call, one `inference.Detections` an image.
        losses: of the last call, what ``val_loss`` is the mean of, ``[N]``; None where it was not
            measured.
        curves: of the last call, class name -> the whole `Curve` of `evaluation.average_precision`.
    """

    def __init__(self, model, dataset, grid, config, *, loss=True, **options):
        self.dataset, self.grid, self.config = dataset, grid, config
        semantics = config.loss_semantics()
        self._loss = tf.function(
            lambda predictions, targets: (
                ops.yolo_loss(
                    predictions, targets, grid=grid, semantics=semantics, impl=config.impl
                ).loss
            ),
            reduce_retracing=True,
            autograph=False,
        )
        if not hasattr(model, "detect"):
            own = {"resize": config.resize, "suppression": config.suppression}
            model = inference.Detector(model, grid=grid, wh=semantics.wh, **own | options)
        self.detector, self._has_loss, self.losses = model, loss, None
        self.responsible = ResponsibleBoxes(YoloLoss(grid, semantics))
        self._update = tf.function(
            self.responsible.update_state, reduce_retracing=True, autograph=False
        )

    def __call__(self, predictions=None) -> dict:
        """As `evaluation.evaluate`, with ``images_per_second`` and ``seconds`` of detection, and
        where the loss can be measured ``val_loss``, that of an image (without what regularises
        weights; None beyond float32), and ``responsible_boxes``: the number of ``objects`` in the
        targets and the means of `yolov1.losses.ResponsibleBoxes`, None without objects.

        Args:
            predictions: a list that gets the predictions ``[n, S, S, D]`` of each batch, in order.
                (A detector that does not look at whole images has none.)
        """
        start = time.perf_counter()
        seen = self._detect()  # held against the targets later, so that detection alone is timed
        seconds = time.perf_counter() - start
        if predictions is not None:
            predictions += [values for values, _ in seen]
        clipped = [found.clipped() for found in self.detections]
        self.curves = {}
        measured = evaluation.evaluate(clipped, self.dataset, curves=self.curves)
        if seen and self._has_loss:
            batches = [(tf.constant(p), self._targets(indices)) for p, indices in seen]
            measured["val_loss"] = self._mean_loss(batches)
            measured["responsible_boxes"] = self._responsible_boxes(batches)
        return measured | {
            "images_per_second": len(self.dataset) / seconds,
            "seconds": seconds,
        }

    def _detect(self) -> list:
        """Finds things in all images; gives (predictions, indices) of each batch."""
        if not isinstance(self.detector, inference.Detector):
            self.detections = self.detector.detect(self.dataset, self.config.batch_size)
            return []
        seen = []
        batches = data.evaluation_batches(
            self.dataset, self.grid, self.config.batch_size, resize=self.detector.resize
        )
        self.detections = self.detector.detect(batches, watch=lambda *batch: seen.append(batch))
        return seen

    def _responsible_boxes(self, batches) -> dict:
        self.responsible.reset_state()
        for predictions, targets in batches:
            self._update(targets, predictions)
        objects = int(self.responsible.objects)
        means = {name: float(mean) for name, mean in self.responsible.result().items()}
        return {"objects": objects} | (means if objects else dict.fromkeys(means))

    def _mean_loss(self, batches) -> float | None:
        share = float(self.config.val_targets == "own")  # of empty targets every channel is 0
        losses = [self._loss(predictions, share * targets) for predictions, targets in batches]
        self.losses = tf.concat(losses, axis=0).numpy()
        mean = float(tf.reduce_mean(self.losses))
        return mean if np.isfinite(mean) else None  # finite outputs, but too large to be squared

    def _targets(self, indices):
        """Encoded as for training, without augmentation: ``[n, S, S, C + 5]``."""

        examples = (self.dataset[index] for index in indices)
        rule = self.config.on_collision
        return tf.constant(np.stack([data.encode_example(e, self.grid, rule) for e in examples]))

    def shortcomings(self) -> dict:
        """``shortcomings`` of the last call, see `evaluation.shortcomings`: for the end."""
        whole = isinstance(self.detector, inference.Detector)  # an object is in one cell then
        return {
            "shortcomings": evaluation.shortcomings(
                [found.clipped() for found in self.detections],
                self.dataset,
                grid=self.grid if whole else None,
                on_collision=self.config.on_collision,
            )
        }

    def write_pictures(self, folder, measured, count: int = PICTURES):
        write_pictures(folder, self.detections, self.dataset, measured, count)


def write_pictures(folder, detections, dataset, measured: dict, count: int = PICTURES):
    """The first images with their detections (and the truth, thin and white) as JPEG files, and in
    ``worst/`` the worst errors, as far as they were measured.

    To be called when the results are written; a picture that fails is named in a warning."""
    for k in range(min(count, len(dataset))):
        example = dataset[k]
        path = folder / f"{k:02d}-{safe_name(example.image_id)}.jpg"
        with common.drawing(path):
            picture = inference.draw(
                example.image,
                detections[k],
                dataset.classes,
                score_threshold=PICTURE_THRESHOLD,
                min_side=240,
                truth=example,
                orientation=example.orientation,
            )
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, quality=90)
    worst = measured.get("shortcomings", {}).get("worst", ()) if count else ()
    with common.drawing(folder / "worst"):
        crops.write_crops(folder / "worst", worst, dataset)


class ClassifierEvaluator:
    """Classifies a data set of one label an image, as often as asked; used as `Evaluator` is."""

    def __init__(self, model, dataset, grid, config):
        self.model, self.dataset, self.grid, self.config = model, dataset, grid, config
        self._logits = tf.function(lambda images: model(images, training=False), autograph=False)
        self.labels = np.array([example.labels[0] for example in dataset])

    def __call__(self) -> dict:
        """``accuracy`` in all and ``accuracy_per_class`` (None without an image), ``val_loss`` (the
        mean cross-entropy), ``images_per_second`` and ``seconds``."""
        start = time.perf_counter()
        batches = data.evaluation_batches(
            self.dataset, self.grid, self.config.batch_size, resize=self.config.resize
        )
        logits = np.concatenate([self._logits(images).numpy() for images, _ in batches])
        seconds = time.perf_counter() - start
        right = logits.argmax(axis=1) == self.labels
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels, logits)
        return {
            "accuracy": float(right.mean()),
            "accuracy_per_class": {
                name: float(right[self.labels == k].mean()) if (self.labels == k).any() else None
                for k, name in enumerate(self.dataset.classes)
            },
            "val_loss": float(tf.reduce_mean(entropy)),
            "images_per_second": len(self.dataset) / seconds,
            "seconds": seconds,
        }

    def shortcomings(self) -> dict:
        """Nothing: what is wrong is seen in the accuracy of the classes."""
        return {}

    def write_pictures(self, folder, measured, count: int = PICTURES):
        """Nothing: a class has no place in the picture."""


EVALUATORS = {"detect": Evaluator, "classify": ClassifierEvaluator}
HEADLINE = ("accuracy", "val_loss", "map_voc07", "map_area", "map_coco", "responsible_iou")


def headline(measured: dict) -> dict:
    """The mean figures of an evaluator, as metrics.csv and the progress line show them.

    A figure that does not exist (no object to be found) is left out.
    """
    figures = measured | {"responsible_iou": measured.get("responsible_boxes", {}).get("iou")}
    return {name: figures[name] for name in HEADLINE if figures.get(name) is not None}


def write_evaluation(directory, measured: dict, **more) -> dict:
    """``evaluation.json`` (curves and all) and ``summary.json`` (the figures); gives the latter."""
    write_json(directory / "evaluation.json", measured)
    summary = {
        **{k: v for k, v in measured.items() if k not in ("classes", "errors", "shortcomings")},
        **more,
    }
    write_json(directory / "summary.json", summary)
    return summary


def print_evaluation(summary: dict):
    if "accuracy" in summary:
        print(f"accuracy {_figure(summary['accuracy'])}")
        for name, value in summary["accuracy_per_class"].items():
            print(f"  {name:<16} {_figure(value)}")
        return
    names = {"map_voc07": "mAP@0.5, 11 points", "map_area": "area", "map_coco": "COCO AP"}
    print("  ".join(f"{words} {_figure(summary[name])}" for name, words in names.items()))
    for name, value in summary["ap_per_class"].items():
        print(f"  {name:<16} {_figure(value)}")
    if "responsible_boxes" not in summary:
        return  # of detections without a network
    means = dict(summary["responsible_boxes"])
    print(f"responsible boxes of {means.pop('objects')} objects")
    for name, value in means.items():
        print(f"  {name:<21} {_figure(value)}")


def _figure(value) -> str:
    return "-" if value is None else f"{value:.4f}"
