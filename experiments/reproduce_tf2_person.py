"""Reproduces the post `tf2_person`, "YOLOV1 - Tensorflow 2.0" (Open Images v7, "Person").

    python -m experiments.prepare_open_images --root=DIR                     # through FiftyOne
    python -m experiments.reproduce_tf2_person --root=DIR                    # corrected
    python -m experiments.reproduce_tf2_person --root=DIR --as_published     # the post's numbers

On a laptop, on the images with persons of any data set, with fewer filters and smaller images:

    python -m experiments.reproduce_tf2_person --dataset=voc:PATH --classes=person \\
        --eval_split=val --image_size=160 --epochs=60 --model_options=width=0.25

Images without an object of the classes are left out (of the evaluation too, where they could only
add false positives); more than one class works. Beside what every run has, checkpoints/ gets the
post's files, ``model_{epoch:02d}-{val_loss:.2f}.keras``, whenever val_loss falls.
docs/reproducing-the-posts.md goes through the post step by step; `--defects=abs_overlap,rates` has
some of its defects only.
"""

import keras

from .lib import common, posts, session
from .lib import flags as experiment_flags

POST = "tf2_person"
posts.define(POST, train_split="train", eval_split="test")


def main(argv):
    del argv
    root = posts.root(POST)
    place = {"dataset": f"yolo:{root}"} if root else {}
    config = posts.config_from_flags(POST, **place)
    posts.train(POST, config, open_sets=images_with_objects, callbacks=post_checkpoints)


def images_with_objects(config):
    """Both sets, without the images that hold nothing to be found."""
    sets = session.open_sets(config)
    kept = [common.with_objects(dataset) for dataset in sets]
    for few, all_of_them in zip(kept, sets, strict=True):
        print(f"{few.name}: {len(few)} of {len(all_of_them)} images have an object")
    return kept


class WhereMeasured(keras.callbacks.ModelCheckpoint):
    """Keras' own, in the epochs that have a val_loss (`--eval_every`)."""

    def on_epoch_end(self, epoch, logs=None):
        if "val_loss" in logs:
            super().on_epoch_end(epoch, logs)


def post_checkpoints(run):
    """The post's checkpoint callback; a resumed run goes on from the best of its rows."""
    before = [float(row["val_loss"]) for row in run.read_metrics() if row.get("val_loss")]
    folder = str(run / "checkpoints").replace("{", "{{").replace("}", "}}")  # Keras formats it
    return [
        WhereMeasured(
            folder + "/model_{epoch:02d}-{val_loss:.2f}.keras",
            monitor="val_loss",
            mode="min",
            save_best_only=True,
            initial_value_threshold=min(before, default=None),
        )
    ]


if __name__ == "__main__":
    experiment_flags.run(main)
