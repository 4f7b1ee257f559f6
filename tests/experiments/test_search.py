"""``--search``: what is tried, what is given up, and that it can be stopped anywhere."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests import programs
from tests.experiments.fake_train import STUDY
from tests.shared import ROOT

pytest.importorskip("optuna", reason="the extra search is not installed")

SMALL = ("--dataset=shapes:count=4", "--image_size=32", "--S=3", "--epochs=3", "--eval_every=1")
RATES = "--vary=learning_rate=log:1e-5..1e-1;batch_size=2..8;semantics=paper,darknet"


@pytest.fixture
def search(call_experiment, monkeypatch, tmp_path):
    """Runs a search of fakes in a folder of the test; gives its summary."""
    monkeypatch.setattr("experiments.lib.trials.TRAIN", "tests.experiments.fake_train")
    monkeypatch.setattr("experiments.lib.children.POLL", 0.02)

    def run(count, *arguments, folder="study", code=0, flags=SMALL):
        done = call_experiment(
            *("study", "--search=optuna", f"--trials_count={count}", *arguments),
            *(f"--output_dir={tmp_path / folder}", "--", *flags),
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads((tmp_path / folder / "summary.json").read_text()), done.stdout

    return run


def tried(found):
    return [(attempt["flags"], attempt["state"], attempt["value"]) for attempt in found["attempts"]]


@pytest.mark.slow
def test_a_search_that_was_stopped_tries_the_same(search, tmp_path):
    straight, said = search(9, RATES, "--seeds=0-1")
    assert len(straight["attempts"]) == 9 and "importance: " in said
    best = max((a for a in straight["attempts"] if a["value"]), key=lambda a: a["value"])
    assert straight["best"]["trial"] == best["trial"] and best["trial"] in said
    # The mean of two seeds, of one of which the fake gives a thousandth more.
    rate = float(best["flags"]["learning_rate"])
    runs = [t for t in straight["trials"] if t["variant"] == best["trial"]]
    assert best["value"] == pytest.approx(sum(t["figures"]["map_area"] for t in runs) / 2)
    assert 1e-5 <= rate <= 1e-1 and 2 <= int(best["flags"]["batch_size"]) <= 8

    third = tmp_path / "stopped" / "trial-002" / "seed-1" / "metrics.csv"
    slow = (*SMALL, "--warmup_epochs=0.3")

    def interrupt():
        while not third.exists():
            time.sleep(0.02)
        programs.interrupt(signal.SIGTERM)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    begun, _ = search(9, RATES, "--seeds=0-1", folder="stopped", code=143, flags=slow)
    thread.join()
    assert [a["state"] for a in begun["attempts"]] == ["finished", "finished", "begun"]
    resumed, _ = search(9, RATES, "--seeds=0-1", folder="stopped", flags=slow)
    assert tried(resumed) == tried(straight)
    log = (third.parent.parent / "seed-1.log").read_text()
    assert "begins after 1 epochs" in log or "begins after 2 epochs" in log
    # More of them; and the same folder with another range is refused.
    more, _ = search(10, RATES, "--seeds=0-1")
    assert tried(more)[:9] == tried(straight)


@pytest.mark.slow
def test_a_search_that_was_killed_tries_the_same(search, tmp_path):
    """SIGKILL, three times, wherever it comes."""
    straight, _ = search(6, RATES, "--seeds=0-1")
    slow, output = (*SMALL, "--warmup_epochs=0.3"), tmp_path / "killed"
    words = ["--search=optuna", "--trials_count=6", RATES, "--seeds=0-1", f"--output_dir={output}"]
    for k in range(3):
        process = subprocess.Popen([sys.executable, "-c", STUDY, *words, "--", *slow], cwd=ROOT)
        while not list(output.glob(f"trial-00{2 * k}/seed-*/metrics.csv")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
    killed, _ = search(6, RATES, "--seeds=0-1", folder="killed", flags=slow)
    assert tried(killed) == tried(straight)


@pytest.mark.slow
def test_what_is_behind_the_others_is_given_up(search, tmp_path):
    """A median of five comes before; a bad one after them ends at its first evaluation."""
    flags = (*SMALL, "--warmup_epochs=0.5")
    found, _ = search(14, "--vary=learning_rate=log:1e-9..1e-3", "--seeds=0", flags=flags)
    states = [attempt["state"] for attempt in found["attempts"]]
    assert states[:5] == ["finished"] * 5 and "pruned" in states
    for attempt, trial in zip(found["attempts"], found["trials"], strict=True):
        assert trial["state"] == attempt["state"]
        rows = (tmp_path / "study" / trial["path"] / "metrics.csv").read_text().splitlines()[1:]
        assert 1 <= len(rows) < 3 if attempt["state"] == "pruned" else len(rows) == 3
        assert (attempt["value"] is None) == (attempt["state"] == "pruned")
    done = {a["trial"]: a for a in found["attempts"]}
    again, _ = search(14, "--vary=learning_rate=log:1e-9..1e-3", "--seeds=0", flags=flags)
    assert {a["trial"]: a for a in again["attempts"]} == done  # nothing is tried again


def test_those_that_fail_are_tried_again(search, tmp_path):
    vary = "--vary=clip_norm=7,20;learning_rate=1e-3..2e-3"
    found, said = search(4, vary, "--seeds=0", code=2)
    states = {a["flags"]["clip_norm"]: a["state"] for a in found["attempts"]}
    assert states == {"7": "failed", "20": "finished"}
    assert "the disk is full" in said
    (tmp_path / "study" / "mended").touch()
    again, _ = search(4, vary, "--seeds=0")
    assert {a["state"] for a in again["attempts"]} == {"finished"}
    assert [a["flags"] for a in again["attempts"]] == [a["flags"] for a in found["attempts"]]


def test_values_that_do_not_go_together(search):
    """Each alone does; what training refuses of them together is a trial that failed."""
    flags = (*SMALL, "--subdivisions=2")
    found, said = search(4, "--vary=batch_size=2..8", "--seeds=0", flags=flags, code=2)
    for attempt in found["attempts"]:
        odd = int(attempt["flags"]["batch_size"]) % 2
        assert attempt["state"] == ("failed" if odd else "finished"), attempt
    assert {a["state"] for a in found["attempts"]} == {"failed", "finished"}
    assert "--subdivisions must be at least 1, and divide" in said


def test_another_search_is_refused(search, call_experiment, tmp_path):
    search(1, "--vary=learning_rate=1e-3..2e-3", "--seeds=0")
    done = call_experiment(
        *("study", "--search=optuna", "--trials_count=2", "--seeds=0"),
        *("--vary=learning_rate=1e-3..3e-3", f"--output_dir={tmp_path / 'study'}", "--", *SMALL),
    )
    assert done.returncode == 1 and "holds a search with other space" in done.stderr
