"""The README's two pictures from a run on BCCD: predictions, and the learning curve.

python -m docs.readme_images --run=runs/bccd --compare=runs/bccd-s7
"""

from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from PIL import Image

from yolov1 import data, inference, training

RUN = flags.DEFINE_string("run", None, "Run directory.", required=True)
COMPARE = flags.DEFINE_string("compare", "", "A second run for the learning curve.")
IMAGES = flags.DEFINE_list("images", ["0", "1", "2"], "Images of the evaluation split.")
SCORE = flags.DEFINE_float("score_threshold", 0.3, "Boxes that score less are not drawn.")
FOLDER = Path(__file__).parent / "images"


def main(argv):
    del argv
    model, run = training.load_run(RUN.value)
    dataset = data.open(run.config.dataset, split=run.config.eval_split, classes=run.classes)
    examples = [dataset[int(k)] for k in IMAGES.value]
    found = inference.detect(model, examples, grid=run.grid, wh=run.semantics.wh)
    pictures = [
        inference.draw(
            example.image, detections, run.classes, score_threshold=SCORE.value, truth=example
        )
        for example, detections in zip(examples, found, strict=True)
    ]
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(pictures, axis=1)).save(
        FOLDER / "bccd-predictions.jpg", quality=85
    )
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for path in filter(None, (RUN.value, COMPARE.value)):
        _, other = training.load_run(path)
        label = f"S={other.grid.S}, {other.grid.image_size} px"
        rows = training.RunDirectory(path).read_metrics()
        minutes = [float(row["seconds"]) / 60 for row in rows]
        axes[0].plot(minutes, [float(row["loss"]) for row in rows], label=label)
        measured = [
            (m, float(r["map_area"])) for m, r in zip(minutes, rows, strict=True) if r["map_area"]
        ]
        axes[1].plot(*np.transpose(measured), marker=".", label=label)
    names = ("loss (mean of an image)", "mAP@0.5 on the test images")
    for axis, name in zip(axes, names, strict=True):
        axis.set(xlabel="minutes of training on two cores", ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    axes[0].set_yscale("log")
    figure.savefig(FOLDER / "bccd-learning-curve.png", dpi=130)


if __name__ == "__main__":
    app.run(main)
