"""The flags of the experiments, generated from `TrainConfig` once: a field is a flag."""

import contextlib
import dataclasses
import errno
import logging
import os

from absl import app, flags
from absl import logging as absl_logging

from yolov1 import interrupts, training
from yolov1.data import BadExampleError
from yolov1.data.acquire.download import DownloadError
from yolov1.inference import MissingExtra, WrongFile
from yolov1.ops import LibraryUnavailable
from yolov1.training import (
    NonFiniteLoss,
    TrainConfig,
    WorkloadError,
    WrongRun,
    cfg_files,
)
from yolov1.training.config import DARKNET

from . import console, recipes

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

DEBUG_TEXT = "A size that ends within a minute on two cores."

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


# What flags of programs that train nothing are: the dataclass has other words for them.
RESULTS = "Folder for the results."
AT_ONCE = "Images at once."


def define(names=None, flag_values=None, *, texts=None, debug=DEBUG_TEXT, **defaults):
    """Defines a flag for every field of `TrainConfig`, or for the named ones, and ``--debug``.

    Args:
        names: the fields; None for all.
        flag_values: where; by default among the program's own.
        texts: field -> what its flag is here, where the dataclass has other words for it.
        debug: what ``--debug`` is here.
        defaults: other defaults than the dataclass has.
    """
    into = {"flag_values": flags.FLAGS if flag_values is None else flag_values}
    for field in dataclasses.fields(TrainConfig):
        if names is not None and field.name not in names:
            continue
        default = defaults.get(field.name, field.default)
        choices = field.metadata.get("choices")
        text = (texts or {}).get(field.name, field.metadata["help"])
        if choices and "prefix" not in field.metadata:
            flags.DEFINE_enum(field.name, default, choices, text, **into)
        else:  # of choices that may also name a file, `TrainConfig` refuses another
            _DEFINE[type(field.default)](field.name, default, text, **into)
    if names is None or {*ACCUMULATED} <= {*names}:
        flags.DEFINE_integer(
            "accumulate",
            1,
            "Batches of --batch_size whose gradients add up to one step: multiplies it, and "
            "--subdivisions.",
            1,
            **into,
        )
    flags.DEFINE_boolean("debug", False, debug, **into)


# What --accumulate multiplies.
ACCUMULATED = ("batch_size", "subdivisions")

# What a resumed run may change. Its numbers depend on none of the first; of the data on its content
# only, which `session` compares; and on the number of epochs as docs/runs.md says.
DATA = ("dataset", "train_split", "eval_split", "classes", "bad_examples")
MAY_CHANGE = (
    *("output_dir", "resume", "cache", "cache_bytes", "eval_every", "checkpoint_minutes"),
    *("strategy", "capture", "capture_steps", "profile", "keep_every", "digests"),
    *("storage", "keep_last", "keep_hours"),
    *("histograms", "track", "watch", "hours", "patience"),
    *DATA,
    "epochs",
)
# What a fork may change besides: not what a checkpoint's numbers mean, nor which come next.
FORK_MAY_CHANGE = (
    *MAY_CHANGE,
    *("semantics", "semantics_options", "impl", "augment", "augment_options", "on_collision"),
    *("neighbours", "val_targets"),
    *("learning_rate", "schedule", "learning_rates", "warmup_epochs", "seen", "weight_decay"),
    *("clip_norm", "ema", "subdivisions", "resize", "suppression", "jit_compile"),
)


