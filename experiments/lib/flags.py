"""The flags of the experiments, generated from `TrainConfig` once: a field is a flag."""

import dataclasses
import sys

from absl import app, flags, logging

from experiments.lib import common
from yolov1.data import BadExampleError
from yolov1.data.acquire.download import DownloadError
from yolov1.training import NonFiniteLoss, TrainConfig, WrongRun

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

# Sizes with which an experiment ends in a minute on two cores; flags that are given win.
DEBUG = {
    "dataset": "shapes:count=64",
    "image_size": 64,
    "epochs": 2,
    "batch_size": 8,
    "eval_every": 0,
}

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define(names=None, **defaults):
    """Defines a flag for every field of `TrainConfig`, or for the named ones.

    Args:
        names: the fields; None for all.
        defaults: other defaults than the dataclass has.
    """
    for field in dataclasses.fields(TrainConfig):
        if names is not None and field.name not in names:
            continue
        default = defaults.get(field.name, field.default)
        choices = field.metadata.get("choices")
        if choices:
            flags.DEFINE_enum(field.name, default, choices, field.metadata["help"])
        else:
            _DEFINE[type(field.default)](field.name, default, field.metadata["help"])
    flags.DEFINE_boolean("debug", False, "A size that ends within a minute on two cores.")


# What a resumed run may change: nothing that its numbers depend on.
MAY_CHANGE = ("output_dir", "resume", "cache", "eval_every", "checkpoint_minutes", "strategy")


def config_from_flags(debug=None, recipe=None) -> TrainConfig:
    """The configuration that the parsed flags say.

    Args:
        debug: what ``--debug`` sets, unless the flag is given as well; by default `DEBUG`.
        recipe: other values for flags that are not given.

    Raises:
        app.UsageError: values that do not go together; the message names the flag.
    """
    defined = [f.name for f in dataclasses.fields(TrainConfig) if f.name in flags.FLAGS]
    values = {name: flags.FLAGS[name].value for name in defined}
    recipe = dict(recipe or {})
    if flags.FLAGS.debug:
        recipe |= DEBUG if debug is None else debug
    values |= {k: v for k, v in recipe.items() if not flags.FLAGS[k].present}
    try:
        return TrainConfig(**values)
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def resumed_config(run, config: TrainConfig, given=None) -> TrainConfig:
    """The configuration to go on with: the run's own, so that no flag has to be given again.

    Args:
        given: field -> the flag that gave it, where that is not its own.

    Raises:
        app.UsageError: a flag is given that would change what the run computes.
    """
    own, _, _ = run.read_config()
    given = given or {}
    for field in dataclasses.fields(TrainConfig):
        name = field.name
        present = name in given or (name in flags.FLAGS and flags.FLAGS[name].present)
        if name in MAY_CHANGE or not present:
            continue
        if getattr(own, name) != getattr(config, name):
            raise app.UsageError(
                f"--resume goes on with the run's own --{name}={getattr(own, name)}, got "
                f"{getattr(config, name)!r}. Leave --{given.get(name, name)} out, or start a new "
                "--output_dir."
            )
    changed = {name: getattr(config, name) for name in MAY_CHANGE if flags.FLAGS[name].present}
    return dataclasses.replace(own, **changed)


# Errors about what the user gave: their message says what to do, a traceback would bury it.
USER_ERRORS = (
    *(BadExampleError, DownloadError, FileExistsError, FileNotFoundError, NonFiniteLoss),
    WrongRun,
)


def run(main, *, words=False):
    """`app.run` without absl's informational messages, and with `USER_ERRORS` in a line.

    Args:
        words: whether the experiment takes words that are no flags. Elsewhere they are refused:
            ``dataset=x`` instead of ``--dataset=x`` must not quietly run on something else.
    """

    def guarded(argv):
        if len(argv) > 1 and not words:
            raise app.UsageError(f"unknown argument {argv[1]!r}; a flag is --NAME=VALUE.")
        try:
            return main(argv)
        except USER_ERRORS as error:
            sys.exit(f"error: {error}")

    common.print_anything()
    logging.set_verbosity(logging.WARNING)
    app.run(guarded)
