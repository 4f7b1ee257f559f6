"""Kernels of others are refused or timed, and our own faces pass, by the same checks."""

import dataclasses
import os
import re
import subprocess

import numpy as np
import pytest

from benchmarks.conformance import faces, foreign, loss
from benchmarks.gpu.verdicts import Checks
from tests import programs
from tests.ops import loss_numpy
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import PRESETS

SOURCE = ROOT / "tests" / "benchmarks" / "own_kernel.c"
HERE = "tests.benchmarks.test_conformance"
TIMED = r"N=(\d+) +(yours|ours, \d threads?) +[\d.]+ \("


# ------------------------------------------------------- kernels: one that is right, others wrong


def right(predictions, targets, grid, semantics):
    """Our own reference, in NumPy."""
    reference = loss_numpy.yolo_loss(predictions, targets, grid, semantics)
    return reference.loss.astype(np.float32), reference.gradient.astype(np.float32)


def wrong_sign(predictions, targets, grid, semantics):
    value, gradient = right(predictions, targets, grid, semantics)
    gradient[..., grid.box_channels] *= -1
    return value, gradient


def no_root(predictions, targets, grid, semantics):
    return right(predictions, targets, grid, dataclasses.replace(semantics, wh="plain"))


def last_of_ties(predictions, targets, grid, semantics):
    return right(predictions, targets, grid, dataclasses.replace(semantics, ties="last"))


def other_bits(predictions, targets, grid, semantics):
    value, gradient = right(predictions, targets, grid, semantics)
    return value * np.float32(1 + 1e-6 * np.random.default_rng().random()), gradient


def clean(predictions, targets, grid, semantics):
    """Hides what is not finite."""
    return [np.nan_to_num(x) for x in right(predictions, targets, grid, semantics)]


def greedy(predictions, targets, grid, semantics):
    """Overwrites its inputs."""
    out = right(predictions, targets, grid, semantics)
    predictions *= 0
    return out


def coupled(predictions, targets, grid, semantics):
    """An image's loss depends on the batch."""
    value, gradient = right(predictions, targets, grid, semantics)
    return value + value.mean() * np.float32(len(value) > 3), gradient


def only_one(predictions, targets, grid, semantics):
    """Only an object flag of 1 counts."""
    flag = targets[..., grid.target_object_channel, None]
    return right(predictions, np.where(flag == 1, targets, 0), grid, semantics)


def reads_empty_cells(predictions, targets, grid, semantics):
    value, gradient = right(predictions, targets, grid, semantics)
    return value + targets[..., 0].sum((1, 2)).clip(0, None) * np.float32(0.1), gradient


def no_gradient(predictions, targets, grid, semantics):
    return right(predictions, targets, grid, semantics)[0]


def double(predictions, targets, grid, semantics):
    return [x.astype(np.float64) for x in right(predictions, targets, grid, semantics)]


def crash(predictions, targets, grid, semantics):
    raise IndexError("boom")


WRONG = {  # to a part of what is said
    wrong_sign: "values, gradient",
    no_root: "values, loss",
    last_of_ties: "ties",
    other_bits: "same bits",
    clean: "special values",
    greedy: "inputs left alone",
    coupled: "alone",
    only_one: "a flag of any value but 0",
    reads_empty_cells: "does not read",
    no_gradient: r"must return \(loss, gradient\)",
    double: r"must be float32 \[5\], got float64",
    crash: "IndexError: boom",
}


def checked(kernel, semantics="paper"):
    checks, semantics = Checks(None, 0), PRESETS[semantics]
    loss.check(checks, lambda p, t, grid, layout: kernel(p, t, grid, semantics), semantics)
    return checks


@pytest.mark.parametrize("kernel", WRONG, ids=lambda kernel: kernel.__name__)
def test_a_wrong_kernel_is_refused(kernel):
    failures = checked(foreign.load(f"{HERE}:{kernel.__name__}")).failures
    assert any(re.search(WRONG[kernel], failure) for failure in failures), failures[:5]


@pytest.mark.parametrize("semantics", PRESETS)
def test_the_reference_passes(semantics):
    checks = checked(foreign.load(f"{HERE}:right"), semantics)
    assert not checks.failures and sum(checks.count.values()) > 150


def run(kernel, *arguments):
    return programs.call("benchmarks.conformance", f"--kernel={kernel}", *arguments)


