"""Model, data and loss to a run directory."""

from yolov1.training.checkpoints import LoadedRun, load_run
from yolov1.training.config import TrainConfig
from yolov1.training.loop import NonFiniteLoss, State, train
from yolov1.training.run_directory import RunDirectory, write_json

__all__ = [
    "LoadedRun",
    "NonFiniteLoss",
    "RunDirectory",
    "State",
    "TrainConfig",
    "load_run",
    "train",
    "write_json",
]
