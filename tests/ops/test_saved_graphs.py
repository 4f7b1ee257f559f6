"""Graphs that hold the fused ops, loaded in a process that has called none, are differentiated."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.iou_cases import random_boxes
from tests.ops.loss_cases import GRIDS, random_case
from tests.shared import ROOT
from yolov1 import ops

GRID = GRIDS["odd"]
PREDICTIONS, TARGETS = random_case(GRID, 3, 0.5)
BOXES = random_boxes(4, dtype=np.float32)
SOURCES = {"yolo_loss": PREDICTIONS, "pairwise_iou": BOXES, "aligned_iou": BOXES}


def total(op, x):
    """A scalar of the op, of which `x` is the first argument."""
    if op == "yolo_loss":
        return tf.reduce_sum(ops.yolo_loss(x, TARGETS, grid=GRID, impl="fused").loss)
    return tf.reduce_sum(getattr(ops, op)(x, random_boxes(4, seed=1, dtype=np.float32)))


def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


# Says nothing of the op's face: what is not registered when the library is loaded is missing here.
LOADED = """
import sys
import numpy as np
import tensorflow as tf
from yolov1 import ops

ops.load()
kind, folder = sys.argv[1:]
x = tf.constant(np.load(folder + "/x.npy"))
if kind == "saved_model":
    function = tf.saved_model.load(folder).function
else:
    graph_def = tf.compat.v1.GraphDef.FromString(open(folder + "/graph.pb", "rb").read())
    function = tf.compat.v1.wrap_function(
        lambda x: tf.graph_util.import_graph_def(graph_def, {"x": x}, ["total:0"])[0],
        [tf.TensorSpec(x.shape, x.dtype)],
    )
with tf.GradientTape() as tape:
    tape.watch(x)
    value = function(x)
np.save(folder + "/gradient.npy", tape.gradient(value, x).numpy())
"""


def save(kind, op, folder):
    x = SOURCES[op]
    spec = tf.TensorSpec(x.shape, x.dtype, name="x")
    function = tf.function(lambda x: tf.identity(total(op, x), name="total"), [spec])
    np.save(folder / "x.npy", x)
    if kind == "saved_model":
        module = tf.Module()
        module.function = function
        tf.saved_model.save(module, str(folder))
    else:
        graph = function.get_concrete_function().graph
        (folder / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())


@pytest.mark.first_case
@pytest.mark.on_cpu
@pytest.mark.parametrize(
    "kind, op", (*(("saved_model", op) for op in SOURCES), ("graph_def", "yolo_loss"))
)
def test_a_loaded_graph_is_differentiated(kind, op, tmp_path):
    save(kind, op, tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", LOADED, kind, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    want = gradient(lambda x: total(op, x), tf.constant(SOURCES[op])).numpy()
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(np.load(tmp_path / "gradient.npy"), want, rtol=1e-6, atol=1e-7)
