"""Runs of seconds, and what of them is compared."""

import csv
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from tests import programs
from tests.shared import ROOT

# Dropout and augmentation on: both must resume exactly too. Few layers: most of the time of a run
# is that of tracing them.
TINY = {
    "dataset": "shapes:count=20",
    "image_size": 32,
    "S": 2,
    "batch_size": 8,
    "epochs": 4,
    "warmup_epochs": 1.0,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "model_options": "width=0.34,depth=0,dropout=0.3",
    "ema": 0.9,
    "eval_every": 2,
}


def arguments(output_dir, values):
    flags = [f"--{name}={value}" for name, value in (TINY | values).items()]
    return [f"--output_dir={output_dir}", *flags]


def run(output_dir, **values):
    """To the end, in this process; the return code and what was said."""
    done = programs.call("experiments.train", *arguments(output_dir, values))
    return done.returncode, done.stdout + done.stderr


def start(output_dir, env=None, module="experiments.train", **values):
    """In a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments(output_dir, values)],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def final_state(output_dir, folder="checkpoints/last") -> dict:
    """Every number of the last checkpoint but the measured seconds."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(os.path.join(output_dir, folder)))
    names = (n for n in reader.get_variable_to_dtype_map() if not n.startswith("_CHECKPOINTABLE"))
    return {
        n: reader.get_tensor(n) for n in names if "seconds" not in n and "save_counter" not in n
    }


def assert_same_bits(a: dict, b: dict):
    assert a.keys() == b.keys()
    assert any("optimizer" in name for name in a) and any("seeds" in name for name in a)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def rows(output_dir):
    with open(os.path.join(output_dir, "metrics.csv"), newline="") as file:
        return [{k: v for k, v in r.items() if "second" not in k} for r in csv.DictReader(file)]
