"""The gate: its statistics on noise that is known, rounds on this checkout, builds (slow)."""

import os
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import compare, compared, harness, plot, revisions
from tests import programs

FAST = ["kernel loss 64, value", "kernel iou"]


def noise(seed, rounds, benchmarks, deviation=0.02):
    """Logarithms of ratios with the tails of a busy machine: Student's t of three degrees."""
    draws = np.random.default_rng(seed).standard_t(3, (rounds, benchmarks))
    return draws / np.sqrt(3) * deviation


def verdicts(logs, threshold=0.03):
    found = zip(*compare.intervals(logs, 0.99), strict=True)
    return [compare.verdict(*one, threshold) for one in found]


@pytest.fixture
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(compare, "RESAMPLES", 4000)


def test_equal_revisions_pass(fewer_resamples):
    """300 comparisons of twelve benchmarks: none may cry wolf, though few rounds are this noisy."""
    for seed in range(300):
        assert set(verdicts(noise(seed, 12, 12))) <= {"same", "unclear"}, seed


def test_intervals_hold_together(fewer_resamples):
    held = 0
    for seed in range(200):
        _, low, high = compare.intervals(noise(seed, 20, 12), 0.99)
        held += ((low < 1) & (high > 1)).all()
    assert held >= 180  # 198 in the limit of many rounds


@pytest.mark.parametrize("change", (0.05, -0.05))
def test_five_per_cent_are_seen(fewer_resamples, change):
    seen = 0
    for seed in range(100):
        logs = noise(seed, 12, 12, deviation=0.01)
        logs[:, 3] += np.log1p(change)
        found = verdicts(logs)
        seen += found[3] == ("slower" if change > 0 else "faster")
        assert {*found[:3], *found[4:]} <= {"same", "unclear"}
    assert seen >= 97


def test_what_is_small_or_doubtful_is_no_change():
    verdict = lambda *interval: compare.verdict(*interval, 0.03)  # noqa: E731
    assert verdict(1.02, 1.01, 1.025) == "same"  # known from 1, but small
    assert verdict(1.06, 0.99, 1.12) == "unclear"
    assert verdict(1.00, 0.98, 1.04) == "unclear"
    assert verdict(1.04, 1.01, 1.07) == "slower"
    assert verdict(0.95, 0.92, 0.99) == "faster"


def test_an_outlier_is_cut_off():
    logs = np.zeros((10, 1))
    logs[3] = 2.0
    assert np.exp(compare.trimmed_mean(logs)) == 1


def config(**changes):
    values = {"turns": 2, "least_rounds": 5, "rounds": 5, "budget": 0.0, "plant": 0.0}
    values |= {"confidence": 0.99, "threshold": 3.0, "fail_on": ["slower", "faster"]}
    return types.SimpleNamespace(**values | changes)


def test_a_round_measures_both_and_says_what_is_missing(monkeypatch, capfd):
    folders = harness.ROOT, harness.ROOT
    seconds = compare.one_round(folders, [*FAST, "kernel nothing"], 3, first=1)
    assert list(seconds) == FAST
    assert all(s.shape == (3, 2) and (s > 0).all() for s in seconds.values())
    assert "left out: kernel nothing: KeyError" in capfd.readouterr().out


def test_what_only_the_second_cannot_run_is_no_pass(monkeypatch):
    """A revision that breaks a benchmark must not pass for want of it."""

    class Side:
        def __init__(self, folder, names, slow_down):
            self.missing = {name: "AttributeError: gone" for name in folder}

        def ready(self):
            return self.missing

        def seconds(self, name):
            return 1.0

        def close(self):
            pass

    monkeypatch.setattr(compare, "Side", Side)
    with pytest.raises(RuntimeError, match="B cannot run 'kernel iou', which A can: Attribute"):
        compare.one_round(((), ("kernel iou",)), FAST, 1, first=0)
    assert list(compare.one_round((("kernel iou",), ()), FAST, 1, first=0)) == FAST[:1]


def test_a_planted_slowdown_of_a_third_is_measured():
    folders = harness.ROOT, harness.ROOT
    seconds = compare.one_round(folders, FAST, 30, first=0, slow_down=1.0)
    for measured in seconds.values():
        ratio = np.median(measured[:, 1] / measured[:, 0])
        assert 1.5 < ratio < 3, ratio  # twice the time, on a machine that may be busy


def test_another_yolov1_is_never_measured(tmp_path):
    """A folder without one: the process must not take that of the checkout instead."""
    with pytest.raises(RuntimeError, match="measured .*yolov1.*, expected"):
        compare.one_round((tmp_path, tmp_path), FAST, 1, first=0)


