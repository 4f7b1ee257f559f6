"""Captured workloads: what the loss was given, in a file; and a run that is none the wiser."""

import json
import zipfile

import ml_dtypes
import numpy as np
import pytest

from tests.training.small_runs import run
from yolov1 import kernels
from yolov1.grid import GridSpec
from yolov1.semantics import PRESETS
from yolov1.training import TrainConfig, Workload, WorkloadError, read_workload
from yolov1.training.capture import Capture

pytestmark = pytest.mark.usefixtures("no_report")

GRID = GridSpec(S=2, B=2, C=6, image_size=32)  # of shapes


def columns(output_dir):
    """The rows of metrics.csv without what a clock measured."""
    header, *lines = (output_dir / "metrics.csv").read_text().splitlines()
    timed = [k for k, name in enumerate(header.split(",")) if "second" in name]
    return [[x for k, x in enumerate(line.split(",")) if k not in timed] for line in lines]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """What `whole` is, with --capture, and its file."""
    folder = tmp_path_factory.mktemp("captured")
    file = folder / "deeper" / "workload.npz"
    code, said = run(folder / "run", capture=file, capture_steps="0,1,2,3,4,99")
    assert code == 0, said
    return folder / "run", file


@pytest.mark.slow
def test_a_run_with_capture_has_the_same_figures(captured, whole):
    paths = whole[0], captured[0]
    assert columns(paths[0]) == columns(paths[1])
    plain, other = (json.loads((path / "summary.json").read_text()) for path in paths)
    clocked = {name for name in plain if "second" in name}
    assert clocked and {k: v for k, v in plain.items() if k not in clocked} == {
        k: v for k, v in other.items() if k not in clocked
    }


def test_the_file_holds_what_the_loss_was_given(captured):
    path, file = captured
    workload = read_workload(file)
    assert workload.grid == GRID and workload.semantics == PRESETS["paper"]
    assert list(workload.steps) == [0, 1, 2, 3, 4]
    losses = []
    for predictions, targets in workload.steps.values():
        assert predictions.dtype == targets.dtype == np.float32 and len(predictions) == 8
        assert targets[..., GRID.target_object_channel].any()
        losses.append(kernels.yolo_loss(predictions, targets, grid=GRID)[0].mean())
    # 20 images are 2.5 batches of 8: the second epoch has steps 2, 3 and 4.
    header, *rows = (line.split(",") for line in (path / "metrics.csv").read_text().split())
    for row, mine in zip(rows[:2], (losses[:2], losses[2:]), strict=True):
        assert float(row[header.index("loss")]) == pytest.approx(np.mean(mine), rel=1e-5)


@pytest.mark.slow
def test_a_resumed_run_keeps_what_was_captured_before(tmp_path):
    file = tmp_path / "workload.npz"
    options = {"capture": file, "schedule": "constant"}
    assert run(tmp_path / "run", epochs=2, capture_steps="1,4", **options)[0] == 0
    before = read_workload(file).steps
    code, said = run(tmp_path / "run", epochs=4, capture_steps="7", resume=True, **options)
    assert code == 0, said
    after = read_workload(file).steps
    assert list(after) == [1, 4, 7]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before[4], after[4], strict=True))


def test_steps_that_are_done_already_are_said(tmp_path, capsys):
    config = TrainConfig(capture=str(tmp_path / "w.npz"), capture_steps="1,4")
    for start, said in ((0, ""), (4, ""), (5, "=1,4: the run goes on at step 5; they are done")):
        Capture(config, GRID, start, end=9)
        told = capsys.readouterr().out
        assert said in told and bool(said) == bool(told)


@pytest.mark.parametrize("dtype", (np.float32, np.float64, np.float16, ml_dtypes.bfloat16))
def test_every_dtype_comes_back_to_the_bit(tmp_path, dtype):
    generator = np.random.default_rng(0)
    predictions = generator.normal(size=(3, *GRID.prediction_shape)).astype(dtype)
    targets = generator.normal(size=(3, *GRID.target_shape)).astype(np.float32)
    Workload(GRID, PRESETS["darknet"], "cells", {7: (predictions, targets)}).write(tmp_path / "w")
    again = read_workload(tmp_path / "w")
    assert again.semantics == PRESETS["darknet"] and list(again.steps) == [7]
    for got, want in zip(again.steps[7], (predictions, targets), strict=True):
        assert got.dtype == want.dtype and got.tobytes() == want.tobytes()


def rewritten(source, target, change):
    """A copy of a workload's file with its description changed."""
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("workload")))
    change(about, arrays)
    np.savez(target, workload=json.dumps(about), **arrays)


def test_other_files_are_refused(captured, tmp_path):
    _, file = captured
    (tmp_path / "text").write_text("not a workload")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "empty").touch()
    for name in ("text", "other.npz", "array.npy", "empty"):
        with pytest.raises(WorkloadError, match="is no workload; expected a file of: python -m"):
            read_workload(tmp_path / name)
    with pytest.raises(WorkloadError, match="none: no such file; expected a file of"):
        read_workload(tmp_path / "none")
    (tmp_path / "half.npz").write_bytes(file.read_bytes()[:-300])
    changes = {
        "version 2": lambda about, arrays: about.update(version=2),
        "is damaged": lambda about, arrays: arrays.pop("targets_3"),
        "expected float64": lambda about, arrays: about["dtypes"].update(predictions="float64"),
        r"targets_0 is \[8, 1, 2, 11\], expected \[N, 2, 2, 11\]": lambda about, arrays: (
            arrays.update(targets_0=arrays["targets_0"][:, :1])
        ),
    }
    for message, change in changes.items():
        rewritten(file, tmp_path / "changed.npz", change)
        with pytest.raises(WorkloadError, match=message):
            read_workload(tmp_path / "changed.npz")
    assert not zipfile.is_zipfile(tmp_path / "half.npz")
    with pytest.raises(WorkloadError, match="is damaged"):
        read_workload(tmp_path / "half.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capture_steps": "5,9"}, "--capture_steps=5,9: the run has the steps 0 to 4"),
        ({"capture_steps": "1,x"}, "--capture_steps must be whole numbers of at least 0"),
        ({"capture": __file__}, "is no workload; expected a file of"),
    ],
)
def test_what_cannot_be_captured_is_refused(tmp_path, options, message):
    options = {"capture": tmp_path / "w.npz", "capture_steps": "0"} | options
    code, said = run(tmp_path / "run", epochs=2, **options)
    assert code != 0 and message in said and "Traceback" not in said
