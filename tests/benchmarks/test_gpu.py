"""The call that builds, checks and measures the CUDA kernels, as far as it goes without a GPU."""

import importlib.util
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import gpu, harness
from benchmarks.gpu import box_iou as gpu_iou
from benchmarks.gpu import device as gpu_device
from benchmarks.gpu import formulas as gpu_formulas
from benchmarks.gpu import load_images as gpu_images
from benchmarks.gpu import measurements as gpu_measure
from benchmarks.gpu import timing as gpu_timing
from benchmarks.gpu import yolo_loss as gpu_loss
from benchmarks.gpu.verdicts import DTYPES, Checks
from tests.ops import iou_numpy, loss_numpy, nms_numpy
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import PRESETS

GRID = GridSpec()

# One value of what a kernel gives, in the place that the first argument names.
DAMAGED = """
import sys
from absl import app, flags
from benchmarks import gpu
from yolov1 import kernels
gpu.define_flags()
name, real = sys.argv.pop(1), None

def damaged(*arguments, out=None, **options):
    result = real(*arguments, **options, **({} if out is None else {"out": out}))
    if out is not None:
        first = out[0] if isinstance(out, tuple) else out
        values = getattr(first, "array", first).reshape(-1)
        if len(values):
            values[-1] += 1
    return result

real = getattr(kernels, name)
setattr(kernels, name, damaged)
app.run(gpu.main)
"""


def rehearse(*command):
    return subprocess.run(
        [sys.executable, *command, "--cuda=HOST", "--small", "--seed=3"],
        cwd=harness.ROOT,
        env=os.environ | {"PYTHONPATH": str(harness.ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def build():
    return gpu.build("HOST")


@pytest.mark.slow
def test_the_rehearsal_passes(build):
    done = rehearse("-m", "benchmarks.gpu", f"--build={build}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same bits") >= 3 and " 0 failed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, complaint",
    (
        ("yolo_loss", "off by"),
        ("pairwise_iou", "off by"),
        ("aligned_iou_gradient", "off by"),
        ("non_max_suppression", "other bits"),
        ("augment_images", "other bits"),
    ),
)
def test_the_rehearsal_notices_damage(build, name, complaint):
    done = rehearse("-c", DAMAGED, name, f"--build={build}", "--only=bits")
    assert done.returncode == 1, done.stdout + done.stderr
    assert complaint in done.stdout


def test_nothing_imports_tensorflow():
    code = (
        "import sys; from benchmarks.gpu import checks, measurements; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=harness.ROOT).returncode == 0


# ------------------------------------------------------------------------------------ the checks


def test_deviations_are_failures():
    checks = Checks(None, 0)
    checks.near("group", "equal", [1.0, np.nan], [1.0, np.nan], 0)
    checks.same("group", "equal", [np.ones(2)], [np.ones(2)])
    assert not checks.failures
    checks.near("group", "off", [1.0, 2.1], [1.0, 2.0], 0.01)
    checks.near("group", "NaN", [1.0, np.nan], [1.0, 2.0], 0.01)
    checks.near("group", "shape", [1.0], [[1.0]], 0.01)
    checks.same("group", "zero's sign", [np.zeros(1)], [-np.zeros(1)])
    checks.run("group", "error", lambda: 1 / 0)
    assert len(checks.failures) == 5 and "5 failed" in "\n".join(checks.report())


class Memory(gpu_device.Device):
    """NumPy's memory, for what is no kernel's work."""

    def put(self, array, offset=0):
        return array.copy()

    def read(self, array):
        return array


@pytest.mark.parametrize("where", (0, gpu_device.GUARD, -1))
def test_what_is_written_outside_of_an_output_is_noticed(where):
    output = Memory().poisoned((3, 2), np.float32, offset=1)
    output.array[...] = 1
    assert output.read().tolist() == [[1, 1]] * 3
    output._whole[where] = 0
    with pytest.raises(AssertionError, match="outside of an output"):
        output.read()


# ---------------------------------------------------------------------------------- the formulas


def loss_case(dtype=np.float32):
    predictions, targets = gpu_measure.loss_sets(1, 6, "float32", "float32")[0]
    want = loss_numpy.yolo_loss(predictions, targets, GRID, PRESETS["paper"])
    return predictions, targets, want


def iou_case():
    case = gpu_iou.IouCase(a=(2, 9), b=(2, 7))
    generator = np.random.default_rng(0)
    a, b = (gpu_iou.boxes(generator, shape, case) for shape in (case.a, case.b))
    upstream = generator.uniform(-1, 1, (2, 9, 7)).astype(np.float32)
    return (a, b, upstream), iou_numpy.iou("pairwise_iou", a, b, upstream)


def assert_near(got, want):
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-5)


def test_jax_has_the_formulas():
    jax = pytest.importorskip("jax")
    predictions, targets, want = loss_case()
    loss, gradient = jax.jit(gpu_formulas.jax_loss(GRID))(predictions, targets)
    assert_near(loss, want.loss)
    assert_near(gradient, want.gradient)
    arguments, (value, *gradients) = iou_case()
    forward, backward = gpu_formulas.jax_iou()
    assert_near(forward(*arguments[:2]), value)
    for got, true in zip(backward(*arguments), gradients, strict=True):
        assert_near(got, true)


def torch_has_the_formulas():
    import torch

    predictions, targets, want = loss_case()
    run = gpu_formulas.torch_loss(GRID, compiled=False)
    loss, gradient = run(torch.from_numpy(predictions), torch.from_numpy(targets))
    assert_near(loss, want.loss)
    assert_near(gradient, want.gradient)
    arguments, (value, *gradients) = iou_case()
    forward, backward = gpu_formulas.torch_iou(compiled=False)
    arguments = [torch.from_numpy(x) for x in arguments]
    assert_near(forward(*arguments[:2]), value)
    for got, true in zip(backward(*arguments), gradients, strict=True):
        assert_near(got, true)
    case = nms_numpy.random_case(0)
    found = gpu_formulas.torch_nms(max_detections=50)(*map(torch.from_numpy, case))
    for got, true in zip(found, nms_numpy.suppress(*case, max_detections=50), strict=True):
        np.testing.assert_array_equal(got, true)

    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 14, 3), np.uint8)
    got = gpu_formulas.torch_resize(17)(torch.from_numpy(pixels))
    assert_near(got, kernels.augment_images(pixels, size=17))


