"""What several experiments do with a model and a data set; each step is the package's own."""

import contextlib
import time

from absl import app
from PIL import Image

from yolov1 import data, evaluation, inference
from yolov1.data import BadExampleError
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

    The detector is traced once; a later call sees the weights that the model then has.
    """

    def __init__(self, model, dataset, grid, semantics, batch_size: int):
        self.detector = inference.Detector(model, grid=grid, wh=semantics.wh)
        self.dataset, self.grid, self.batch_size = dataset, grid, batch_size

    def __call__(self) -> dict:
        """As `evaluation.evaluate`, with ``images_per_second`` and ``seconds`` of detection."""
        start = time.perf_counter()
        batches = data.evaluation_batches(self.dataset, self.grid, self.batch_size)
        self.detections = self.detector.detect(batches)
        seconds = time.perf_counter() - start
        return evaluation.evaluate(self.detections, self.dataset) | {
            "images_per_second": len(self.dataset) / seconds,
            "seconds": seconds,
        }

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


HEADLINE = ("map_voc07", "map_area", "map_coco")


def headline(measured: dict) -> dict:
    """The mean figures of `evaluation.evaluate`, as metrics.csv and the progress line show them.

    A figure that does not exist (no object to be found) is left out.
    """
    return {name: measured[name] for name in HEADLINE if measured[name] is not None}


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


def _figure(value) -> str:
    return "-" if value is None else f"{value:.4f}"
