"""Model, data and loss to a run directory."""

from yolov1.option_text import parse_options
from yolov1.training import cfg_files
from yolov1.training.capture import Workload, WorkloadError, read_workload
from yolov1.training.checkpoints import LoadedRun, load_run, require_start, save_weights
from yolov1.training.config import TrainConfig
from yolov1.training.content import difference, fingerprint
from yolov1.training.digests import read_digests, write_digests
from yolov1.training.forks import describe_fork, fork_files
from yolov1.training.loop import train
from yolov1.training.nonfinite import NonFiniteLoss
from yolov1.training.replay import repeat, replay
from yolov1.training.run_directory import RunDirectory, WrongRun, write_json
from yolov1.training.state import State, epoch_end_steps
from yolov1.training.step_file import Step, read_step
from yolov1.training.storage import Storage
from yolov1.training.strategies import cluster_task

__all__ = [
    "LoadedRun",
    "NonFiniteLoss",
    "RunDirectory",
    "State",
    "Step",
    "Storage",
    "TrainConfig",
    "Workload",
    "WorkloadError",
    "WrongRun",
    "cfg_files",
    "cluster_task",
    "describe_fork",
    "difference",
    "epoch_end_steps",
    "fingerprint",
    "fork_files",
    "load_run",
    "parse_options",
    "read_digests",
    "read_step",
    "read_workload",
    "repeat",
    "replay",
    "require_start",
    "save_weights",
    "train",
    "write_digests",
    "write_json",
]