def fake_rounds(monkeypatch, *ratios):
    """Rounds without a process: one ratio a comparison for both benchmarks."""
    asked = []

    def one_round(folders, names, turns, first, slow_down):
        asked.append(list(names))
        ratio = ratios[min((len(asked) - 1) // 5, len(ratios) - 1)]
        seconds = np.full((turns, 2), 1e-3) * [1, ratio]
        return {name: seconds for name in names}

    monkeypatch.setattr(compare, "one_round", one_round)
    return asked


def test_a_change_must_show_twice(monkeypatch, capsys):
    fake_rounds(monkeypatch, 1.1, 1.0)
    rows = compare.judged(("a", "b"), FAST, ("A", "B"), config())
    assert [row["verdict"] for row in rows] == ["same", "same"]
    assert "again, to be sure: " + ", ".join(FAST) in capsys.readouterr().out
    asked = fake_rounds(monkeypatch, 1.1)
    rows = compare.judged(("a", "b"), FAST, ("A", "B"), config())
    assert [row["verdict"] for row in rows] == ["slower", "slower"] and len(asked) == 10
    assert compare.changed(rows, config()) == FAST
    assert compare.changed(rows, config(fail_on=["faster"])) == []


def test_rounds_go_on_while_intervals_are_wide(monkeypatch):
    generator, asked = np.random.default_rng(0), []

    def one_round(folders, names, turns, first, slow_down):
        asked.append(first)
        return {name: np.exp(generator.normal(0, 0.2, (turns, 2))) for name in names}

    monkeypatch.setattr(compare, "one_round", one_round)
    compare.compare(("a", "b"), FAST, config(rounds=9, budget=60.0))
    assert asked == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    asked.clear()
    compare.compare(("a", "b"), FAST, config(rounds=9, budget=0.0))
    assert len(asked) == 5


# --------------------------------------------------------------------------------- the program


def call(monkeypatch, *arguments):
    monkeypatch.setattr(revisions, "make", lambda tree: harness.ROOT)
    return programs.call("benchmarks.compare", *arguments)


@pytest.mark.slow
def test_the_program_passes_equal_revisions_and_keeps_rows(monkeypatch, tmp_path):
    output = tmp_path / "rows.csv"
    short = ("--turns=2", "--least_rounds=5", "--rounds=5", "--threshold=400")
    done = call(
        monkeypatch, "HEAD", "HEAD", "--benchmarks=value,kernel iou", "--repeat=2",
        f"--output={output}", *short,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 passed" in done.stdout
    rows = plot.all_rows(output)
    assert [row["name"] for row in rows] == [*FAST, "kernel iou gradient"] * 2
    assert all(row["verdict"] == "same" and row["rounds"] == "5" for row in rows)
    done = programs.call("benchmarks.plot", f"--rows={output}", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "compare-history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give REV_A, and REV_B where it is not the working tree"),
        (("no-such-revision",), "no-such-revision"),
        (("HEAD", "--benchmarks=gpu"), "--benchmarks must be parts of kernel loss 64; "),
    ],
)
def test_what_cannot_be_compared_is_refused(monkeypatch, arguments, message):
    done = call(monkeypatch, *arguments)
    assert done.returncode != 0 and message in done.stdout + done.stderr


def test_comparisons_are_told_apart():
    row = {"revision_a": "a", "revision_b": "b", "date": "d", "planted": "0.0"}
    row |= {"ratio": "1.1", "low": "1.0", "high": "1.2"}
    rows = [row | {"name": name} for name in "xyxy"]
    rows += [row | {"name": "x", "revision_b": "c"}, row | {"name": "x", "planted": "5.0"}]
    found = plot.comparisons(rows)
    assert [(name, list(ratios)) for name, ratios in found] == [
        ("a\nb\nd", ["x", "y"]),
        ("a\nb\nd", ["x", "y"]),
        ("a\nc\nd", ["x"]),
    ]


# ------------------------------------------------------------------------------------- revisions


def test_trees_of_revisions(tmp_path, monkeypatch):
    """The working tree is known with its changes, and stays as it is, its index too."""

    def git(*arguments):
        person = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *person, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / ".gitignore").write_text("build/\n")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    monkeypatch.setattr(revisions, "FOLDER", tmp_path / "build" / "compare")
    head = revisions.tree_of("HEAD")
    assert revisions.tree_of(revisions.WORKING) == head
    assert not revisions.name_of(revisions.WORKING).endswith("-dirty")
    (tmp_path / "new").write_text("2")
    changed = revisions.tree_of(revisions.WORKING)
    assert changed != head and revisions.name_of(revisions.WORKING).endswith("-dirty")
    assert revisions.git("ls-tree", "--name-only", changed).split() == [".gitignore", "file", "new"]
    assert revisions.git("status", "--porcelain") == "?? new"
    with pytest.raises(ValueError, match="git rev-parse"):
        revisions.tree_of("nothing")


@pytest.mark.slow
def test_a_revision_is_built_once_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "FOLDER", tmp_path)
    tree = revisions.tree_of(revisions.WORKING)
    folder = revisions.make(tree)
    assert revisions.make(tree) == folder and (folder / "yolov1" / "_ops.so").exists()
    names = list(compared.BENCHMARKS)
    seconds = compare.one_round((folder, folder), names, 1, first=0)
    assert list(seconds) == names
    code = "import yolov1.kernels as k; print(k.build_info()['xla'])"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    said = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
    )
    assert said.stdout.strip() == "OFF", said.stderr
