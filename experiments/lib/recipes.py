"""``--recipe=NAME``: flags by name. A line here is a recipe; README and docs/runs.md use them.

A recipe stands for flags that are not given: each that is takes the place of the recipe's own, and
so does what a Darknet cfg file says that a flag names. What a run was trained with is in its
config.json, whatever becomes of a line here.
"""

import shlex
from typing import NamedTuple

from absl import flags

from yolov1.training import TrainConfig

# The flag belongs to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()


class Recipe(NamedTuple):
    """Flags by name.

    Attributes:
        what: what it is for, a sentence.
        flags: fields of `TrainConfig` and their values.
    """

    what: str
    flags: dict


RECIPES = {
    "laptop": Recipe("The defaults: a small network, some minutes on two cores.", {}),
    "small_data": Recipe(
        "A few hundred images without an up, such as a microscope's.",
        {
            "model": "pyramid",
            "image_size": 320,
            "S": 40,
            "B": 1,
            "activations": "softmax,xy=linear",
            "neighbours": True,
            "semantics_options": "box=ciou,weight_xy=2.5,confidence_loss=cross_entropy,"
            "class_loss=cross_entropy",
            "augment": "dihedral",
            "augment_options": "min_visible=0.6",
            "suppression": "linear",
            "epochs": 130,
            "warmup_epochs": 8.0,
        },
    ),
    "paper": Recipe(
        "As the paper trains on PASCAL VOC (section 2.2), but for its pretrained weights.",
        {
            "model": "paper",
            "activations": "linear",
            "image_size": 448,
            "batch_size": 64,
            "epochs": 135,
            "schedule": "paper",
            "warmup_epochs": 5.0,
            "optimizer": "sgd",
            "learning_rate": 1e-2,
            "weight_decay": 5e-4,
            "clip_norm": 0.0,
            "ema": 0.0,
        },
    ),
    "darknet": Recipe(
        "As Darknet updates weights; its files come besides, as darknet:CFG of --model, --schedule "
        "and --augment.",
        {
            "optimizer": "darknet",
            "batch_size": 64,
            "subdivisions": 8,
            "clip_norm": 0.0,
            "ema": 0.0,
        },
    ),
}


def define(flag_values=None):
    """Defines ``--recipe``.

    Args:
        flag_values: where; by default among the program's own.
    """
    purposes = " ".join(f"{name}: {recipe.what}" for name, recipe in RECIPES.items())
    flags.DEFINE_enum(
        "recipe",
        None,
        list(RECIPES),
        f"Flags by name, printed at the start; those that are given win. {purposes}",
        flag_values=flags.FLAGS if flag_values is None else flag_values,
    )


def named(flag_values=None) -> str | None:
    """The recipe that is asked for; None where none is, or the program has no such flag."""
    flag_values = flags.FLAGS if flag_values is None else flag_values
    return flag_values["recipe"].value if "recipe" in flag_values else None


def chosen(flag_values=None) -> dict:
    """The values of the recipe for those flags of a program that are not given."""
    flag_values = flags.FLAGS if flag_values is None else flag_values
    own = _of_program(flag_values)
    return {flag: value for flag, value in own.items() if not flag_values[flag].present}


def given(config: TrainConfig, flag_values=None) -> dict[str, str]:
    """Field -> ``recipe``, of the fields that a configuration has from it: what a run that goes on
    is held to as to flags that are given."""
    own = chosen(flag_values)
    return {name: "recipe" for name, value in own.items() if getattr(config, name) == value}


def text(name: str) -> str:
    """A recipe as the flags of a command line."""
    return _words(RECIPES[name].flags) or "no flags, the defaults"


def announce(config: TrainConfig):
    """Prints the program's recipe, and where its configuration is another; nothing without one."""
    name = named()
    if not name:
        return
    print(f"recipe {name}: {text(name)}")
    own = _of_program(flags.FLAGS)
    others = {flag: getattr(config, flag) for flag in own if getattr(config, flag) != own[flag]}
    if others:
        print(f"  in place of its own: {_words(others)}")
    left = [f"--{flag}" for flag in RECIPES[name].flags if flag not in own]
    if left:
        print(f"  not of this program: {' '.join(left)}")


def _of_program(flag_values) -> dict:
    """The flags of the recipe that a program has. A rate is one of its optimizer: a program that
    chooses this itself has its own."""
    name = named(flag_values)
    own = RECIPES[name].flags if name else {}
    return {
        flag: value
        for flag, value in own.items()
        if flag in flag_values and (flag != "learning_rate" or "optimizer" in flag_values)
    }


def _words(values: dict) -> str:
    return shlex.join(f"--{name}={value}" for name, value in values.items())
