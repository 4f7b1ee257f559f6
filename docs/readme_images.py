"""The README's picture from a run on BCCD.

python -m docs.readme_images --run=runs/bccd
"""

from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from yolov1 import data, inference, training

RUN = flags.DEFINE_string("run", None, "Run directory.", required=True)
IMAGES = flags.DEFINE_list("images", ["0", "1", "2"], "Images of the evaluation split.")
SCORE = flags.DEFINE_float("score_threshold", 0.3, "Boxes that score less are not drawn.")
FOLDER = Path(__file__).parent / "images"


def main(argv):
    del argv
    detector = inference.load(RUN.value)
    config = training.RunDirectory(RUN.value).read_config()[0]
    dataset = data.open(config.dataset, split=config.eval_split, classes=detector.classes)
    examples = [dataset[int(k)] for k in IMAGES.value]
    found = detector.detect([example.image for example in examples])
    pictures = [
        inference.draw(
            example.image, detections, detector.classes, score_threshold=SCORE.value, truth=example
        )
        for example, detections in zip(examples, found, strict=True)
    ]
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(pictures, axis=1)).save(
        FOLDER / "bccd-predictions.jpg", quality=85
    )


if __name__ == "__main__":
    app.run(main)
