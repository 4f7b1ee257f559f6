"""The two posts as recipes: what each does wrong, switch by switch, and what is done instead.

`--as_published` has every defect of the post, the default none, `--defects=a,b` those named: so the
effect of each can be measured by itself. A defect changes nothing but fields of `TrainConfig`.
Defects that stopped the posts' programs, or that no number depends on, are fixed in either mode;
docs/reproducing-the-posts.md lists them too.
"""

import dataclasses
from typing import NamedTuple

from absl import app, flags

from yolov1 import models
from yolov1.models.posts import AS_PUBLISHED
from yolov1.option_text import parse_options

from . import flags as experiment_flags
from . import session

# The flags belong to the post's experiment: ``--help`` shows the main module's only.
flags.disclaim_key_flags()


class Defect(NamedTuple):
    """One thing that a post does.

    Attributes:
        what: it, where it acts, and what is done instead.
        published, corrected: fields of `TrainConfig` with and without it; ``model_options`` and
            ``semantics_options`` are dicts, which add up.
    """

    what: str
    published: dict
    corrected: dict


class Post(NamedTuple):
    """A post: the experiment that prepares its data, fields of `TrainConfig` that both modes share,
    and the defects by name."""

    prepared_by: str
    shared: dict
    defects: dict[str, Defect]


def _network(post, *names):
    """The fields with which the network has the named options as published."""
    return {"model_options": {name: AS_PUBLISHED[post][name] for name in names}}


def _common(post):
    """The defects that the posts share."""
    return {
        "activate_twice": Defect(
            "A sigmoid in the last dense layer, and sigmoid and softmax again in the reshape "
            "layer: no confidence below 0.5, so that the confidences of 98 boxes cost about 12.25 "
            "an image at least. Once.",
            _network(post, "activate_twice"),
            {},
        ),
        "linear_dense": Defect(
            "The dense layers before the last have no activation. Leaky, as the paper's.",
            _network(post, "linear_dense"),
            {},
        ),
        "default_init": Defect(
            "Keras' default initial values: Glorot's kernels, under which the signal loses half of "
            "its variance in every one of the 24 leaky convolutions, and zero biases. He's "
            "kernels, and outputs that start at a prior.",
            _network(post, "default_init"),
            {},
        ),
        "no_normalisation": Defect(
            "24 convolutions from scratch without normalisation (the paper has none either, but "
            "pretrains). Batch normalisation, as in Darknet's later files.",
            {},
            {"model_options": {"batch_norm": True}},
        ),
        "confidence_one": Defect(
            "Confidences are trained towards 1, whatever the box is worth. Towards its IoU.",
            {},
            {"semantics_options": {"confidence_target": "iou"}},
        ),
        "batch_sum": Defect(
            "The loss is the sum over the batch: its gradient grows with the batch, the L2 term "
            "does not. The mean.",
            {"semantics_options": {"factor": "batch_size"}},
            {},
        ),
        "no_augmentation": Defect(
            "The same pixels every epoch. The paper's scaling, shift, exposure and saturation.",
            {"augment": "none"},
            {"augment": "paper"},
        ),
        "rates": Defect(
            "Adam at 0.01 from the first step (a rate for SGD), L2 inside the loss. AdamW at 3e-4 "
            "after a warm-up, gradients clipped, weights averaged.",
            {
                "optimizer": "adam",
                "learning_rates": "0:0.01,75:0.001,105:0.0001",
                "weight_decay": 0.0,
                "clip_norm": 0.0,
                "ema": 0.0,
                **_network(post, "l2"),
            },
            {
                "optimizer": "adamw",
                "learning_rate": 3e-4,
                "schedule": "cosine",
                "weight_decay": 1e-2,
                "clip_norm": 20.0,
                "ema": 0.998,
            },
        ),
    }


