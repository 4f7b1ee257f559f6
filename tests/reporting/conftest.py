"""A run directory as `experiments.train` leaves it, made up but of its true shape."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

CLASSES = ("disc", "square", "triangle")
EPOCHS = 40


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "shapes-laptop")


def make_run(path, classes=CLASSES):
    """Writes all parts of a run with these class names; gives `path`."""
    path.mkdir()
    _metrics(path / "metrics.csv")
    evaluation = _evaluation(classes)
    keys = ("map_voc07", "map_area", "map_coco", "ap_per_class")
    summary = {key: evaluation[key] for key in keys}
    summary |= {"images_per_second": 162.25, "seconds": 221.4, "parameters": 768_877}
    split = {
        "train": _statistics("shapes train", 600, classes, []),
        "eval": _statistics("shapes test", 200, classes, [["a.jpg", "truncated JPEG"]]),
    }
    config = {
        "config": {"dataset": "shapes", "model": "laptop", "epochs": EPOCHS, "S": 7, "seed": 0},
        "grid": {"S": 7, "B": 2, "C": len(classes), "image_size": 112},
        "classes": list(classes),
        "environment": {
            "tensorflow": "2.21.0",
            "git_revision": "0123456789ab",
            "ops": {"yolo_loss": ["CPU"]},
            "gpus": [],
            "started": "2026-11-22T16:00:00+00:00",
        },
    }
    parts = {"config": config, "summary": summary, "evaluation": evaluation, "dataset": split}
    for name, value in parts.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    (path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        pixels = rng.integers(90, 200, size=(6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(path / "pictures" / f"{k:02d}-shape.jpg")
    return path


def _metrics(path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            "epoch step seconds images_per_second learning_rate loss xy wh object no_object class "
            "input_seconds step_seconds map_voc07 map_area evaluation_seconds checkpoint_seconds "
            "other_seconds".split()
        )
        for epoch in range(1, EPOCHS + 1):
            done = epoch / EPOCHS
            terms = [w * math.exp(-4 * done) + 0.01 for w in (0.8, 0.5, 1.0, 0.6, 1.2)]
            measured = epoch % 10 == 0
            maps = [f"{0.95 * done**0.3:.4f}", f"{0.97 * done**0.3:.4f}"] if measured else ["", ""]
            rate = 1e-3 * (1 + math.cos(math.pi * done)) / 2 + 1e-6
            writer.writerow(
                [epoch, 19 * epoch, 5.5 * epoch, 160 + epoch % 7, rate, sum(terms), *terms]
                + [0.4, 5.1, *maps, 4.0 if measured else 0, 0.25, 0.05]
            )


def _evaluation(classes):
    recall = np.linspace(0.02, 0.98, 60)
    per_class = {}
    for k, name in enumerate(classes):
        precision = 1 - (0.3 + 0.05 * k) * recall**4
        per_class[name] = {
            "ap_voc07": 0.96 - 0.02 * k,
            "ap_area": 0.97 - 0.02 * k,
            "ap_coco": 0.61 - 0.03 * k,
            "truth": 210 + 9 * k,
            "detections": 400 + k,
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "score": np.linspace(0.99, 0.02, 60).tolist(),
            "errors": None,
        }
    mean = {
        f"map_{key}": float(np.mean([c[f"ap_{key}"] for c in per_class.values()]))
        for key in ("voc07", "area", "coco")
    }
    kinds = ("correct", "localisation", "similar", "other", "background")
    return {
        **mean,
        "ap_per_class": {name: values["ap_voc07"] for name, values in per_class.items()},
        "classes": per_class,
        "errors": dict(zip(kinds, (0.9, 0.06, 0.0, 0.01, 0.03), strict=True)),
        "responsible_boxes": {"objects": 1234, "iou": 0.7654, "any_confidence": 0.0123},
        "images": 200,
    }


def _statistics(name, images, classes, skipped):
    spread = {"min": 8.0, "p10": 14.0, "median": 27.5, "p90": 51.0, "max": 90.0, "mean": 30.1}
    return {
        "name": name,
        "images": images,
        "images_without_boxes": 3,
        "boxes": 3 * images,
        "difficult": 0,
        "classes": {
            c: {"boxes": images, "images": images // 2, "difficult": 0, "share": 1 / len(classes)}
            for c in classes
        },
        "boxes_per_image": {**spread, "p90": 5.0},
        "image_width": spread,
        "image_height": spread,
        "box_width_px": spread,
        "box_height_px": spread,
        "box_area_share": {key: value / 1000 for key, value in spread.items()},
        "collisions": {"7": {"lost": 31, "share": 0.017}, "14": {"lost": 4, "share": 0.002}},
        "skipped": skipped,
        "notes": [["b.jpg", "box clipped to the image"]],
    }
