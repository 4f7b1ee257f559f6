"""The loop: what it tells, what it writes, and that a run is a function of its seed."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small_cfg import CFG
from tests.training.small_runs import (
    TINY,
    final_state,
    finish,
    rows,
    run,
    start,
)
from yolov1 import data
from yolov1.training import (
    NonFiniteLoss,
    RunDirectory,
    TrainConfig,
    load_run,
    read_workload,
    train,
)
from yolov1.training.state import epoch_end_steps


def test_a_run_writes_everything_and_says_where(whole):
    path, output = whole
    expected = {"config.json", "metrics.csv", "summary.json", "evaluation.json", "dataset.json"}
    expected |= {"checkpoints", "tensorboard", "pictures", "report.html", "model.keras"}
    assert expected <= {p.name for p in path.iterdir()}
    assert len(list((path / "pictures").glob("*.jpg"))) == 12
    assert any((path / "tensorboard").iterdir())
    assert str(path / "report.html") in output and str(path / "pictures") in output
    summary = json.loads((path / "summary.json").read_text())
    wanted = {"map_voc07", "map_area", "map_coco", "ap_per_class", "images_per_second", "seconds"}
    assert wanted <= set(summary)
    last = float(rows(path)[-1]["responsible_iou"])
    assert 0 < last == pytest.approx(summary["responsible_boxes"]["iou"], abs=1e-6)
    header = (path / "metrics.csv").read_text().splitlines()[0]
    assert header.startswith("epoch,step,seconds,images_per_second,learning_rate,loss,xy,wh,object")
    assert header.endswith("evaluation_seconds,checkpoint_seconds,other_seconds")
    assert [r["epoch"] for r in rows(path)] == ["1", "2", "3", "4"]
    assert [bool(r["map_voc07"]) for r in rows(path)] == [False, True, False, True]
    terms = [
        sum(float(r[t]) for t in ("xy", "wh", "object", "no_object", "class")) for r in rows(path)
    ]
    np.testing.assert_allclose([float(r["loss"]) for r in rows(path)], terms, rtol=1e-6)


def test_the_rows_say_where_the_time_went(whole):
    """Evaluation where there was one; the checkpoint at the end, which comes after the last row,
    in that row; and all parts together are the time of the loop."""
    with (whole[0] / "metrics.csv").open(newline="") as file:
        spent = [{k: float(v or 0) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["evaluation_seconds"] > 0 for row in spent] == [False, True, False, True]
    assert spent[0]["checkpoint_seconds"] == 0 < spent[-1]["checkpoint_seconds"]
    assert all(0 <= row["other_seconds"] < 5 for row in spent)


def test_an_existing_run_is_never_overwritten(whole):
    code, output = run(whole[0])
    assert code != 0 and "already holds a run" in output


def test_resume_refuses_flags_that_would_change_the_numbers(whole):
    code, output = run(whole[0], resume="true", learning_rate=0.5)
    assert code != 0
    assert "--resume goes on with the run's own --learning_rate=0.001, got 0.5" in output


def test_load_run_gives_the_averaged_weights_that_were_measured(whole):
    model, run = load_run(whole[0])
    assert run.classes[0] == "circle" and run.semantics.wh == "predict_sqrt"
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    saved = keras.models.load_model(whole[0] / "model.keras")
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), saved.predict(images, verbose=0)
    )
    with pytest.raises(ValueError, match="'best' or 'last', got 'first'"):
        load_run(whole[0], "first")


@pytest.mark.slow
def test_mirrored_over_two_devices_equals_one(tmp_path):
    """Two virtual CPUs. Synchronised batch statistics; sums in another order: equal to 1e-4."""
    # The limit is below the norm of every gradient here: clipping must see the whole, too.
    flags = {"model_options": "width=0.34,synchronized=true", "eval_every": 0, "epochs": 2}
    flags |= {"clip_norm": 0.5, "optimizer": "sgd", "learning_rate": 0.02}
    flags["capture_steps"] = "0,1"
    kept = {name: tmp_path / f"{name}.npz" for name in ("one", "two")}
    module = "tests.training.two_devices"
    mirrored = flags | {"strategy": "mirrored", "capture": kept["two"]}
    two = start(tmp_path / "two", module=module, **mirrored)
    code, output = run(tmp_path / "one", capture=kept["one"], **flags)
    assert code == 0, output
    finish(two)
    a, b = rows(tmp_path / "one"), rows(tmp_path / "two")
    np.testing.assert_allclose(
        [float(r["loss"]) for r in a], [float(r["loss"]) for r in b], rtol=1e-4
    )
    expected, found = final_state(tmp_path / "one"), final_state(tmp_path / "two")
    for name in (n for n in expected if n.startswith("model") and "ATTRIBUTES" in n):
        if expected[name].dtype == np.float32:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=5e-3, atol=5e-4, err_msg=name
            )
    steps = [read_workload(kept[name]).steps for name in ("one", "two")]
    assert [list(kept_steps) for kept_steps in steps] == [[0, 1]] * 2
    for one, other in zip(*(kept_steps.values() for kept_steps in steps), strict=True):
        np.testing.assert_array_equal(one[1], other[1])  # all images, in their order
        np.testing.assert_allclose(one[0].mean((1, 2, 3)), other[0].mean((1, 2, 3)), rtol=0.2)


@pytest.mark.slow
def test_two_devices_that_accumulate_equal_one(tmp_path):
    """Batches of parts on each device; without batch statistics, but for the order of sums."""
    plain = CFG.replace("batch_normalize=1\n", "").replace("probability=.3", "probability=0")
    (tmp_path / "small.cfg").write_text(plain)
    flags = {"model": f"darknet:{tmp_path / 'small.cfg'}", "model_options": "", "eval_every": 0}
    flags |= {"clip_norm": 0.5, "optimizer": "sgd", "learning_rate": 0.02}
    accumulating = flags | {"strategy": "mirrored", "batch_size": 4, "accumulate": 2}
    finish(start(tmp_path / "two", module="tests.training.two_devices", **accumulating))
    finish(start(tmp_path / "one", batch_size=8, **flags))
    a, b = (final_state(tmp_path / name) for name in ("one", "two"))
    for name in (n for n in a if n.startswith("model") and a[n].dtype == np.float32):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert rows(tmp_path / "one")[-1]["loss"][:5] == rows(tmp_path / "two")[-1]["loss"][:5]


def test_non_finite_loss_names_step_term_and_image(tmp_path, monkeypatch):
    dataset = data.open("shapes:count=4", image_size=32)
    config = TrainConfig(**TINY | {"batch_size": 4, "epochs": 2})
    batches = data.training_batches

    def broken(dataset, grid, batch_size, **options):
        """The width of image 2's objects is not a number."""
        width = tf.one_hot(grid.C + 3, grid.target_channels, on_value=np.nan, off_value=0.0)

        def break_one(images, targets, indices):
            bad = (indices == 2)[:, None, None] & (targets[..., grid.C] > 0)
            return images, tf.where(bad[..., None], targets + width, targets), indices

        return batches(dataset, grid, batch_size, **options).map(break_one)

    monkeypatch.setattr(data, "training_batches", broken, raising=False)
    with pytest.raises(NonFiniteLoss) as error:
        train(config, dataset, RunDirectory(tmp_path))
    text = str(error.value)
    assert "at step 0" in text and "wh of image 'train-00002' is nan" in text
    assert "train-00001" not in text


