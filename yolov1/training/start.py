"""Weights that a run starts from: those of another run."""

from yolov1 import models
from yolov1.training import cfg_files
from yolov1.training.checkpoints import load_run, require_start
from yolov1.training.config import TrainConfig
from yolov1.training.run_directory import RunDirectory, WrongRun


def start_from_run(config: TrainConfig, state, classes, say=None):
    """Copies what fits of the run ``config.init`` or ``config.backbone`` into the model, and makes
    that its averages.

    A classifier gives a detector the layers that both have, and all of them must fit. Any other run
    gives the layers that have the same name and the same shapes; what stays as it was is said.

    Args:
        config: the run's choices; nothing is done where both are empty.
        state: of the run, before its first step.
        classes: names of its classes.
        say: function of a line; None: say nothing.

    Raises:
        FileNotFoundError: no run there, or one without a checkpoint.
        WrongRun: a run of another network, or no layer that fits.
    """
    path = config.backbone or config.init
    if not path:
        return
    require_start(config)
    task = RunDirectory(path).read_config()[0].task
    with state.strategy.scope():
        model, run = load_run(path, task=task)
        try:
            if task == config.task:
                copied, left = models.copy_fitting(model, state.model)
            else:
                models.copy_backbone(model, state.model)
                copied = left = ()
        except ValueError as error:
            flag, what = ("backbone", "backbone") if config.backbone else ("init", "run")
            raise WrongRun(
                f"--{flag}={path}: {error} The {what} has --model_options="
                f"{run.config.model_options or '(none)'}, this run "
                f"{config.model_options or '(none)'}."
            ) from error
        if state.average is not None:
            state.average.reset()
    if copied and say:
        say(f"--init={path}: {len(copied)} of {len(copied) + len(left)} layers have its weights")
        for line in left:
            say(f"  not {line}")
        seen = RunDirectory(path).read_json("darknet.json").get("seen", 0)
        if seen and not config.seen and cfg_files.path_of(config.schedule):
            say(
                f"  they had seen {seen} images; the schedule starts anew all the same. "
                f"--seen={seen} goes on where it stood"
            )
        last = [layer.name for layer in state.model.layers if layer.weights][-1]
        for what, was, now in _meanings(run, config, classes) if last in copied else ():
            if was != now:
                say(
                    f"  its {what} were {was}, and are {now}: the last layer starts with outputs "
                    "of the former"
                )


def _meanings(run, config: TrainConfig, classes):
    """What outputs mean, of a run that is loaded and of one that starts from it: ``(what, was,
    now)``."""
    was, now = run.config, config
    yield "classes", ", ".join(run.classes), ", ".join(classes)
    if config.task == "detect":
        yield "boxes of a cell", was.B, now.B
        yield "activations", was.activations, now.activations
        yield "w and h", run.semantics.wh, now.loss_semantics().wh