def config_from_flags(debug=None, recipe=None, flag_values=None) -> TrainConfig:
    """The configuration that the parsed flags say.

    Args:
        debug: what ``--debug`` sets, unless the flag is given as well; by default `DEBUG`.
        recipe: other values for flags that are not given, as those of ``--recipe`` are.
        flag_values: the flags; by default the program's own.

    Raises:
        app.UsageError: values that do not go together; the message names the flag.
    """
    flag_values = flags.FLAGS if flag_values is None else flag_values
    defined = [f.name for f in dataclasses.fields(TrainConfig) if f.name in flag_values]
    values = {name: flag_values[name].value for name in defined}
    recipe = dict(recipe or {}) | recipes.chosen(flag_values)
    if flag_values.debug:
        recipe |= DEBUG if debug is None else debug
    values |= {k: v for k, v in recipe.items() if not flag_values[k].present}
    given = {name: v for name, v in values.items() if flag_values[name].present}
    if "accumulate" in flag_values:
        values |= {name: values[name] * flag_values["accumulate"].value for name in ACCUMULATED}
    try:
        return TrainConfig(**values | _of_cfg_files(values, given))
    except ValueError as error:
        raise app.UsageError(str(error)) from error  # with the flags' help, as absl does it


def _of_cfg_files(values: dict, given: dict) -> dict:
    """What the Darknet cfg files that the values name say of fields whose flags are not `given`.

    Raises:
        ValueError: a flag says otherwise than a file must.
    """
    fixed, defaults = cfg_files.fields(values)
    for name, value in fixed.items():
        if given.get(name, value) != value:
            raise ValueError(
                f"--{name} must be {value!r}, as the cfg file says, got {given[name]!r}. Leave it "
                "out, or change the file."
            )
    if given.get("semantics", "darknet") != "darknet":
        given = given | {"semantics_options": values["semantics_options"]}
    found = fixed | {name: v for name, v in defaults.items() if name not in given}
    return {name: value for name, value in found.items() if name in values}


def resumed_config(run, config: TrainConfig, given=None) -> TrainConfig:
    """The configuration to go on with: the run's own, so that no flag has to be given again.

    Args:
        given: field -> the flag that gave it, where that is not its own.

    Raises:
        UserError: a flag is given that would change what the run computes.
    """
    own, _, _ = run.read_config()
    given = _determined(given)
    changed = _changed(own, config, run, given)
    for name, (before, now) in changed.items():
        if name not in MAY_CHANGE:
            raise UserError(
                f"--resume goes on with the run's own --{name}={before}, got {now!r}. Leave "
                f"--{given.get(name, name)} out, or start a new --output_dir."
            )
        if name in (*DATA, "epochs"):
            effect = ""
            of_epochs = own.schedule in ("paper", "cosine")
            if name == "epochs" and of_epochs and not own.learning_rates:
                effect = f": from here on the schedule {own.schedule!r} goes over {now} epochs"
            print(f"--resume: {name} {before!r} -> {now!r}{effect}")
    return dataclasses.replace(own, **{name: now for name, (_, now) in changed.items()})


def forked_config(config: TrainConfig, given=None, say=print) -> TrainConfig:
    """The configuration of a run that starts as ``config.fork`` says: that of the other run at this
    step, but for the flags that are given.

    Args:
        given: field -> the flag that gave it, where that is not its own.
        say: function of a line for each change.

    Raises:
        FileNotFoundError, WrongRun: there is no such run or step.
        UserError: a flag is given that the checkpoint does not go with.
    """
    training.fork_files(config)  # is there
    path, step = config.forked_from()
    run = training.RunDirectory(path)
    own = run.config_at(step)
    given = _determined(given)
    values = {"fork": config.fork, "output_dir": config.output_dir, "resume": config.resume}
    for name in cfg_files.COPIES:
        file = cfg_files.path_of(getattr(own, name), run.path)
        values |= {name: f"{DARKNET}{file}"} if file else {}
    for name, (before, now) in _changed(own, config, run, given).items():
        if name in values and name not in cfg_files.COPIES:
            continue
        if name in ("init", "backbone"):
            raise UserError(
                f"--fork goes on with the weights of its checkpoint: leave --{name} out, or --fork."
            )
        if name not in FORK_MAY_CHANGE or (name == "ema" and not (before and now)):
            raise UserError(
                f"--fork goes on with the other run's --{name}={before}, got {now!r}: its "
                f"checkpoint is of that. Leave --{given.get(name, name)} out, or start a "
                "run from its weights alone, with --init."
            )
        values[name] = now
        if name == "schedule":  # of a cfg file, which has the rate as well
            values |= cfg_files.fields({name: now})[0]
        say(f"--fork: {name} {before!r} -> {now!r}")
    with user_errors():
        config = dataclasses.replace(own, **values)
        # With what the other run, or its file, says.
        config.require_activations()
        cfg_files.augmentation(config, run.path)
    return config


