"""The GPU kernels where there is no GPU: registered, asked for in vain, and in nobody's way.

On a machine with a GPU the tests of the ops run on both devices; these are for every other one.
"""

import json
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels as registered_kernels

from tests.shared import ROOT
from yolov1 import kernels, ops

DTYPES = {tf.float32, tf.float64, tf.float16, tf.bfloat16}
OPS = ("YoloLoss", "YoloLossGrad", "PairwiseIou", "PairwiseIouGrad", "AlignedIou", "AlignedIouGrad")
OPS = dict.fromkeys(OPS, DTYPES) | {"NonMaxSuppression": {tf.float32}}
OPS["AugmentImages"] = {tf.float32, tf.float16, tf.bfloat16, tf.uint8}

pytestmark = [
    pytest.mark.on_cpu,
    pytest.mark.skipif(
        not kernels.build_info()["cuda"], reason="built without CUDA (YOLOV1_CUDA=OFF)"
    ),
]
no_gpu = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU, which answers"
)


@pytest.mark.parametrize("op, dtypes", OPS.items())
def test_every_op_is_registered_for_every_dtype(op, dtypes):
    assert ops.available()
    found = {}
    for kernel in registered_kernels.get_registered_kernels_for_op(f"Yolov1>{op}").kernel:
        for constraint in kernel.constraint:
            if constraint.name == "T":
                types = map(tf.dtypes.as_dtype, constraint.allowed_values.list.type)
                found.setdefault(kernel.device_type, set()).update(types)
    assert found["GPU"] == found["CPU"] == dtypes
    if kernels.build_info()["xla"] == "ON":
        assert found["XLA_GPU_JIT"] == dtypes


# In a process of its own: soft placement is set before anything runs.
WITHOUT_A_GPU = """
import json, sys
import tensorflow as tf
from yolov1 import ops
from yolov1.grid import GridSpec

tf.config.set_soft_device_placement(sys.argv[1] == "soft")
a, b = tf.constant([[0.0, 0, 2, 2]]), tf.constant([[1.0, 0, 3, 2]])
loss = tf.constant([[[[0.0, 1.0, 0, 0, 0, 0]]]]), tf.zeros((1, 1, 1, 6))
calls = {
    "pairwise_iou": lambda: ops.pairwise_iou(a, b, impl="fused"),
    "aligned_iou": lambda: ops.aligned_iou(a, b, impl="fused"),
    "yolo_loss": lambda: ops.yolo_loss(*loss, grid=GridSpec(1, 1, 1, 8), impl="fused").loss,
    "non_max_suppression": lambda: ops.non_max_suppression(
        a[None], tf.constant([[[0.25]]]), max_detections=1, impl="fused"
    )[1],
    "augment_images": lambda: ops.augment_images(
        tf.constant(51, tf.uint8, [1, 1, 1, 3]), size=1, impl="fused"
    )[0, 0, 0, 0],
}

def answers(call):
    def there():
        with tf.device("GPU:0"):
            return call()

    for function in (there, tf.function(there), call):
        try:
            yield f"{function().numpy().item():.4f}"
        except tf.errors.InvalidArgumentError as error:
            yield f"{type(error).__name__} {error}"

print(json.dumps({name: list(answers(call)) for name, call in calls.items()}))
"""


@pytest.fixture(scope="module", params=("hard", "soft"))
def without_a_gpu(request):
    """(placement, what each op answers: eagerly and in a graph on the GPU, then anywhere)."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_GPU, request.param],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout)


@no_gpu
@pytest.mark.parametrize(
    "op, value",
    (
        ("pairwise_iou", "0.3333"),
        ("aligned_iou", "0.3333"),
        ("yolo_loss", "0.5000"),
        ("non_max_suppression", "0.2500"),
        ("augment_images", "0.2000"),
    ),
)
def test_a_gpu_that_is_not_there(op, value, without_a_gpu):
    """TensorFlow says so; with soft placement it takes the CPU. The CPU works afterwards."""
    placement, answers = without_a_gpu
    eager, graph, after = answers[op]
    assert after == value
    if placement == "soft":
        assert eager == graph == after
    else:
        for line in (eager, graph):
            assert line.startswith("InvalidArgumentError") and "GPU:0" in line


QUIET = """
import tensorflow as tf
print("loading", flush=True)
import os, sys
os.dup2(1, 2)  # what is said to either is read
from yolov1 import ops
assert ops.available()
"""


@no_gpu
def test_loading_the_library_says_nothing_of_cuda():
    answer = subprocess.run([sys.executable, "-c", QUIET], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.split() == ["loading"]


TWICE = """
import sys
import pytest
import tests.ops.conftest

tests.ops.conftest.devices = lambda: ["CPU", "/CPU"]  # the same, in the place of a GPU
sys.exit(pytest.main(["-vv", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_where_there_are_two_devices_every_op_test_runs_on_both():
    everywhere, on_cpu = "test_gradient_is_the_numeric_one", "test_alignment_of_every_buffer"
    files = ("tests/ops/test_yolo_loss_gradient.py", "tests/ops/test_yolo_loss_bits.py")
    chosen = f"({everywhere} and fused and paper) or {on_cpu}"
    answer = subprocess.run(
        [sys.executable, "-c", TWICE, *files, "-k", chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout
    ran = [line.split("::")[1] for line in answer.stdout.splitlines() if "PASSED" in line]
    for device in ("CPU", "/CPU"):
        assert any(name.startswith(f"{everywhere}[{device}-") for name in ran)
    names = [name for name in ran if name.startswith(on_cpu)]
    assert names and not any("/CPU" in name for name in names)
