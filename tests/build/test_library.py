"""The loader: what it refuses, what it says, and how `auto` falls back."""

import json
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.loss_cases import random_case
from tests.shared import ROOT
from yolov1 import __version__, ops
from yolov1.grid import GridSpec
from yolov1.kernels import _module
from yolov1.ops import _library

GOOD = {"version": __version__, "tensorflow": tf.__version__, "cxx11_abi": 1}


@pytest.fixture
def nothing_loaded(monkeypatch):
    """The state of a process that has not used an op, or warned, yet."""
    monkeypatch.setattr(_library, "_warned", False)
    _library._load.cache_clear()
    yield
    _library._load.cache_clear()


def test_the_build_here_is_recorded_and_accepted():
    info = json.loads((_library.PACKAGE / "_build_info.json").read_text())
    _library.check_build(info)
    assert set(info) >= {"version", "revision", "compiler", "xla", "cuda", "cuda_architectures"}
    xla = info["xla"] == "ON"
    cpu = ["CPU"] + ["XLA_CPU_JIT"] * xla
    gpu = (["GPU"] + ["XLA_GPU_JIT"] * xla) * bool(info["cuda"])
    dtypes = ("bfloat16", "float16", "float32", "float64")
    pixels = ("bfloat16", "float16", "float32", "uint8")
    assert ops.available() == {
        "yolo_loss": dict.fromkeys(cpu + gpu, dtypes),
        "pairwise_iou": dict.fromkeys(cpu + gpu, dtypes),
        "aligned_iou": dict.fromkeys(cpu + gpu, dtypes),
        "non_max_suppression": dict.fromkeys(cpu + gpu, ("float32",)),
        "load_images": {"CPU": pixels},  # its inputs are texts, which XLA has not
        "augment_images": dict.fromkeys(cpu + gpu, pixels),
        "draw_augmentation": dict.fromkeys(cpu, ("float32",)),
        "encode_targets": dict.fromkeys(cpu, ("float32",)),
    }


def test_a_patch_release_is_accepted():
    _library.check_build(GOOD | {"tensorflow": tf.__version__.rsplit(".", 1)[0] + ".99"})


@pytest.mark.parametrize(
    "change, message",
    (
        ({"tensorflow": "2.20.1"}, f"built for TensorFlow 2.20.1, but {tf.__version__} is running"),
        ({"tensorflow": ""}, "was built without TensorFlow"),
        ({"version": "0.0.9"}, f"built from yolov1 0.0.9, but {__version__} is running"),
        ({"cxx11_abi": 0}, "was built with C++11 ABI 0, but TensorFlow uses 1"),
    ),
)
def test_a_build_that_does_not_fit_is_refused_before_it_is_opened(
    change, message, nothing_loaded, monkeypatch, tmp_path
):
    (tmp_path / "_build_info.json").write_text(json.dumps(GOOD | change))
    (tmp_path / "_ops.so").write_text("opening this would fail in another way")
    monkeypatch.setattr(_library, "PACKAGE", tmp_path)
    with pytest.raises(ops.LibraryUnavailable, match=re.escape(message)) as caught:
        _library.load()
    assert _library.REBUILD in str(caught.value)
    assert ops.available() == {}


def test_a_broken_library_names_the_rebuild_command(nothing_loaded, monkeypatch, tmp_path):
    (tmp_path / "_build_info.json").write_text(json.dumps(GOOD))
    (tmp_path / "_ops.so").write_text("not a library")
    monkeypatch.setattr(_library, "_not_twice", lambda library: library)
    monkeypatch.setattr(_library, "PACKAGE", tmp_path)
    with pytest.raises(ops.LibraryUnavailable, match=r"_ops.so could not be loaded .*Rebuild it"):
        _library.load()