POSTS = {
    "keras_voc": Post(
        "prepare_voc",
        {
            "model": "keras_voc",
            "semantics": "keras_voc",
            "activations": "softmax",
            "S": 7,
            "B": 2,
            "image_size": 448,
            "batch_size": 4,
            "epochs": 135,
            "eval_every": 1,
            "monitor": "val_loss",
            "on_collision": "first",
        },
        {
            **_common("keras_voc"),
            "linear_conv": Defect(
                "The convolution of stride 2 has no activation and no L2. Leaky, as the others.",
                _network("keras_voc", "linear_conv"),
                {},
            ),
            "pixel_units": Defect(
                "Offsets and roots of sizes are compared in pixels but divided by 448, not by the "
                "cell's side and by the root of 448: weights of 5/49 and 5/448. 5 and 5.",
                {},
                {"semantics_options": {"weight_xy": 5.0, "weight_wh": 5.0}},
            ),
            "all_tied": Defect(
                "Boxes with the same IoU are all responsible; where no box overlaps, both are. The "
                "first, or the one nearest (smallest RMSE) where none overlaps.",
                {},
                {"semantics_options": {"ties": "first", "no_overlap_fallback": "rmse"}},
            ),
        },
    ),
    "tf2_person": Post(
        "prepare_open_images",
        {
            "model": "tf2_person",
            "semantics": "tf2_person",
            "S": 7,
            "B": 2,
            "image_size": 448,
            "epochs": 135,
            "eval_every": 1,
            "monitor": "val_loss",
        },
        {
            **_common("tf2_person"),
            "one_softmax": Defect(
                "Softmax over one class is 1, whatever the network says: no gradient, no class "
                "loss. A sigmoid.",
                {"activations": "softmax"},
                {"activations": "sigmoid"},
            ),
            "dropout_outputs": Defect(
                "Dropout behind the last dense layer: in training half of all predictions are "
                "exactly 0.5, the others move up to 0.88. In front of it.",
                _network("tf2_person", "dropout_outputs"),
                {},
            ),
            "abs_overlap": Defect(
                "The sides of an intersection are absolute values: boxes apart overlap, by any "
                "number of either sign. Clamped at 0.",
                {},
                {"semantics_options": {"iou_overlap": "clamped"}},
            ),
            "heron_root": Defect(
                "The square root is ten steps of Heron's rule, wrong by 30 % at 1e-6. The root.",
                {},
                {"semantics_options": {"wh": "sqrt_in_loss"}},
            ),
            "last_tied": Defect(
                "Of boxes with the same IoU the second is responsible. The first, or the one "
                "nearest (smallest RMSE) where none overlaps.",
                {},
                {"semantics_options": {"ties": "first", "no_overlap_fallback": "rmse"}},
            ),
            "empty_cells": Defect(
                "Only boxes of empty cells are trained towards confidence 0; the other box of an "
                "object's cell is left alone. All that are not responsible.",
                {},
                {"semantics_options": {"no_object": "non_responsible"}},
            ),
            "last_wins": Defect(
                "Of several objects in a cell the last is kept, whichever that is. The largest.",
                {"on_collision": "last"},
                {"on_collision": "largest"},
            ),
            "one_image": Defect(
                "Steps of one image. Of 16.",
                {"batch_size": 1},
                {"batch_size": 16},
            ),
            "empty_validation": Defect(
                "The validation images are looked up in the training annotations, and found "
                "without objects: val_loss is lowest, and a checkpoint best, where nothing is "
                "detected. Their own annotations.",
                {"val_targets": "empty"},
                {"val_targets": "own"},
            ),
        },
    ),
}


def define(post: str, **defaults):
    """Defines the flags of a post's experiment: those of `TrainConfig`, the root and the modes."""
    experiment_flags.define(**POSTS[post].shared | {"dataset": ""} | defaults)
    flags.DEFINE_string(
        "root", "", f"Folder of experiments.{POSTS[post].prepared_by}; or --dataset."
    )
    flags.DEFINE_boolean("as_published", False, "With every defect of the post.")
    flags.DEFINE_list("defects", [], f"With these only: {', '.join(POSTS[post].defects)}.")


