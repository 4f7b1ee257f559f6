"""A classifier on a tree of classes, and a detector that starts from it."""

import json

import numpy as np
import pytest
from PIL import Image

from yolov1 import data
from yolov1.training import load_run

OPTIONS = "--model_options=width=0.34"


@pytest.fixture(scope="module")
def backbone(call_experiment, tmp_path_factory):
    """(run directory, its output) of a classifier on the crops of drawn shapes."""
    folder = tmp_path_factory.mktemp("pretrain")
    for split in ("train", "val"):
        done = call_experiment(
            "crop_objects", "--dataset=shapes:count=120", f"--split={split}", "--image_size=112",
            "--min_side=16", f"--output_dir={folder / 'crops'}",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    done = call_experiment(
        "pretrain", f"--dataset=folders:{folder / 'crops'}", OPTIONS, "--image_size=32",
        "--epochs=30", "--batch_size=16", "--eval_every=10", "--augment=none",
        "--learning_rate=4e-3", f"--output_dir={folder / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", done.stdout


@pytest.mark.slow
def test_it_learns_to_classify(backbone):
    run, output = backbone
    summary = json.loads((run / "summary.json").read_text())
    assert summary["accuracy"] > 0.5  # of six shapes
    assert summary["best_accuracy"] >= summary["accuracy"] - 0.2
    assert 0 < summary["val_loss"] < np.log(6) and len(summary["accuracy_per_class"]) == 6
    assert f"accuracy {summary['accuracy']:.4f}" in output
    assert (run / "report.html").exists() and (run / "model.keras").exists()
    rows = data.open("shapes:count=1").classes
    assert list(summary["accuracy_per_class"]) == sorted(rows)


@pytest.mark.slow
def test_a_detector_starts_from_it(backbone, call_experiment, tmp_path):
    run, _ = backbone
    arguments = ("--dataset=shapes:count=16", OPTIONS, "--image_size=64", "--S=2", "--epochs=1")
    # A learning rate of next to nothing, and no batch statistics moved: the weights show.
    classifier, _ = load_run(run, task="classify")
    for flag, path in (("backbone", tmp_path / "run"), ("init", tmp_path / "init")):
        done = call_experiment(
            "train", *arguments, f"--{flag}={run}", "--learning_rate=1e-12", "--ema=0",
            f"--output_dir={path}",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        detector, _ = load_run(path)
        for name in ("stage1", "stage3"):
            np.testing.assert_allclose(
                detector.get_layer(name).kernel, classifier.get_layer(name).kernel, atol=1e-6
            )
    done = call_experiment(
        "train", *arguments, f"--backbone={run}", "--model_options=width=1",
        f"--output_dir={tmp_path / 'other'}",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Give both the same --model" in said
    assert "The backbone has --model_options=width=0.34, this run width=1." in said
    assert "Traceback" not in done.stderr
    done = call_experiment(
        "train", "--dataset=shapes:count=16", "--model=fast", f"--backbone={run}",
        f"--output_dir={tmp_path / 'fast'}",
    )  # fmt: skip
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "was pretrained for --model=laptop, expected fast" in done.stdout + done.stderr
    done = call_experiment(
        "train", *arguments, f"--backbone={tmp_path / 'run'}", f"--output_dir={tmp_path / 'third'}"
    )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "is a run of the task 'detect', expected 'classify'" in done.stdout + done.stderr
    assert not (tmp_path / "third" / "config.json").exists()


@pytest.mark.slow
def test_a_classifier_is_no_detector(backbone, call_experiment, tmp_path):
    run, _ = backbone
    done = call_experiment("evaluate", f"--checkpoint={run}", f"--output_dir={tmp_path}")
    assert done.returncode != 0
    assert "is a run of the task 'classify', expected 'detect'" in done.stdout + done.stderr
    with pytest.raises(ValueError, match="expected 'classify'"):
        load_run(_detector(tmp_path), task="classify")


def _detector(folder):
    from yolov1.training import RunDirectory, TrainConfig

    run = RunDirectory(folder / "detector")
    run.create(resume=False)
    run.write_config(TrainConfig(), TrainConfig().grid(2), ("a", "b"))
    return run.path


def test_images_with_several_boxes_have_no_class(call_experiment, tmp_path):
    done = call_experiment(
        "pretrain", "--dataset=shapes:count=8", "--debug", f"--output_dir={tmp_path / 'run'}"
    )
    assert done.returncode != 0
    assert "expected one class an image, as folders:PATH has" in done.stdout + done.stderr
    assert not (tmp_path / "run" / "config.json").exists()


def test_one_class_teaches_nothing(call_experiment, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / split / "cat" / "1.png")
    done = call_experiment("pretrain", f"--dataset=folders:{tmp_path}", "--debug")
    assert done.returncode != 0
    assert "has one class, 'cat', expected at least two" in done.stdout + done.stderr
    done = call_experiment("pretrain", "--debug")
    assert done.returncode != 0 and "--dataset is missing" in done.stdout + done.stderr


@pytest.mark.slow
def test_resuming_does_not_load_the_backbone_again(backbone, call_experiment, tmp_path):
    run, _ = backbone
    flags = (
        "--dataset=shapes:count=16", OPTIONS, "--image_size=64", "--S=2", "--epochs=1",
        f"--output_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert call_experiment("train", *flags, f"--backbone={run}").returncode == 0
    moved = run.with_name("elsewhere")
    run.rename(moved)
    try:
        done = call_experiment("train", f"--output_dir={tmp_path / 'run'}", "--resume")
    finally:
        moved.rename(run)
    assert done.returncode == 0, done.stdout + done.stderr
