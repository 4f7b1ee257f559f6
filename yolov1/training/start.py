"""Weights that a run starts from."""

from yolov1 import models
from yolov1.training.checkpoints import load_run, require_backbone
from yolov1.training.config import TrainConfig
from yolov1.training.run_directory import WrongRun


def start_from_backbone(config: TrainConfig, state):
    """Copies the pretrained layers of ``config.backbone`` into the model and its averages."""
    require_backbone(config)
    with state.strategy.scope():
        classifier, run = load_run(config.backbone, task="classify")
        try:
            models.copy_backbone(classifier, state.model)
        except ValueError as error:
            raise WrongRun(
                f"--backbone={config.backbone}: {error} The backbone has --model_options="
                f"{run.config.model_options or '(none)'}, this run "
                f"{config.model_options or '(none)'}."
            ) from error
        if state.average is not None:
            state.average.reset()
