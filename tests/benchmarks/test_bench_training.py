"""The benchmark of a whole training step: its parts are those of the step, and add up to it."""

import dataclasses
import sys

import keras
import numpy as np
import pytest

from benchmarks import bench_training, photos
from benchmarks.providers import Unavailable
from benchmarks.training_providers import PROVIDERS, Case, Setup, _Clock
from tests.benchmarks.running import rows_of, run
from yolov1 import data
from yolov1.data.formats.voc import VOC_CLASSES
from yolov1.training import TrainConfig

CASE = Case("laptop", 64, 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    photos.write_photos(folder, 2)
    return data.Dataset(list(data.open(f"voc:{folder}")), VOC_CLASSES)


def setup(dataset):
    keras.utils.set_random_seed(0)
    return Setup(CASE, TrainConfig(), dataset)


@pytest.mark.slow
def test_bench_writes_rows_of_every_part(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # whether it is installed or not
    options = ("--debug", "--files=2", "--cases=laptop:64:2")
    rows, printed = rows_of(tmp_path / "rows.csv", "bench_training", *options)
    assert "left out: posts_fit: the posts read images with OpenCV; run: pip install" in printed
    assert "laptop, 64 px, batches of 2: ours / ceiling" in printed
    assert printed.count("loss cost nothing, a step would be ") == 2
    found = {part: {r["name"] for r in rows if r["part"] == part} for part in ("speed", "split")}
    assert found["speed"] == {"ceiling", "ours", "ours_reference"}
    inputs = {"waiting for input", "input beside a step"}
    assert found["split"] == {*bench_training.DIFFERENCES, *inputs, "checkpoint", "evaluation"}
    by_name = {row["name"]: row for row in rows}
    assert float(by_name["ceiling"]["ratio_median"]) == 1
    assert all(float(row["median"]) > 0 for row in rows if row["part"] != "split")
    speed = by_name["ours"]
    assert float(speed["q20"]) <= float(speed["median"]) <= float(speed["q80"])


def test_the_parts_add_up_to_a_step():
    rng = np.random.default_rng(0)
    seconds = {name: rng.random((5, 3)) for name in PROVIDERS}
    parts = bench_training.parts_of(seconds)
    np.testing.assert_allclose(sum(parts.values()), seconds["ours"][:, :2])
    assert not parts["waiting for input"][:, 1].any()
    assert list(bench_training.parts_of({"network": seconds["network"]})) == ["forward + backward"]
    some = {name: seconds[name] for name in ("network_loss", "ours")}
    assert list(bench_training.parts_of(some)) == ["waiting for input"]


def test_the_target_is_judged():
    row = {"part": "speed", "model": "fast", "image_size": 448, "batch_size": 4}
    rows = [
        row | {"name": "ceiling", "ratio_median": 1.0, "cpu_ms": 18.0},
        row | {"name": "ours", "ratio_median": 0.97, "cpu_ms": 20.0},
        row | {"part": "split", "name": "loss", "ratio_median": 0.01, "cpu_ms": 1.0},
    ]
    case = "fast, 448 px, batches of 4: "
    assert bench_training.verdicts(rows)[1:] == [
        (f"{case}ours / ceiling", "at least 0.97", "0.97", "met"),
        (f"{case}the same by CPU time", "", "0.9", ""),
    ]
    assert bench_training.verdicts(rows[1:])[1:] == []


def test_rounds_that_differ_are_noisy():
    row = {"part": "speed", "name": "ours", "ratio_q20": 0.9}
    for q80, noisy in ((0.99, False), (1.01, True)):
        assert bench_training.too_noisy([row | {"ratio_q80": q80}]) == noisy
    assert not bench_training.too_noisy([row | {"name": "posts_fit", "ratio_q80": 2.0}])


@pytest.mark.slow
def test_every_provider_takes_the_steps_that_it_says(dataset):
    """`update` and the loop change the weights alike, what comes before them changes none but the
    batch statistics; and the loop counts its steps."""
    weights = {}
    for name in ("network_loss", "update", "loop"):
        made = setup(dataset)
        before = [w.numpy() for w in made.state.model.trainable_variables]
        seconds, cpu, waiting = PROVIDERS[name](made)(1, 2)
        assert seconds > waiting >= 0 and cpu > 0
        weights[name] = [w.numpy() for w in made.state.model.trainable_variables]
        same = [np.array_equal(a, b) for a, b in zip(before, weights[name], strict=True)]
        assert all(same) == (name == "network_loss")
        assert int(made.state.progress.step.numpy()) == (3 if name == "loop" else 0)
        made.close()
    for one, other in zip(weights["update"], weights["loop"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_the_posts_train(dataset):
    pytest.importorskip("cv2")
    made = setup(dataset)
    before = made.state.model.trainable_variables[0].numpy()
    turn = PROVIDERS["posts_fit"](made)
    for _ in range(2):
        assert turn(1, 2)[0] > 0
    assert not np.array_equal(before, made.state.model.trainable_variables[0].numpy())
    made.close()


def test_the_posts_need_files(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    drawn = setup(data.open("shapes:count=2", image_size=64))
    with pytest.raises(Unavailable, match="images that are no files"):
        PROVIDERS["posts_fit"](drawn)
    drawn.close()


def test_untimed_steps_are_not_in_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: now[0] / 2)
    clock = _Clock(2, lambda: now[0] / 4)
    for batch, seconds in enumerate((100.0, 50.0, 3.0, 5.0)):
        now[0] += seconds
        clock.on_train_batch_end(batch)
    assert clock.step() == (4.0, 2.0, 1.0)


def test_cases():
    assert Case.parse("applications:MobileNetV2:96:4") == Case("applications:MobileNetV2", 96, 4)
    assert dataclasses.astuple(Case.parse("fast:448:8")) == ("fast", 448, 8)
    done = run("bench_training", "--cases=fast:448")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--cases must be NETWORK:PIXELS:BATCH with commas between them" in done.stderr
