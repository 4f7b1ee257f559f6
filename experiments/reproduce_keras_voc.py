"""Reproduces the post `keras_voc`, "Implementing YOLOV1 from scratch using Keras Tensorflow".

    python -m experiments.prepare_voc --root=DIR --years=2007             # VOC 2007, 0.9 GB
    python -m experiments.reproduce_keras_voc --root=DIR                  # corrected
    python -m experiments.reproduce_keras_voc --root=DIR --as_published   # the post's own numbers

Trains on VOC 2007 train and measures on val, as the post. On a laptop, with fewer filters and
smaller images (any VOC folder will do):

    python -m experiments.reproduce_keras_voc --root=PATH --image_size=160 --epochs=30 \\
        --model_options=width=0.125

docs/reproducing-the-posts.md goes through the post step by step. `--defects=activate_twice,rates`
has some of its defects only; every flag of experiments.train works too.
"""

from yolov1.files import user_path

from .lib import flags as experiment_flags
from .lib import posts

POST = "keras_voc"
posts.define(POST, train_split="", eval_split="")


def main(argv):
    del argv
    posts.train(POST, posts.config_from_flags(POST, **where()))


def where() -> dict:
    """The post's splits: train and val of 2007, where there are years, else of the folder."""
    root = posts.root(POST)
    if not root:
        return {"train_split": "train", "eval_split": "val"}
    root = user_path(root)
    years = [root / "VOCdevkit", root]
    year = "VOC2007/" if any((path / "VOC2007").is_dir() for path in years) else ""
    return {
        "dataset": f"voc:{root}",
        "train_split": f"{year}train",
        "eval_split": f"{year}val",
    }


if __name__ == "__main__":
    experiment_flags.run(main)
