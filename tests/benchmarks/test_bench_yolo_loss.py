"""The benchmark of the loss runs, judges its own rows rightly, and its rows can be drawn."""

import numpy as np
import pytest

from benchmarks import bench_yolo_loss, harness, plot, runner, yolo_loss_targets
from benchmarks.providers import Unavailable
from benchmarks.yolo_loss_providers import PROVIDERS, Case, make, make_copies
from tests.benchmarks.running import rows_of, run
from yolov1 import kernels


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The file of the rows of a run of every part at a tiny size, and the rows."""
    path = tmp_path_factory.mktemp("bench") / "rows.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "COPIES", (1, 2))  # each is traced by itself
        providers = "tf_function,fused,fused_op,noop_op,noop_function,outputs_only,kernel_naive"
        options = ("--batches=1", "--repeats=2", "--turn_ms=0.1", f"--providers={providers}")
        rows, printed = rows_of(path, "bench_yolo_loss", *options)
    assert "N=1, one op call / no-op" in printed
    return path, rows


@pytest.mark.slow
def test_bench_writes_rows_of_every_part(measured):
    rows = measured[1]
    assert {row["part"] for row in rows} == set(bench_yolo_loss.PARTS)
    timed = {row["provider"]: row for row in rows if row["part"] == "time"}
    names = {"tf_function", "fused", "fused_op", "noop_op", "noop_function"}
    assert set(timed) == names | {"copy", "copy_non_temporal"}
    assert all(float(row["median_us"]) > 0 and row["repeats"] == "2" for row in timed.values())
    moved = Case(1).bytes_moved
    for row in timed.values():
        gb_per_s = moved / float(row["median_us"]) / 1e3
        assert float(row["gb_per_s"]) == pytest.approx(gb_per_s, rel=0.1, abs=0.01)
    assert all(row["device"] and row["revision"] and row["date"] for row in rows)
    halves = {(row["dtype"], row["targets_dtype"]) for row in rows if row["part"] == "dtypes"}
    assert {("bfloat16", "float32"), ("bfloat16", "bfloat16")} <= halves


def test_unknown_part_is_refused():
    done = run("bench_yolo_loss", "--parts=tme")
    assert done.returncode != 0
    assert "must be some of time, marginal" in done.stderr


@pytest.mark.slow
def test_plot_makes_pictures(measured, tmp_path):
    done = run("plot", f"--rows={measured[0]}", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    for name in ("time", "bandwidth"):
        assert (tmp_path / f"yolo-loss-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_plot_takes_the_newest_run_and_its_later_rows(tmp_path):
    row = {"part": "time", "provider": "fused", "images": 1, "mode": "full", "objects": 0.06}
    row |= {"dtype": "float32", "targets_dtype": "float32", "device": "d", "date": "1"}
    values = [("old", 1), ("new", 2), ("new", 3)]
    harness.write_rows(tmp_path / "rows.csv", [row | {"revision": r, "us": v} for r, v in values])
    assert [r["us"] for r in plot.newest_run(tmp_path / "rows.csv")] == ["3"]


@pytest.mark.slow
def test_every_provider_computes_the_loss():
    """Each but the floors and the posts gives the fused op's loss, in one call and in copies."""
    case = Case(2, objects=0.5)
    want_loss, _, want_gradient = make("fused_op", case)()
    total = float(np.sum(want_loss) + np.sum(want_gradient))
    for name, (_, way) in PROVIDERS.items():
        if name.startswith(("noop", "outputs", "posts")):
            continue
        try:
            outputs = make(name, case)()
        except Unavailable:
            assert name.removeprefix("kernel_") not in kernels.yolo_loss_versions()
            continue
        np.testing.assert_allclose(outputs[0], want_loss, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(outputs[-1], want_gradient, rtol=1e-4, atol=1e-5, err_msg=name)
        if way in ("eager", "numpy"):
            with pytest.raises(ValueError, match="expected one with a graph"):
                make_copies(name, case, 2)
        else:
            np.testing.assert_allclose(make_copies(name, case, 3)(), 3 * total, rtol=1e-4)


def _row(provider, microseconds, **which):
    case = {"mode": "full", "objects": 0.06, "dtype": "float32", "targets_dtype": "float32"}
    case |= {"part": "time", "images": 64}
    return {**case, "provider": provider, "median_us": microseconds, **which}


def test_targets_are_judged():
    rows = [_row("fused_op", 20.0), _row("noop_op", 10.0)]
    rows += [
        _row("fused_op", 5.0, part="objects"),
        _row("fused_op", 10.0, part="objects", objects=0.5),
    ]
    costs = {"fused": 30.0, "tf_function": 900.0, "noop_function": 20.0, "outputs_only": 10.0}
    rows += [_row(name, cost, part="marginal") for name, cost in costs.items()]
    lines = [line[1:] for line in yolo_loss_targets.table(rows)]
    assert ("at most 1.8", "2", "missed by a factor of 1.11") in lines
    assert ("at most 2.5", "2", "met") in lines
    assert ("at least 25", "30", "met") in lines
    assert ("at most 2", "1.5", "met") in lines
    assert ("", "44.5", "") in lines  # (900 - 10) / (30 - 10)
    assert ("at least 60", "-", "not measured") in lines