def test_user_callbacks_run_and_can_stop(tmp_path):
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, set(logs)))

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    dataset = data.open("shapes:count=8", image_size=32)
    config = TrainConfig(**TINY | {"batch_size": 4})
    state = train(config, dataset, RunDirectory(tmp_path), callbacks=[Stop()])
    assert [batch for batch, _ in seen] == [0, 1, 2, 3]
    assert {"loss", "xy", "class", "learning_rate", "images_per_second"} <= seen[0][1]
    assert int(state.progress.step.numpy()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns(tmp_path, precision):
    dataset = data.open("shapes:count=8", image_size=32)
    values = {"batch_size": 8, "epochs": 12, "augment": "none"}
    values |= {"precision": precision, "warmup_epochs": 0.0, "eval_every": 0}
    values["model_options"] = "width=0.34,depth=0"
    try:
        state = train(TrainConfig(**TINY | values), dataset, RunDirectory(tmp_path))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert np.isfinite(losses).all() and losses[-1] < 0.95 * losses[0]
    assert {v.dtype for v in state.model.trainable_variables} == {"float32"}
    assert state.model.layers[-1].compute_dtype == "float32"


@pytest.mark.slow
def test_compiled_step_equals_the_plain_one(tmp_path):
    dataset = data.open("shapes:count=8", image_size=32)
    values = {"batch_size": 8, "epochs": 3, "model_options": "width=0.34", "eval_every": 0}
    for jit in (False, True):
        config = TrainConfig(**TINY | values | {"jit_compile": jit})
        train(config, dataset, RunDirectory(tmp_path / str(jit)))
    plain, compiled = rows(tmp_path / "False"), rows(tmp_path / "True")
    np.testing.assert_allclose(
        [float(row["loss"]) for row in compiled], [float(row["loss"]) for row in plain], rtol=1e-3
    )


@pytest.mark.slow
def test_batch_must_divide_by_the_replicas(tmp_path):
    process = start(
        tmp_path / "run", module="tests.training.two_devices", strategy="mirrored", batch_size=7
    )
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "--batch_size must be a multiple of the 2 replicas, got 7" in output


@pytest.mark.parametrize(
    ("examples", "batch", "expected"),
    [(20, 8, [2, 5, 8, 10]), (8, 8, [1, 2, 3, 4]), (3, 8, [1, 2, 3, 4]), (12, 8, [2, 3, 4, 6])],
)
def test_epoch_ends(examples, batch, expected):
    assert epoch_end_steps(examples, batch, 4) == expected
