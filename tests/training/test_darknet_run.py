"""Runs of a Darknet network, trained as Darknet trains; and runs that start from others."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import programs
from tests.shared import ROOT
from tests.small_cfg import POOL, convolution, section
from tests.training.small_runs import assert_same_bits, final_state, rows
from yolov1.training import RunDirectory, load_run

pytestmark = pytest.mark.usefixtures("no_report")

NET = {"batch": 8, "subdivisions": 2, "height": 64, "width": 64, "channels": 3, "momentum": 0.8}
NET |= {"decay": 0.001, "hue": ".1", "saturation": ".75", "exposure": 1.5, "learning_rate": 0.002}
NET |= {"policy": "steps", "steps": "4,14", "scales": "2.5,.1"}
DETECTION = {"coords": 4, "rescore": 1, "side": 4, "num": 2, "sqrt": 1, "jitter": ".2"}
DETECTION |= {"noobject_scale": ".25", "coord_scale": 5}


def network(classes) -> str:
    sections = (
        section("net", **NET),
        *(convolution(8, batch_normalize=1), POOL),
        *(convolution(16, batch_normalize=1), POOL),
        section("dropout", probability=".3"),
        section("connected", output=16 * (classes + 10), activation="linear"),
        section("detection", classes=classes, **DETECTION),
    )
    return "# kept\n" + "\n".join(sections)


def cfg_of(folder, classes=3):
    path = folder / f"shapes{classes}.cfg"
    path.write_text(network(classes))
    return path


def arguments(output_dir, cfg, classes=3, **values):
    choice = f"darknet:{cfg}"
    values = {
        "dataset": f"shapes:count=32,classes={classes}",
        "model": choice,
        "optimizer": "darknet",
        "schedule": choice,
        "augment": choice,
        "batch_size": 8,
        "subdivisions": 2,
        "epochs": 4,
        "clip_norm": 0,
        "eval_every": 0,
        "output_dir": output_dir,
    } | values
    return [f"--{name}={value}" for name, value in values.items()]


def run(*parts, **values):
    done = programs.call("experiments.train", *arguments(*parts, **values))
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("darknet")
    cfg = cfg_of(folder)
    code, said = run(folder / "whole", cfg)
    assert code == 0, said
    return folder / "whole", cfg


def test_it_learns_by_the_files_numbers(whole):
    path, cfg = whole
    losses = [float(row["loss"]) for row in rows(path)]
    assert losses[-1] < 0.5 * losses[0]
    rates = [float(row["learning_rate"]) for row in rows(path)]  # of the batch after the epoch
    np.testing.assert_allclose(rates, [0.005, 0.005, 0.005, 0.0005], rtol=1e-6)
    config = json.loads((path / "config.json").read_text())["config"]
    expected = {"S": 4, "B": 2, "image_size": 64, "activations": "linear", "semantics": "darknet"}
    expected |= {"semantics_options": "weight_no_object=0.25", "learning_rate": 0.002}
    expected |= {"weight_decay": 0.001, "warmup_epochs": 0.0, "model": "darknet:network.cfg"}
    expected |= {
        "resize": "darknet",
        "schedule": "darknet:schedule.cfg",
        "augment": "darknet:augment.cfg",
    }
    assert {name: config[name] for name in expected} == expected
    for name in ("network", "schedule", "augment"):
        assert (path / f"{name}.cfg").read_text() == cfg.read_text()


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits_with_the_same_command(whole, tmp_path):
    """The rates are by batches: those of a run that was to be shorter are those of the longer."""
    path, cfg = whole
    code, said = run(tmp_path / "run", cfg, epochs=2)
    assert code == 0, said
    code, said = run(tmp_path / "run", cfg, resume="true")
    assert code == 0, said
    assert "--resume: epochs 2 -> 4\n" in said
    assert_same_bits(final_state(path), final_state(tmp_path / "run"))
    assert [row["loss"] for row in rows(path)] == [row["loss"] for row in rows(tmp_path / "run")]

    other = cfg_of(tmp_path)
    other.write_text(other.read_text().replace("decay=0.001", "decay=0.01"))
    code, said = run(tmp_path / "run", other, resume="true")
    assert code != 0 and "own --augment=darknet:augment.cfg, got 'darknet:" in said


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_bits(whole, tmp_path):
    path, cfg = whole
    command = [sys.executable, "-m", "experiments.train"]
    killed = [*command, *arguments(tmp_path / "run", cfg, checkpoint_minutes=0.0001)]
    process = subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (tmp_path / "run/checkpoints/last/checkpoint").exists():
            time.sleep(0.05)
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "run/summary.json").exists()
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "run", moved)
    subprocess.run([*command, f"--output_dir={moved}", "--resume"], cwd=ROOT, check=True)
    assert_same_bits(final_state(path), final_state(moved))


def test_a_moved_run_is_loaded(whole, tmp_path, monkeypatch):
    path, _ = whole
    model, _ = load_run(path)
    shutil.copytree(path, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    again, loaded = load_run("moved")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.semantics.weight_no_object == 0.25
    done = programs.call("experiments.evaluate", f"--checkpoint={tmp_path / 'moved'}")
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "moved/network.cfg").unlink()
    with pytest.raises(ValueError, match="--model=darknet:network.cfg: .*network.cfg"):
        load_run("moved")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"S": 7}, "--S must be 4, as the cfg file says, got 7"),
        ({"activations": "softmax"}, "--activations must be 'linear', as the cfg file says"),
        ({"learning_rate": 0.1}, "--learning_rate must be 0.002, as the cfg file says, got 0.1"),
        ({"model": "darknet:absent.cfg"}, "absent.cfg: No such file"),
        ({"dataset": "shapes:count=4,classes=2"}, "classes=3, the data has 2: circle, square. "),
        ({"subdivisions": 3}, "--subdivisions must be at least 1, and divide --batch_size=8"),
    ],
)
def test_flags_that_say_otherwise_than_the_file(values, message, tmp_path):
    code, said = run(tmp_path / "run", cfg_of(tmp_path), **values)
    assert code != 0 and message in said, said
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.slow
def test_the_losss_weights_are_the_files_unless_they_are_given(tmp_path):
    values = {"epochs": 1, "dataset": "shapes:count=8,classes=3"}
    for name, value, expected in (
        ("semantics", "paper", ("paper", "")),
        ("semantics_options", "weight_xy=1", ("darknet", "weight_xy=1")),
    ):
        code, said = run(tmp_path / name, cfg_of(tmp_path), **values | {name: value})
        assert code == 0, said
        config, _, _ = RunDirectory(tmp_path / name).read_config()
        assert (config.semantics, config.semantics_options) == expected


# ------------------------------------------------------------------ --init


@pytest.mark.slow
def test_what_fits_of_another_run_is_taken(whole, tmp_path):
    """Two classes of the three: all but the last layer fits. Nothing moves in no step's time."""
    path, cfg = whole
    flags = {"epochs": 1, "dataset": "shapes:count=8,classes=2", "learning_rates": "0:1e-30"}
    flags |= {"init": path, "schedule": "constant", "weight_decay": 0, "ema": 0.9}
    code, said = run(tmp_path / "run", cfg_of(tmp_path, 2), 2, **flags)
    assert code == 0, said
    assert f"--init={path}: 4 of 5 layers have its weights\n" in said
    assert "  not l05_connected: weights of [(256, 208), (208,)], here [(256, 192), (192,)]" in said
    model, _ = load_run(path)
    started, _ = load_run(tmp_path / "run")
    for layer in model.layers:
        if layer.name != "l05_connected":
            same = started.get_layer(layer.name).trainable_weights
            for v, w in zip(layer.trainable_weights, same, strict=True):
                np.testing.assert_array_equal(v, w, err_msg=v.path)


