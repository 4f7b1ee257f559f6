"""Every test of an op runs on every device there is: on a machine with a GPU twice, with no change.

A test that holds an op against the CPU's kernels to the bit, or that is of the CPU alone, is marked
`on_cpu`; a process that such a test starts says so to TensorFlow (or JAX) itself.
"""

import pytest
import tensorflow as tf

from yolov1 import kernels


def devices():
    return ["CPU"] + ["GPU"] * bool(tf.config.list_physical_devices("GPU"))


def pytest_generate_tests(metafunc):
    """A parameter for the device where there is a choice: on a CPU alone names stay as they are."""
    if "device" in metafunc.fixturenames and len(devices()) > 1:
        only_cpu = metafunc.definition.get_closest_marker("on_cpu")
        only_cpu = only_cpu or not kernels.build_info()["cuda"]
        metafunc.parametrize("device", ["CPU"] if only_cpu else devices(), indirect=True)


@pytest.fixture(params=(False, True), ids=("in the caches", "past the caches"))
def past_caches(request):
    """Both ways that kernels on NumPy arrays write, whatever the size of the arrays."""
    native = kernels.extension()
    bound = native.streaming_bound()
    native.set_streaming_bound(0 if request.param else 2**60)
    yield request.param
    native.set_streaming_bound(bound)


@pytest.fixture(autouse=True)
def device(request):
    if not hasattr(request, "param"):
        yield "CPU"
        return
    with tf.device(f"{request.param}:0"):
        yield request.param