def root(post: str) -> str:
    """What --root says; empty where --dataset says what to train on, or the run that is resumed.

    Raises:
        app.UsageError: both flags, or neither in a new run.
    """
    given = flags.FLAGS
    if given.root and given.dataset or not (given.root or given.dataset or given.resume):
        raise app.UsageError(
            f"Give --root (see experiments.{POSTS[post].prepared_by}) or --dataset."
        )
    return given.root


def chosen_defects(post: str) -> tuple[str, ...]:
    """The defects that the flags ask for.

    Raises:
        app.UsageError: an unknown one, or both flags.
    """
    known, given = POSTS[post].defects, flags.FLAGS.defects
    if flags.FLAGS.as_published and given:
        raise app.UsageError("--as_published has every defect; give it or --defects, not both.")
    for name in given:
        if name not in known:
            raise app.UsageError(f"--defects: no {name!r}; there are {', '.join(known)}.")
    return tuple(known if flags.FLAGS.as_published else given)


def config_from_flags(post: str, **values):
    """The configuration of a post's experiment: flags that are given win over the recipe.

    Args:
        values: further fields of the recipe, such as where the data is.
    """
    recipe, options = dict(values), {"model_options": {}, "semantics_options": {}}
    if flags.FLAGS.debug:
        options["model_options"]["width"] = 0.05
    present = chosen_defects(post)
    for name, defect in POSTS[post].defects.items():
        for field, value in (defect.published if name in present else defect.corrected).items():
            if field in options:
                options[field] |= value
            else:
                recipe[field] = value
    if any(flags.FLAGS[name].present for name in INSTEAD_OF_THE_TABLE):
        recipe.pop("learning_rates", None)
    config = experiment_flags.config_from_flags(debug=DEBUG, recipe=recipe)
    options["model_options"] = _of_network(post, config.model, options["model_options"], present)
    factor = options["semantics_options"].get("factor")
    if factor == "batch_size":
        options["semantics_options"]["factor"] = config.batch_size
    texts = {}
    for field, values in options.items():
        given = getattr(config, field)
        words = parse_options(given)  # which win
        parts = [f"{key}={value}" for key, value in values.items() if key not in words]
        texts[field] = ",".join(filter(None, [*parts, given]))
    return dataclasses.replace(config, **texts)


def _of_network(post, name, options, present) -> dict:
    """Those of a recipe's options that the network has: another than the post's may not need them.

    Raises:
        app.UsageError: an unknown network, or one that cannot have a defect that is present.
    """
    with experiment_flags.user_errors():
        known = models.options_of(name)
    for defect in present:
        published = POSTS[post].defects[defect].published.get("model_options", {})
        if not set(published) <= set(known):
            raise app.UsageError(
                f"The defect {defect!r} is of the network {POSTS[post].shared['model']}, got "
                f"--model={name}. Leave --model out, or name other defects in --defects."
            )
    return {option: value for option, value in options.items() if option in known}


def train(post: str, config, **options):
    """`session.train` of a post's configuration; a resumed run goes on in its own mode."""
    given = {"dataset": "root"} if flags.FLAGS.root else {}
    mode = "as_published" if flags.FLAGS.as_published else "defects"
    if flags.FLAGS[mode].value:
        for defect in POSTS[post].defects.values():
            given |= dict.fromkeys((*defect.published, *defect.corrected), mode)
    return session.train(config, f"experiments.reproduce_{post}", given=given, **options)


DEBUG = {"image_size": 160, "epochs": 2}
# Flags that say how the rate moves: one that is given takes the place of the post's table.
INSTEAD_OF_THE_TABLE = ("learning_rate", "schedule", "warmup_epochs")
