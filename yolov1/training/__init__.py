"""Model, data and loss to a run directory."""

from yolov1.training.checkpoints import LoadedRun, load_run
from yolov1.training.config import TrainConfig
from yolov1.training.loop import NonFiniteLoss, State, train
from yolov1.training.run_directory import RunDirectory, write_json
from yolov1.training.strategies import cluster_task

__all__ = [
    "LoadedRun",
    "NonFiniteLoss",
    "RunDirectory",
    "State",
    "TrainConfig",
    "cluster_task",
    "load_run",
    "train",
    "write_json",
]