@pytest.mark.slow
def test_a_schedule_goes_on_where_the_weights_stood_where_that_is_said(whole, tmp_path):
    path, cfg = whole
    shutil.copytree(path, tmp_path / "imported")
    (tmp_path / "imported/darknet.json").write_text('{"seen": 112}')
    flags = {"epochs": 1, "dataset": "shapes:count=8,classes=3", "init": tmp_path / "imported"}
    for seen, rate in ((0, 0.002), (112, 0.0005)):  # 14 batches of 8
        code, said = run(tmp_path / str(seen), cfg, seen=seen, **flags)
        assert code == 0, said
        np.testing.assert_allclose(float(rows(tmp_path / str(seen))[0]["learning_rate"]), rate)
        assert ("--seen=112 goes on where it stood" in said) == (seen == 0)


def test_starts_that_are_refused(whole, tmp_path):
    path, cfg = whole
    for values, message in (
        ({"init": tmp_path / "absent"}, "absent holds no run: config.json is missing"),
        (
            {"init": path, "model": "laptop"},
            f"--init={path} was trained for --model=darknet:network.cfg, expected laptop",
        ),
        ({"init": path, "backbone": path}, "--init must be empty with --backbone"),
        ({"backbone": path}, "is a run of the task 'detect', expected 'classify'"),
    ):
        if values.get("model") == "laptop":
            values |= {"schedule": "constant", "augment": "none"}
        code, said = run(tmp_path / "run", cfg, **values)
        assert code != 0 and message in said, said
        assert not (tmp_path / "run/config.json").exists()
    other = cfg_of(tmp_path)
    text = other.read_text().replace("filters=8", "filters=4").replace("filters=16", "filters=6")
    other.write_text(text)
    code, said = run(tmp_path / "run", other, init=path)
    assert code != 0 and "no layer of the same name and shapes in common" in said, said


@pytest.mark.slow
def test_two_devices_in_parts_equal_one_in_one(tmp_path):
    """Without batch normalisation: of eight images, two replicas take two parts of two each."""
    flags = {"model": "fast", "model_options": "dropout=0", "image_size": 64, "S": 2, "ema": 0}
    flags |= {"schedule": "constant", "warmup_epochs": 0, "augment": "darknet", "epochs": 2}
    one, two = (
        arguments(tmp_path / "one", "", **flags | {"subdivisions": 1}),
        arguments(tmp_path / "two", "", **flags | {"strategy": "mirrored"}),
    )
    done = programs.call("experiments.train", *one)
    assert done.returncode == 0, done.stdout + done.stderr
    module = [sys.executable, "-m", "tests.training.two_devices"]
    subprocess.run([*module, *two], cwd=ROOT, check=True)
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        np.testing.assert_allclose(float(a["loss"]), float(b["loss"]), rtol=1e-5)
    a, b = (load_run(tmp_path / name)[0].get_weights() for name in ("one", "two"))
    for v, w in zip(a, b, strict=True):
        np.testing.assert_allclose(v, w, rtol=0, atol=1e-5 * max(np.abs(v).max(), 1e-3))
    both = ["--model=laptop", "--model_options=synchronized=true", f"--output_dir={tmp_path / 'x'}"]
    done = subprocess.run([*module, *two, *both], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot share batch statistics" in done.stderr, done.stderr
