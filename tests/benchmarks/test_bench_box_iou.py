"""The benchmark of IoU runs, judges its own rows rightly, and its rows can be drawn."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import bench_box_iou, box_iou_providers, box_iou_targets, strong_iou
from benchmarks.box_iou_providers import PROVIDERS, Case, make
from benchmarks.providers import Unavailable
from tests.benchmarks.running import rows_of, run
from tests.ops.iou_cases import KINDS, random_boxes, random_upstream
from yolov1 import kernels, ops

FLOORS = ("noop_op", "noop_function", "fill_op")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The file of the rows of a run of every part at a tiny size, and the rows."""
    path = tmp_path_factory.mktemp("bench") / "rows.csv"
    options = ("--shapes=2x5x3,1x9x17", "--pairs=40", "--repeats=2", "--turn_ms=0.1")
    providers = "tf_function,fused,fused_op,noop_op,fill_op,kernel_naive"
    rows, printed = rows_of(path, "bench_box_iou", *options, f"--providers={providers}")
    assert "1x4096x4096, forward, xla / fused" in printed
    return path, rows


@pytest.mark.slow
def test_bench_writes_rows_of_every_part(measured):
    rows = measured[1]
    assert {row["part"] for row in rows} == set(bench_box_iou.PARTS)
    shape = {"N": "1", "M": "9", "K": "17", "mode": "full", "part": "time"}
    timed = {row["provider"]: row for row in rows if all(row[k] == v for k, v in shape.items())}
    names = {"tf_function", "fused", "fused_op", "noop_op", "fill_op"}
    assert set(timed) == names | set(box_iou_providers.TRANSFERS)
    store = float(timed["store_non_temporal"]["median_us"])
    for row in timed.values():
        time = float(row["median_us"])
        assert float(row["pairs_per_us"]) == pytest.approx(9 * 17 / time, rel=0.1, abs=0.1)
        assert float(row["of_store"]) == pytest.approx(store / time, rel=0.2, abs=0.001)
        assert float(row["output_mb"]) == round(4 * (9 * 17 + 4 * (9 + 17)) / 1e6, 3)
    assert {row["kind"] for row in rows if row["part"] == "kinds"} == set(KINDS)
    dtypes = {row["dtype"] for row in rows if row["part"] == "dtypes"}
    assert dtypes == {"float32", "bfloat16", "float16", "float64"}
    assert {row["op"] for row in rows if row["part"] == "aligned"} == {"aligned_iou"}
    assert {row["provider"] for row in rows if row["part"] == "versions"} == {"kernel_naive"}
    assert all(row["peak_mb"] for row in rows if row["part"] == "memory")


@pytest.mark.slow
def test_plot_makes_a_picture(measured, tmp_path):
    done = run("plot", f"--rows={measured[0]}", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "box-iou-time.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("mode", (pytest.param("full", marks=pytest.mark.slow), "forward"))
@pytest.mark.parametrize(("op", "K"), (("pairwise_iou", 5), ("aligned_iou", 1)))
def test_every_provider_computes_the_overlaps(op, K, mode):
    """Each but the floors gives the fused op's overlaps and gradients."""
    case = Case(2, 7, K, mode, op, "giou")
    wanted = make("fused_op", case)()
    assert len(wanted) == (3 if mode == "full" else 1)
    for name in PROVIDERS:
        if name in FLOORS:
            continue
        try:
            outputs = make(name, case)()
        except Unavailable:
            missing = name.removeprefix("kernel_") not in kernels.box_iou_versions()
            assert missing or (op == "aligned_iou" and name.endswith("_strong"))
            continue
        for output, want in zip(outputs, wanted, strict=True):
            np.testing.assert_allclose(output, want, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOORS)
def test_floors_have_the_shapes_of_the_op(name):
    outputs = make(name, Case(2, 7, 5))()
    assert [tuple(output.shape) for output in outputs] in ([(2, 7, 5)], [(2, 7, 5), (2, 7, 4)])


@pytest.mark.each_value
@pytest.mark.parametrize("xla", (False, True))
@pytest.mark.parametrize("kind", KINDS)
def test_strong_form_is_the_reference(kind, xla):
    def value_and_gradients(function, a, b, upstream):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            iou = function(a, b, kind=kind)
        return iou, *tape.gradient(iou, (a, b), output_gradients=upstream)

    def reference(a, b, kind):
        return ops.pairwise_iou(a, b, kind=kind, impl="reference")

    arrays = random_boxes(2, 9), random_boxes(2, 6, seed=1), random_upstream((2, 9, 6))
    compute = tf.function(value_and_gradients, jit_compile=xla)
    results = compute(strong_iou.pairwise_iou, *map(tf.constant, arrays))
    wanted = value_and_gradients(reference, *map(tf.constant, arrays))
    for result, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-9, atol=1e-12)


def test_strong_form_keeps_empty_boxes_and_dtypes():
    points = tf.constant([[1, 1, 1, 1], [2, 3, 2, 3]], tf.bfloat16)
    for kind in ("iou", "giou", "diou", "ciou"):
        got = strong_iou.pairwise_iou(points, points, kind)
        want = ops.pairwise_iou(points, points, kind=kind, impl="reference")
        assert got.dtype == tf.bfloat16
        np.testing.assert_array_equal(got, want)


def _row(provider, value, column="median_us", **which):
    row = {"part": "time", "N": 1, "M": 4096, "K": 4096, "mode": "forward", "op": "pairwise_iou"}
    return {**row, "kind": "iou", "dtype": "float32", "provider": provider, column: value, **which}


def test_targets_are_judged():
    rows = [_row("fused", 10.0), _row("xla", 25.0), _row("tf_function", 200.0)]
    rows += [_row("xla", 1.0, kind="giou"), _row("xla", 1.0, dtype="float64")]  # not the usual ones
    rows += [_row("fused", 3.0, "peak_mb", part="memory", mode="full", output_mb=2.0)]
    small = {"N": 16, "M": 98, "K": 20}
    rows += [_row("xla", 3.0, **small), _row("fused_xla", 2.0, **small)]
    lines = box_iou_targets.table(rows)
    large = "1x4096x4096, forward"
    assert (f"{large}, xla / fused", "at least 2", "2.5", "met") in lines
    missed = "missed by a factor of 1.25"
    assert (f"{large}, tf_function / fused", "at least 25", "20", missed) in lines
    case = "1x4096x4096, full, extra memory / results"
    assert (case, "at most 1.15", "1.5", "missed by a factor of 1.30") in lines
    assert ("16x98x20, forward, xla / fused_xla", "at least 1", "1.5", "met") in lines
    assert ("8x2048x512, full, xla / fused", "at least 12", "-", "not measured") in lines