def test_auto_warns_once_and_falls_back_and_fused_raises(nothing_loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(_library, "PACKAGE", tmp_path)
    grid = GridSpec(S=2, B=1, C=2, image_size=8)
    predictions, targets = random_case(grid, 2, 0.5)
    want = ops.yolo_loss(predictions, targets, grid=grid, impl="reference").loss
    with pytest.warns(RuntimeWarning, match="no op library in .* slower reference is used"):
        got = ops.yolo_loss(predictions, targets, grid=grid).loss
    np.testing.assert_array_equal(got, want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.yolo_loss(predictions, targets, grid=grid)
    with pytest.raises(ops.LibraryUnavailable, match="no op library"):
        ops.yolo_loss(predictions, targets, grid=grid, impl="fused")


@pytest.mark.parametrize("compiled, place", ((False, "GPU"), (True, "XLA_GPU_JIT")))
def test_auto_takes_on_a_gpu_only_what_has_run_there(compiled, place, monkeypatch):
    monkeypatch.setattr(_library, "_kernels", lambda op: {place: ("float32",)})
    monkeypatch.setattr(_library, "ON_REQUEST", {"yolo_loss": (place,)})
    choice = ("GPU", "float32", compiled)
    assert _library.choose("yolo_loss", "auto", *choice) == "reference"
    assert _library.choose("yolo_loss", "fused", *choice) == "fused"
    with pytest.raises(NotImplementedError, match=f"no fused kernel for float64 on {place} "):
        _library.choose("yolo_loss", "fused", "GPU", "float64", compiled)


def test_loading_twice_is_harmless():
    """As where the module is reloaded: TensorFlow keeps what was registered before."""
    library = ops.load()
    _library._load.cache_clear()
    assert ops.load() is library


# -------------------------------------------------------------------------- two copies, old builds

TWO = """
import sys
import tensorflow as tf
tf.load_op_library(sys.argv[1])
from yolov1 import ops
try:
    ops.load()
except ops.LibraryUnavailable as error:
    print(error)
else:
    print(float(ops.aligned_iou([0.0, 0, 2, 1], [0.0, 0, 1, 1], impl="fused")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("same", (True, False))
def test_a_second_copy_in_the_process(same, tmp_path):
    """The same build serves both; another one is named, where TensorFlow says nothing and fails."""
    mine, other = _library.PACKAGE / "_ops.so", tmp_path / "_ops.so"
    shutil.copy(mine.with_name("libyolov1_kernels.so"), tmp_path)
    other.write_bytes(mine.read_bytes() + (b"" if same else b"other"))
    run = subprocess.run(
        [sys.executable, "-c", TWO, str(other)], cwd=ROOT, capture_output=True, text=True
    )
    if same:
        assert run.stdout == "0.5\n", run.stdout + run.stderr
    else:
        assert f"{mine} cannot be loaded" in run.stdout and f"from {other}." in run.stdout


def sources(folder):
    """A source tree: what is compiled, and a text beside it."""
    (folder / "kernels/op").mkdir(parents=True)
    for name in ("CMakeLists.txt", "kernels/op/op.cc", "kernels/op/op.h", "kernels/README.md"):
        (folder / name).write_text(name)
    return _module.digest_of_sources(folder)


def test_the_digest_is_of_what_is_compiled(tmp_path):
    first = sources(tmp_path)
    (tmp_path / "kernels/README.md").write_text("other words")
    assert _module.digest_of_sources(tmp_path) == first
    for name in ("CMakeLists.txt", "kernels/op/op.cc", "kernels/op/op.h"):
        (tmp_path / name).write_text("other code")
        assert _module.digest_of_sources(tmp_path) != first
        (tmp_path / name).write_text(name)
    assert _module.digest_of_sources(tmp_path) == first
    assert _module.digest_of_sources(tmp_path / "kernels") is None


def test_libraries_of_other_sources_warn_once(monkeypatch):
    _module._warn_once.cache_clear()
    info = {"revision": "abc", "sources": "0" * 64}
    with pytest.warns(RuntimeWarning, match=r"other sources .* \(revision abc\). Rebuild them"):
        assert _module.REBUILD in _module.compare_sources(info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _module.compare_sources(info)
        assert not _module.compare_sources({"sources": _module.digest_of_sources()})
        monkeypatch.setattr(_module, "digest_of_sources", lambda: None)  # an installed wheel
        assert not _module.compare_sources(info)
