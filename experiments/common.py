"""What several experiments do with a model and a data set; each step is the package's own."""

import contextlib
import time

import numpy as np
import tensorflow as tf
from absl import app
from PIL import Image

from yolov1 import data, evaluation, inference
from yolov1.data import BadExampleError
from yolov1.losses import ResponsibleBoxes, YoloLoss
from yolov1.training import write_json

PICTURES = 12
PICTURE_THRESHOLD = 0.25


def open_split(config, split: str, classes=None):
    """A split of the configuration's data set.

    Raises:
        app.UsageError: the flags name what does not exist.
    """
    with usage_errors():
        dataset = data.open(
            config.dataset,
            split=split or None,
            classes=classes or config.classes or None,
            image_size=config.image_size,
            seed=config.seed,
            bad_examples=config.bad_examples,
        )
    print(f"{dataset.name}: {len(dataset)} images, {len(dataset.classes)} classes")
    return dataset


@contextlib.contextmanager
def usage_errors():
    """Inside, a `ValueError` is about a flag: it is shown without a traceback."""
    try:
        yield
    except BadExampleError:
        raise
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def warn_of_overlap(train_set, eval_set):
    """Says so when images are both trained on and measured on."""
    trained = {example.path for example in train_set if example.path}
    both = sum(example.path in trained for example in eval_set if example.path)
    if both:
        print(
            f"warning: {both} of the {len(eval_set)} evaluation images are trained on as well; the "
            "figures will say little about new images. See --train_split and --eval_split."
        )


def print_skipped(*datasets):
    """At the end of an experiment: what had to be left out, and why."""
    for dataset in datasets:
        for what, entries in (("images", dataset.skipped), ("boxes", dataset.notes)):
            if entries:
                print(f"{dataset.name}: remarks on {len(entries)} {what}:")
            for name, reason in entries:
                print(f"  {name}: {reason}")


class Evaluator:
    """Detects on a data set and measures the detections, as often as asked.

    The detector is traced once; a later call sees the weights that the model then has. Of the
    `TrainConfig` it takes semantics, batch size and what becomes of colliding objects.
    """

    def __init__(self, model, dataset, grid, config):
        self.dataset, self.grid, self.config = dataset, grid, config
        semantics = config.loss_semantics()
        self.detector = inference.Detector(model, grid=grid, wh=semantics.wh)
        self.responsible = ResponsibleBoxes(YoloLoss(grid, semantics))
        self._update = tf.function(self.responsible.update_state, reduce_retracing=True)

    def __call__(self) -> dict:
        """As `evaluation.evaluate`, with ``images_per_second`` and ``seconds`` of detection, and
        with ``responsible_boxes``: the number of ``objects`` in the targets and the means of
        `yolov1.losses.ResponsibleBoxes`, None without objects.
        """
        seen = []  # held against the targets later, so that detection alone is timed
        start = time.perf_counter()
        batches = data.evaluation_batches(self.dataset, self.grid, self.config.batch_size)
        self.detections = self.detector.detect(batches, watch=lambda *batch: seen.append(batch))
        seconds = time.perf_counter() - start
        return evaluation.evaluate(self.detections, self.dataset) | {
            "responsible_boxes": self._responsible_boxes(seen),
            "images_per_second": len(self.dataset) / seconds,
            "seconds": seconds,
        }

    def _responsible_boxes(self, batches) -> dict:
        self.responsible.reset_state()
        for predictions, indices in batches:
            targets = np.stack([self._targets(self.dataset[index]) for index in indices])
            self._update(tf.constant(targets), tf.constant(predictions))
        objects = int(self.responsible.objects)
        means = {name: float(mean) for name, mean in self.responsible.result().items()}
        return {"objects": objects} | (means if objects else dict.fromkeys(means))

    def _targets(self, example):
        """Encoded as for training, without augmentation."""
        kept = ~example.difficult
        boxes, labels = example.boxes_cxcywh[kept], example.labels[kept]
        return data.encode_targets(boxes, labels, self.grid, self.config.on_collision)[0]

    def write_pictures(self, folder, count: int = PICTURES):
        """The first images with their detections (and the truth, thin and white) as JPEG files."""
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(min(count, len(self.dataset))):
            example = self.dataset[k]
            picture = inference.draw(
                example.image,
                self.detections[k],
                self.dataset.classes,
                score_threshold=PICTURE_THRESHOLD,
                min_side=240,
                truth=example,
            )
            name = "".join(c if c.isalnum() or c in "-_." else "_" for c in example.image_id)
            Image.fromarray(picture).save(folder / f"{k:02d}-{name}.jpg", quality=90)


HEADLINE = ("map_voc07", "map_area", "map_coco", "responsible_iou")


def headline(measured: dict) -> dict:
    """The mean figures of an `Evaluator`, as metrics.csv and the progress line show them.

    A figure that does not exist (no object to be found) is left out.
    """
    figures = measured | {"responsible_iou": measured["responsible_boxes"]["iou"]}
    return {name: figures[name] for name in HEADLINE if figures[name] is not None}


def write_evaluation(directory, measured: dict, **more) -> dict:
    """``evaluation.json`` (curves and all) and ``summary.json`` (the figures); gives the latter."""
    write_json(directory / "evaluation.json", measured)
    summary = {
        **{k: v for k, v in measured.items() if k not in ("classes", "errors")},
        **more,
    }
    write_json(directory / "summary.json", summary)
    return summary


def print_evaluation(summary: dict):
    names = {"map_voc07": "mAP@0.5, 11 points", "map_area": "area", "map_coco": "COCO AP"}
    print("  ".join(f"{words} {_figure(summary[name])}" for name, words in names.items()))
    for name, value in summary["ap_per_class"].items():
        print(f"  {name:<16} {_figure(value)}")
    means = dict(summary["responsible_boxes"])
    print(f"responsible boxes of {means.pop('objects')} objects")
    for name, value in means.items():
        print(f"  {name:<21} {_figure(value)}")


def _figure(value) -> str:
    return "-" if value is None else f"{value:.4f}"