def _determined(given) -> dict:
    """Field -> the flag that gave it, where that is not its own."""
    accumulate = "accumulate" in flags.FLAGS and flags.FLAGS["accumulate"].present
    return dict(given or {}) | dict.fromkeys(ACCUMULATED if accumulate else (), "accumulate")


def _changed(own, config, run, given) -> dict:
    """Field -> (value of the run, value that is given), where they differ."""
    changed = {}
    for field in dataclasses.fields(TrainConfig):
        name = field.name
        present = name in given or (name in flags.FLAGS and flags.FLAGS[name].present)
        before, now = getattr(own, name), getattr(config, name)
        if not present or before == now:
            continue
        if name in cfg_files.COPIES and cfg_files.same(now, before, run.path):
            continue
        changed[name] = before, now
    return changed


class UserError(Exception):
    """What the user gave cannot be used; the message says what to do."""


@contextlib.contextmanager
def user_errors(about=""):
    """Inside, a `ValueError` is about what the user gave: about this, where it does not say."""
    try:
        yield
    except (*USER_ERRORS, app.UsageError):
        raise
    except ValueError as error:
        text = str(error)
        raise UserError(text if about in text else f"{about}: {text}") from error


# What went wrong outside the program: the message says what to do, a traceback would bury it. Any
# other exception is a fault of the program's own, and shows where.
USER_ERRORS = (
    *(BadExampleError, DownloadError, NonFiniteLoss, OSError, UserError, WrongRun),
    *(LibraryUnavailable, MissingExtra, WorkloadError, WrongFile),
)
BROKE_OFF = 2  # not all could be done, as of a stream that ends before its end; what was is kept


def run(main, *, words=False):
    """`app.run` without absl's informational messages, and with `USER_ERRORS` in a line.

    What `console` holds back is shown before anything else where ``--verbosity`` is 1 or more, and
    before the error where the experiment fails.

    Args:
        words: whether the experiment takes words that are no flags. Elsewhere they are refused:
            ``dataset=x`` instead of ``--dataset=x`` must not quietly run on something else.
    """

    def guarded(argv):
        if absl_logging.get_verbosity() >= absl_logging.DEBUG:
            console.release(show=True)
            logging.getLogger("matplotlib").setLevel("WARNING")  # a line for every font it sees
        if len(argv) > 1 and not words:
            raise app.UsageError(f"unknown argument {argv[1]!r}; a flag is --NAME=VALUE.")
        try:
            code = main(argv)
        except USER_ERRORS as error:
            code = f"error: {_sentence(error)}"
        except KeyboardInterrupt as stop:
            print(f"\n{interrupts.said(stop)}.")
            code = interrupts.exit_status(stop)
        except SystemExit as end:
            code = end.code
        except app.UsageError:
            raise
        except BaseException:
            console.release(show=True)
            raise
        console.release(show=code not in (None, 0, BROKE_OFF, *interrupts.STATUS.values()))
        return code

    console.print_anything()
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        with interrupts.terminating():
            app.run(guarded)
    finally:
        console.release()


def _sentence(error) -> str:
    """An error's words; those of the system begin with the file, or with from where to where."""
    if not isinstance(error, OSError) or error.filename is None or not error.strerror:
        return str(error)
    folder = error.errno in (errno.EEXIST, errno.ENOTDIR)
    hint = " Expected a folder there, or nothing yet." if folder else ""
    files = [error.filename] if error.filename2 is None else [error.filename, error.filename2]
    return f"{' to '.join(map(os.fsdecode, files))}: {error.strerror}.{hint}"
