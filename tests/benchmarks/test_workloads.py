"""Captured workloads as inputs of the benchmarks: what they hold, and that each takes them."""

import csv

import numpy as np
import pytest

from benchmarks import workloads
from tests.benchmarks.running import run
from yolov1 import boxes as box_formats
from yolov1 import data, inference
from yolov1.grid import GridSpec
from yolov1.semantics import PRESETS
from yolov1.training import Workload, WorkloadError

GRID = GridSpec(S=3, B=2, C=4, image_size=48)
BOXES = [  # of an image each
    np.array([[0.2, 0.3, 0.1, 0.2], [0.9, 0.5, 0.2, 0.3]]),
    np.zeros((0, 4)),
    np.array([[0.5, 0.5, 1.0, 0.25]]),
]
LABELS = [[0, 3], [], [1]]


@pytest.fixture(scope="module", params=("paper", "keras_voc"))
def file(request, tmp_path_factory):
    """Two steps of three images."""
    generator, steps = np.random.default_rng(0), {}
    for step in (0, 12):
        encoded = [
            data.encode_targets(b, np.array(k, int), GRID)[0]
            for b, k in zip(BOXES, LABELS, strict=True)
        ]
        predictions = generator.uniform(-0.2, 1, (3, *GRID.prediction_shape)).astype(np.float32)
        steps[step] = predictions, np.stack(encoded).astype(np.float32)
    path = tmp_path_factory.mktemp("workloads") / "mine.npz"
    Workload(GRID, PRESETS[request.param], "cells", steps).write(path)
    return str(path)


def test_boxes_are_those_that_a_detector_decodes(file):
    workload = workloads.load(file)
    for step, (predictions, _) in workload.steps.items():
        want = inference.decode(predictions, GRID, wh=workload.semantics.wh)
        for got, tensor in zip(workloads.predicted(file, step), want, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, tensor.numpy(), rtol=1e-6, atol=1e-6)


def test_objects_are_those_that_were_encoded(file):
    found = workloads.true_boxes(file, 12)
    assert found.shape == (3, 2, 4) and not found[1].any() and not found[2, 1].any()
    for image in (0, 2):
        want = box_formats.cxcywh_to_xyxy(BOXES[image])
        np.testing.assert_allclose(found[image, : len(want)], want, atol=1e-6)
    assert workloads.object_share(file, 0) == round(3 / 27, 4)


def test_batches_go_through_all_images(file):
    batches = list(workloads.suppression_batches(file, 4, 3))
    every = np.concatenate([workloads.predicted(file, step)[0] for step in (0, 12)])
    together = np.concatenate([boxes for boxes, _ in batches])
    np.testing.assert_array_equal(together, np.concatenate([every, every]))


@pytest.mark.each_value
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("bench_yolo_loss", ("--parts=", "--providers=xla_strong,fused,kernel_naive")),
        ("bench_box_iou", ("--parts=", "--providers=tf_function,fused_op")),
        ("bench_nms", ("--parts=time", "--inputs=", "--batches=2", "--providers=fused,kernel")),
    ],
)
def test_benchmarks_take_them(file, tmp_path, name, flags):
    output = tmp_path / "rows.csv"
    done = run(
        name, *flags, "--repeats=2", "--turn_ms=0.1", f"--workload={file}", f"--output={output}"
    )
    assert done.returncode == 0, done.stderr
    with output.open() as lines:
        rows = list(csv.DictReader(lines))
    assert rows and all(float(row["median_us"]) > 0 for row in rows)
    if name == "bench_nms":
        assert {row["inputs"] for row in rows} == {"captured:mine"}
        return
    assert {row["part"] for row in rows} == {"captured:mine:0", "captured:mine:12"}
    assert "workload" not in rows[0] and "step" not in rows[0]
    if name == "bench_yolo_loss":
        assert {(row["images"], row["objects"]) for row in rows} == {("3", "0.1111")}
    else:
        assert {(row["N"], row["M"], row["K"]) for row in rows} == {("3", "18", "2")}


def test_a_missing_file_is_a_sentence(tmp_path):
    done = run("bench_nms", f"--workload={tmp_path / 'none.npz'}", f"--output={tmp_path / 'rows'}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "none.npz: no such file; expected a file of: python -m experiments" in done.stderr
    with pytest.raises(WorkloadError):
        workloads.load(str(tmp_path / "none.npz"))