def test_a_right_kernel_is_timed_and_a_wrong_one_is_not():
    done = run(f"{HERE}:right", "--batches=1,3", "--repeats=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"parity holds: {HERE}:right computes paper's loss" in done.stdout
    timed = re.findall(TIMED, done.stdout)
    assert {n for n, _ in timed} == {"1", "3"}
    assert {who for _, who in timed} >= {"yours", "ours, 1 thread"}
    done = run(f"{HERE}:right", "--semantics=darknet", "--batches=1", "--repeats=1")
    assert done.returncode == 0 and "darknet's loss" in done.stdout
    done = run(f"{HERE}:no_root")
    assert done.returncode == 1 and "REFUSED" in done.stdout and not re.search(TIMED, done.stdout)


@pytest.mark.parametrize(("defines", "code"), [((), 0), (("-DSIGN",), 1), (("-DNO_ROOT",), 1)])
def test_a_shared_library(tmp_path, defines, code):
    library = tmp_path / "mine.so"  # a folder each: a library is loaded once by its path
    command = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, *defines, "-o", library, SOURCE, "-lm"], check=True)
    done = run(library, "--batches=2", "--repeats=1")
    assert done.returncode == code, done.stdout + done.stderr
    assert bool(re.search(TIMED, done.stdout)) == (code == 0)


def test_what_is_no_kernel_is_a_sentence(tmp_path):
    (tmp_path / "text.so").write_text("no library")
    empty = tmp_path / "empty.so"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-shared", "-x", "c", "/dev/null", "-o", empty], check=True
    )
    for kernel, message in {
        "mine": "--kernel must be MODULE:FUNCTION or FILE.so, got 'mine'",
        "no_such_module:f": "No module named 'no_such_module'; is its folder in PYTHONPATH?",
        f"{HERE}:none": "has no attribute 'none'",
        f"{HERE}:SOURCE": "must be a function, got PosixPath",
        tmp_path / "none.so": "no such file",
        tmp_path / "text.so": "expected a shared library with a C function yolo_loss",
        empty: "expected a shared library with a C function yolo_loss",
    }.items():
        done = run(kernel)
        assert done.returncode == 1 and message in done.stderr, (kernel, done.stderr)
        assert "Traceback" not in done.stderr


# -------------------------------------------------------------------------------- our own faces


def test_our_faces_pass():
    done = programs.call("benchmarks.conformance", "--faces=NumPy,eager,DLPack")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[:24].strip(): line[24:] for line in done.stdout.splitlines()}
    for name in ("NumPy", "NumPy, 2 threads", "TensorFlow, eager"):
        assert lines[name].count("ok, bits") == 3, lines[name]
    assert "DLPack" in lines  # checked, or left out with the reason


@pytest.mark.slow
def test_every_face_passes():
    done = programs.call("benchmarks.conformance")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"\d FAILED", done.stdout)


def test_an_unknown_face_is_refused():
    done = programs.call("benchmarks.conformance", "--faces=Numpy")
    assert done.returncode != 0 and "--faces must be parts of NumPy; " in done.stderr + done.stdout


def damaged(change):
    """The first face with one result of one op changed."""
    face = faces.numpy_face()

    def wrap(run):
        return lambda *arguments, **options: change(
            [np.array(x) for x in run(*arguments, **options)]
        )

    return {op: wrap(run) for op, run in face.items()}


def one_bit(arrays):
    value = arrays[0].reshape(-1)
    value[:1] = np.nextafter(value[:1], np.inf)
    return arrays


def much(arrays):
    arrays[1].reshape(-1)[:1] += 1
    return arrays


@pytest.mark.parametrize("change", (one_bit, much))
@pytest.mark.parametrize("op", faces.OPS)
def test_a_damaged_face_is_noticed(op, change):
    checks = Checks(None, 0)
    faces.CHECKS[op](checks, damaged(change)[op], True)
    assert any("other bits" in failure for failure in checks.failures)
    if change is much and op != "nms":
        assert any("off by" in failure for failure in checks.failures)


def test_cases_have_objects_ties_and_none():
    """The cases are what they say: a check of nothing passes always."""
    found = list(loss.cases(Checks(None, 0), PRESETS["paper"]))
    assert len(found) == len({name for name, *_ in found}) > 40
    for name, grid, predictions, targets in found:
        objects = (targets[..., grid.target_object_channel] != 0).any()
        if grid.cells > 4:  # where chance leaves none without
            assert objects == (", 0% objects" not in name and len(predictions) > 0), name
    grid = GridSpec()
    pair = loss.random_case(np.random.default_rng(0), grid, 2, 1.0, ties=True)
    gradient = kernels.yolo_loss(*pair, grid=grid)[2][..., grid.box_channels]
    by_box = gradient.reshape(-1, grid.B, 4).any(-1)
    assert by_box[::2, 0].all() and not by_box[::2, 1].any()  # the first of two equal ones
