"""Pretrains a network's first convolutions as a classifier, for a detector to start from.

    python -m experiments.crop_objects --dataset=voc:PATH --split=train --output_dir=crops
    python -m experiments.crop_objects --dataset=voc:PATH --split=val --output_dir=crops
    python -m experiments.pretrain --dataset=folders:crops --model=paper --output_dir=runs/backbone
    python -m experiments.train --dataset=voc:PATH --model=paper --backbone=runs/backbone

The first 20 convolutions of the paper's network (and of both posts'; what the others share is in
`yolov1.models.classifier`), a mean over the map and a dense layer, trained with cross-entropy on
``folders:PATH`` (one folder per class) or ``records:PATTERN`` (TFRecords, ImageNet's features), as
the paper did on ImageNet at 224 px. ``summary.json`` has the accuracy on --eval_split.
"""

from .lib import flags as experiment_flags
from .lib import session

experiment_flags.define(
    names=(
        *("task", "S", "B"),
        *("dataset", "train_split", "eval_split", "classes", "bad_examples", "augment"),
        *("augment_options", "cache", "cache_bytes", "resize", "init"),
        *("model", "model_options", "image_size", "batch_size", "subdivisions", "epochs"),
        *("optimizer", "learning_rate", "schedule", "warmup_epochs", "learning_rates"),
        *("weight_decay", "clip_norm", "ema", "precision", "strategy", "jit_compile"),
        *("seed", "output_dir"),
        *("resume", "eval_every", "monitor", "checkpoint_minutes", "keep_every", "digests"),
        *("storage", "keep_last", "keep_hours", "hours", "patience"),
        *("fork", "histograms", "track"),
    ),
    **{"task": "classify", "S": 1, "B": 1},  # of one cell the class is the image's class
    dataset="",
    eval_split="val",
    image_size=224,
    monitor="accuracy",
)
DEBUG = {"image_size": 64, "epochs": 2, "batch_size": 8, "eval_every": 0}


def main(argv):
    del argv
    session.train(experiment_flags.config_from_flags(debug=DEBUG), "experiments.pretrain")


if __name__ == "__main__":
    experiment_flags.run(main)
