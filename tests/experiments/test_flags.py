"""What the command lines have in common."""

import errno
import re

import pytest

from experiments.lib import flags as experiment_flags
from yolov1.training import TrainConfig

FLAGS = {
    "train": {*TrainConfig.__dataclass_fields__, "recipe", "accumulate"},
    "evaluate": {"checkpoint", "which", "dataset", "eval_split", "pictures", "output_dir"},
    "export": {"checkpoint", "format", "precision", "nms", "input", "calibration", "tolerance"},
    "prepare_voc": {"root", "years", "splits", "base_url", "tar_dir"},
    "explain": {"checkpoint", "which", "image", "dataset", "score_threshold", "output_dir"},
    "detect": {"checkpoint", "images", "score_threshold", "output_dir", "save", "tiles", "video"},
    "overfit_one_batch": {"dataset", "S", "learning_rate", "images", "steps", "recipe"},
    "pretrain": {
        "dataset",
        "model",
        "image_size",
        "epochs",
        "output_dir",
        "histograms",
        "augment_options",
    },
    "reproduce_keras_voc": {"root", "as_published", "defects", "epochs", "model_options"},
    "reproduce_tf2_person": {"root", "as_published", "defects", "dataset", "classes"},
    "inspect_dataset": {"dataset", "split", "sides", "pictures", "output_dir"},
    "convert": {"dataset", "split", "to", "copy", "difficult", "upright", "output_dir"},
    "crop_objects": {"dataset", "split", "margin", "min_side", "image_side", "output_dir"},
}


@pytest.mark.parametrize("name", FLAGS)
def test_help_has_the_command_and_each_flag(call_experiment, name):
    text = call_experiment(name, "--help").stdout
    assert f"python -m experiments.{name}" in text
    for flag in FLAGS[name] | {"debug"}:
        assert re.search(rf"--(\[no\])?{flag}:\s", text), flag


def test_a_word_that_is_no_flag_is_refused(call_experiment):
    done = call_experiment("train", "dataset=shapes")
    assert done.returncode != 0
    assert "unknown argument 'dataset=shapes'; a flag is --NAME=VALUE" in done.stdout + done.stderr


def test_an_error_of_the_system_says_from_where_to_where():
    full = OSError(errno.ENOSPC, "No space left on device", "in.jpg", None, "out.jpg")
    assert experiment_flags._sentence(full) == "in.jpg to out.jpg: No space left on device."
