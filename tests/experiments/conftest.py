"""A run directory with a network of known answers, and two ways to run an experiment."""

import contextlib
import io
import runpy
import subprocess
import sys
import traceback
import warnings
from unittest import mock

import pytest
from absl import app, flags, logging
from absl.testing import flagsaver

from tests.shared import ROOT


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
def run_experiment():
    """Runs ``python -m experiments.NAME ARGUMENTS`` to its end, as a process of its own."""
    import os

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
    """As `run_experiment`, in this process, which has paid for its imports and devices already.

    Returns what `subprocess.run` would: returncode, stdout and stderr (those of Python; what
    TensorFlow writes itself stays with pytest).
    """

    def call(name, *arguments):
        command = [f"experiments/{name}.py", *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.chdir(ROOT))
            stack.enter_context(mock.patch.object(sys, "argv", command))
            stack.enter_context(_flags_of_no_experiment())
            stack.enter_context(_keras_as_new())
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning, "runpy")
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            handler = logging.get_absl_handler().python_handler
            stack.enter_context(mock.patch.object(handler, "stream", err))
            code = _exit_code(f"experiments.{name}")
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return call


def _exit_code(module) -> int:
    """Runs a module as a program, and ends as the interpreter would."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def _flags_of_no_experiment():
    """Inside, absl knows the flags that packages define; afterwards all that it knew before."""
    app.define_help_flags()  # which `app.run` does once in a process
    registry = flags.FLAGS.__dict__
    saved = {
        key: {name: list(v) if isinstance(v, list) else v for name, v in value.items()}
        for key, value in registry.items()
        if isinstance(value, dict)
    }
    ours = [
        flag.name
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module.split(".")[0] in ("experiments", "__main__")
        for flag in defined
    ]
    for name in ours:
        delattr(flags.FLAGS, name)
    try:
        with flagsaver.flagsaver():
            yield
    finally:
        for key, value in saved.items():
            registry[key].clear()
            registry[key].update(value)


@contextlib.contextmanager
def _keras_as_new():
    """Inside, Keras counts its layers from one; afterwards its precision is what it was."""
    if "keras" not in sys.modules:
        yield
        return
    import keras

    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
