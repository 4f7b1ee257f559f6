"""What `tests/training/test_loop.py` does not see: data from files, bad flags, --debug."""

import csv
import json

import pytest

from tests.data.folders import write_voc
from tests.shared import shared
from tests.small_cfg import FEW_LAYERS

TINY = ("--image_size=32", "--S=3", "--epochs=1", "--batch_size=8", "--eval_every=0", FEW_LAYERS)


def test_debug_ends_with_results(call_experiment, tmp_path):
    done = call_experiment("train", "--debug", f"--output_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert 0 <= summary["map_voc07"] <= 1 and summary["parameters"] > 1e5
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    worst = evaluation["shortcomings"]["worst"]
    assert worst and len(list((tmp_path / "run/pictures/worst").iterdir())) == len(worst)
    assert "Worst errors" in (tmp_path / "run/report.html").read_text()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["config"]["image_size"] == 64
    assert config["environment"]["ops"]["yolo_loss"]["CPU"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "splits", "classes"),
    [("voc2012mini", ("train", "val"), 20), ("bccd", ("train+val", "test"), 3)],
)
def test_voc_folders_run_without_special_flags(call_experiment, tmp_path, folder, splits, classes):
    done = call_experiment(
        *("train", f"--dataset=voc:{shared('data', folder)}", *TINY),
        *(f"--train_split={splits[0]}", f"--eval_split={splits[1]}"),
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert len(summary["ap_per_class"]) == classes
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) > 0


@pytest.mark.slow
def test_bad_examples_stop_the_run_or_are_listed(call_experiment, tmp_path):
    cat = [("cat", (6, 4, 30, 24), False)]
    root = write_voc(tmp_path / "voc", {"bad": "<annotation>", **dict.fromkeys("abcdefgh", cat)})
    arguments = (f"--dataset=voc:{root}", *TINY, "--eval_split=train")
    stopped = call_experiment("train", *arguments, f"--output_dir={tmp_path / 'a'}")
    assert stopped.returncode != 0 and "Traceback" not in stopped.stderr
    assert "bad.xml" in stopped.stderr and "--bad_examples=skip" in stopped.stderr
    skipped = call_experiment(
        "train", *arguments, "--bad_examples=skip", f"--output_dir={tmp_path / 'b'}"
    )
    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    ((file, reason),) = config["skipped"]
    assert file.endswith("bad.xml") and f"  {file}: {reason}" in skipped.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--learning_rate=-1", "--learning_rate must be positive and finite, got -1.0"),
        ("--dataset=kitti:x", "spec must be 'shapes', 'voc:PATH'"),
        ("--model=resnet", "resnet"),
        ("--model_options=widht=2", "widht"),
    ],
)
def test_bad_flags_say_what_is_wrong(call_experiment, tmp_path, flag, message):
    done = call_experiment("train", "--debug", flag, f"--output_dir={tmp_path / 'run'}")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