def torch_memory_keeps_bits_and_offsets():
    device = gpu_device.Cuda("cpu")
    device.synchronize = lambda: None
    others = (bool, np.uint8, np.int32, np.int64)
    for dtype in (*DTYPES.values(), *map(np.dtype, others)):
        array = np.arange(12).reshape(3, 4).astype(dtype)
        there = device.put(array, 3)
        assert there.data_ptr() % 16 == 3 * dtype.itemsize % 16
        assert device.read(there).tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ("torch_has_the_formulas", "torch_memory_keeps_bits_and_offsets"))
def test_torch(name):
    """In a process of its own: PyTorch and TensorFlow need not get on in one."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    code = f"from tests.benchmarks import test_gpu; test_gpu.{name}()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=harness.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# -------------------------------------------------------------------------------- measuring, rows


def test_measuring_takes_turns():
    order = []
    timers = {name: (lambda name=name: order.append(name) or 4.0, 4) for name in "ab"}
    seconds = gpu_timing.measure(timers, repeats=3, budget_seconds=60)
    assert {name: list(values) for name, values in seconds.items()} == {"a": [1] * 3, "b": [1] * 3}
    assert order[:2] != order[2:4] and len(order) == 10


class OnHost:
    """A device that measures nothing of its own."""

    graphs = False


def peers(capsys, on_jax=None, on_torch=None, **options):
    """Names of the timers that come about, and what is said."""
    sets = [(np.ones(3, np.float32),)] * 2
    clock = gpu_timing.HostClock()
    timers = gpu_timing.peers(
        clock, sets, on_jax or {}, on_torch or {}, lambda array: array, **options
    )
    return {name for name, _ in timers}, capsys.readouterr().out


def failing():
    raise RuntimeError("not here\nwith more lines")


def test_a_peer_that_fails_is_said_and_left_out(capsys):
    on_torch = {
        "made": lambda: lambda array: array,
        "not made": failing,
        "not run": lambda: lambda array: failing(),
        "not wanted": lambda: pytest.fail("was made"),
    }
    on_jax = {"handlers": failing}
    names, said = peers(capsys, on_jax, on_torch, left_out=("not wanted",))
    assert names == {"made"}
    assert said.splitlines() == [
        f"left out: {name}: RuntimeError: not here" for name in ("handlers", "not made", "not run")
    ]


def test_handlers_that_cannot_be_registered_end_no_measurement(capsys, monkeypatch):
    monkeypatch.setattr(gpu_formulas, "register_handlers", failing)
    monkeypatch.setattr(gpu_formulas, "jax_loss", lambda grid: failing())
    monkeypatch.setattr(gpu_formulas, "torch_loss", lambda grid, compiled: lambda p, t: (p, t))
    sets = gpu_measure.loss_sets(1, 2, "float32", "float32")
    timers = gpu_timing.loss_peers(gpu_timing.HostClock(), GRID, sets, lambda x: x)
    assert set(timers) == {("torch", "call"), ("torch_compile", "call")}
    assert capsys.readouterr().out.splitlines() == [
        f"left out: {name}: RuntimeError: not here" for name in ("xla", "fused_jax")
    ]
    timers = gpu_timing.loss_peers(
        gpu_timing.HostClock(), GRID, sets, lambda x: x, left_out=("torch_compile",)
    )
    assert set(timers) == {("torch", "call")}


def test_handlers_that_cannot_be_registered_are_a_failed_check(monkeypatch):
    monkeypatch.setattr(gpu_formulas, "register_handlers", failing)
    monkeypatch.setattr(gpu_loss.importlib.util, "find_spec", lambda name: name)
    checks = Checks(None, 0)
    checks.run("loss, inside JAX", "paper", lambda: gpu_loss.check_jax(checks))
    assert len(checks.failures) == 1 and "RuntimeError: not here" in checks.failures[0]


def test_a_group_that_fails_ends_no_measurement(capsys, monkeypatch):
    done = []
    monkeypatch.setattr(gpu_measure, "loss", lambda *arguments: failing())
    monkeypatch.setattr(gpu_measure, "iou", lambda *arguments: done.append(arguments[-2:]))
    monkeypatch.setattr(gpu_measure, "nms", lambda *arguments: None)
    monkeypatch.setattr(gpu_measure, "photos", lambda *arguments: None)
    failed = gpu_measure.measure(None, OnHost(), None, images=(1, 4), left_out=("torch",))
    assert failed == 2 * len(gpu_measure.DTYPES) == capsys.readouterr().out.count("FAILED: ")
    assert done == [(m, ("torch",)) for m in ("forward", "backward")] * len(gpu_measure.IOUS)


@pytest.mark.parametrize("wanted", (True, False))
def test_torch_compile_can_be_left_out(wanted, tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(gpu_device, "make", lambda cuda: None)
    monkeypatch.setattr(gpu_timing, "CudaClock", lambda device: None)
    monkeypatch.setattr(gpu_measure, "measure", lambda *_, left_out: told.update(out=left_out) or 3)
    config = types.SimpleNamespace(
        cuda="ON", revision="r", output=tmp_path / "x.csv", repeats=1, budget=1.0
    )
    config.torch_compile = wanted
    assert gpu.measure(config) == 3
    assert told == {"out": () if wanted else ("torch_compile",)}


def test_sets_exceed_the_cache():
    assert gpu_timing.sets_for(1 << 20, 50 << 20) == 100
    assert gpu_timing.sets_for(1 << 30, 50 << 20) == 4
    assert gpu_timing.sets_for(1, 50 << 20) == 256


def test_rows_and_table(tmp_path):
    path = tmp_path / "gpu.csv"
    rows = gpu_measure.Rows({"device": "invented"}, path, repeats=3, budget_seconds=60)
    rows.add("copy", "16 MB", 4000, {("torch", "graph"): (lambda: 1e-9, 1)})
    timers = {("staged", "graph"): (lambda: 2e-6, 1), ("xla", "chain"): (lambda: 10e-6, 1)}
    rows.add("loss", "N=64", 4000000, timers, "float32", "float32")
    assert len(path.read_text().splitlines()) == 4
    assert rows.rows[1]["of_copy"] == 0.5
    for provider, seconds in (("fused", 2.5e-6), ("torch", 5e-6)):
        timers = {(provider, "graph"): (lambda seconds=seconds: seconds, 1)}
        rows.add("images", "N=64 float32", 4000000, timers, "float32")
    table = {line[0]: line[1:] for line in gpu_measure.table(rows.rows)}
    assert table["images, N=64 float32, of the copy"] == (
        "at least 0.85",
        "0.4",
        "missed by a factor of 2.12",
    )
    assert table["images, N=64 float32, PyTorch's resize / fused"][1] == "2"
    assert table["loss, N=64, us of a replay"] == ("at most 4", "2", "met")
    assert table["loss, N=64, XLA / fused"] == ("at least 3", "5", "met")
    assert table["loss, N=1, us of a replay"][1:] == ("-", "not measured")


def test_bytes_that_windows_show():
    sizes = np.array([[10, 20], [4, 4]], np.int32)
    windows = np.float32([[-0.5, 0.5, 0.5, 2], [2, 2, 3, 3]])
    assert gpu_images.shown_bytes(sizes, windows) == 3 * 10 * 5


def test_photos_are_measured(tmp_path, monkeypatch):
    """The whole way, on the host, with an op that only counts its calls."""
    calls = []
    monkeypatch.setattr(kernels, "augment_images", lambda *_, **options: calls.append(options))
    rows = gpu_measure.Rows({}, tmp_path / "gpu.csv", repeats=3, budget_seconds=60)
    gpu_measure.photos(rows, gpu_device.Host(), gpu_timing.HostClock(), 1, "uint8")
    (row,) = rows.rows
    assert row["case"] == "N=1 uint8" and row["bytes"] > 448 * 448 * 3
    assert calls[0]["size"] == 448 and calls[0]["out"].array.shape == (1, 448, 448, 3)
