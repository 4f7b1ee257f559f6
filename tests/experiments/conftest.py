"""A run directory with a network of known answers, and two ways to run an experiment."""

import os
import re
import subprocess
import sys

import pytest

from tests import programs
from tests.shared import ROOT
from tests.small_cfg import CFG, FEW_LAYERS


@pytest.fixture(scope="session")
def known_run(tmp_path_factory):
    """A run on `shapes` whose network sees the same four things in every image.

    Each cell of its 2 x 2 grid holds, whatever the image, one circle that fills the cell's middle
    quarter, with a score of 0.8.
    """
    import tensorflow as tf

    from yolov1 import data, training
    from yolov1.training.checkpoints import build_model

    config = training.TrainConfig(
        dataset="shapes:count=8",
        **{"S": 2, "B": 1, "image_size": 32, "ema": 0.0},
        **{"model": "laptop", "activations": "linear", "semantics": "paper"},
        model_options=FEW_LAYERS.partition("=")[2],
    )
    classes = data.open("shapes:count=1").classes
    run = training.RunDirectory(tmp_path_factory.mktemp("runs") / "known")
    run.create(resume=False)
    grid = config.grid(len(classes))
    run.write_config(config, grid, classes)
    model = build_model(config, grid)
    head = [layer for layer in model.layers if layer.get_weights()][-1]
    kernel, bias = head.get_weights()
    outputs = [0.0] * len(classes) + [0.8, 0.5, 0.5, 0.5, 0.5]
    outputs[classes.index("circle")] = 1.0
    assert len(bias) == len(outputs)
    head.set_weights([kernel * 0, bias * 0 + outputs])
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), str(run / "checkpoints" / "last"), max_to_keep=1
    ).save()
    return run.path


@pytest.fixture(scope="session")
def small_network(tmp_path_factory):
    """``darknet:CFG`` of a network for images of 32 pixels, S=2 and B=2, of six classes."""
    path = tmp_path_factory.mktemp("cfg") / "small.cfg"
    path.write_text(CFG)
    return f"darknet:{path}"


@pytest.fixture(scope="session")
def kept_run(call_experiment, small_network, tmp_path_factory):
    """A finished run of ten steps, with dropout and augmentation: it kept the checkpoints of the
    steps 4 and 8, and has digests of every third step."""
    path = tmp_path_factory.mktemp("kept") / "run"
    done = call_experiment(
        *("train", f"--output_dir={path}", f"--model={small_network}", "--keep_every=4"),
        *("--digests=3", "--dataset=shapes:count=20", "--batch_size=8", "--epochs=4"),
        *("--warmup_epochs=1", "--ema=0.9", "--eval_every=2", "--learning_rate=1e-3"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture(scope="session")
def run_experiment():
    """Runs ``python -m experiments.NAME ARGUMENTS`` to its end, as a process of its own."""

    def run(name, *arguments):
        return subprocess.run(
            [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def call_experiment():
    """As `run_experiment`, in this process, see `tests.programs.call`.

    Whatever ends well must end with a line that says where its results are.
    """

    def call(name, *arguments):
        done = programs.call(f"experiments.{name}", *arguments)
        nothing = "--help" in arguments or (name in WRITES_NOTHING and "--debug" in arguments)
        if done.returncode == 0 and not nothing:
            last = done.stdout.rstrip("\n").rpartition("\n")[2]
            assert names_a_place(last), f"{name} ends with {last!r}: where are its results?"
        return done

    return call


WRITES_NOTHING = ("export_darknet", "prepare_voc")  # with --debug


def names_a_place(line) -> bool:
    """Whether some part of a line is the path of what is there."""
    begins = [m.end() for m in re.finditer(r"(?<![^\s=:])", line)]
    ends = [m.start() for m in re.finditer(r"(?=[\s,;]|$)", line)]
    parts = (line[a:b] for a in begins for b in ends if b > a)
    return any("/" in part and (ROOT / part).exists() for part in parts)
