import json

import pytest


@pytest.mark.slow
def test_debug_size_learns_and_says_so(call_experiment, tmp_path):
    done = call_experiment("overfit_one_batch", "--debug", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "verdict: learned" in done.stdout and summary["verdict"] == "learned"
    assert summary["last_loss"] <= 0.02 * summary["first_loss"]
    assert summary["map_area"] >= 0.95
    assert len(list((tmp_path / "pictures").iterdir())) == 10


@pytest.mark.slow
def test_a_loss_with_a_floor_is_judged_by_the_boxes(call_experiment, tmp_path):
    """The cross-entropy of a confidence against an overlap below 1 is never 0."""
    flags = ("--debug", "--semantics_options=confidence_loss=cross_entropy")
    done = call_experiment("overfit_one_batch", *flags, f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "the boxes decide" in done.stdout
    assert (summary["verdict"] == "learned") == (summary["map_area"] >= 0.95)


def test_too_few_steps_give_the_suspects_with_their_numbers(call_experiment, tmp_path):
    done = call_experiment(
        "overfit_one_batch", "--debug", "--steps=3", f"--output_dir={tmp_path}", "--images=4"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: not learned" in done.stdout
    assert done.stdout.endswith(f"results:  {tmp_path / 'summary.json'}\n")
    for words in ("objects lost to cell collisions at S=7: 0.0%", "largest term", "still falling"):
        assert words in done.stdout
    assert len(json.loads((tmp_path / "summary.json").read_text())["suspects"]) == 5


def test_a_run_is_not_written_over(call_experiment, known_run):
    before = sorted((known_run / "checkpoints").rglob("*"))
    done = call_experiment("overfit_one_batch", "--debug", f"--output_dir={known_run}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{known_run} holds a run, whose checkpoints would be lost" in done.stderr
    assert sorted((known_run / "checkpoints").rglob("*")) == before
