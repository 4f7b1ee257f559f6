"""Is a revision slower than another? A gate: exit status 1 where it is.

    python -m benchmarks.compare main                   # the working tree against main
    python -m benchmarks.compare v1.0 HEAD
    python -m benchmarks.compare HEAD HEAD --repeat=20  # does it cry wolf?
    python -m benchmarks.compare HEAD HEAD --plant=5    # does it notice 5 %?

Both are built, each in a folder of its own (`benchmarks.revisions`). A round starts a fresh process
of either, because where the memory of a process lies makes some benchmarks faster or slower for all
of its life; the two then take turns, a few milliseconds each in changing order, so that what else
the machine does falls on both. A round gives one ratio for each benchmark (`benchmarks.compared`),
the median of its turns.

The result of a benchmark is the trimmed mean of the rounds' logarithms, without a fifth at either
end. Its interval is a percentile bootstrap over the rounds (Wilcox, Introduction to Robust
Estimation and Hypothesis Testing), as much wider as lets those of all benchmarks hold together with
`--confidence` (Bonferroni). A change is one that the interval knows from 1 and that is larger than
`--threshold`, and that shows once more: what seems to have changed is measured again, in new
processes. Both are needed: in a simulation of twelve benchmarks whose rounds scatter by 2 % (by
Student's t of three degrees, as on a busy machine), 7 % of the comparisons of 12 rounds had an
interval without 1, rather than the 1 % of many rounds, and of 300 none had such a change.

Rows go to ``results/compare.csv``, which `benchmarks.plot` draws.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import harness, revisions
from benchmarks.compared import BENCHMARKS

RESAMPLES = 20000


# ---------------------------------------------------------------------------------- the intervals


def trimmed_mean(logs):
    """Over axis -2, without a fifth of the rounds at either end."""
    rounds = logs.shape[-2]
    cut = rounds // 5
    return np.sort(logs, -2)[..., cut : rounds - cut, :].mean(-2)


def intervals(logs, confidence, seed=0):
    """Ratio of each benchmark with an interval; together they hold with `confidence`.

    Args:
        logs: logarithms of ratios, ``[rounds, benchmarks]``.

    Returns:
        ratio, low, high: each ``[benchmarks]``.
    """
    rounds, benchmarks = logs.shape
    drawn = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    means = trimmed_mean(logs[drawn])  # all benchmarks of a round together
    tail = (1 - confidence) / 2 / benchmarks
    low, high = np.quantile(means, (tail, 1 - tail), axis=0)
    return np.exp(trimmed_mean(logs)), np.exp(low), np.exp(high)


def verdict(ratio, low, high, threshold):
    """``"slower"``, ``"faster"``, ``"same"``, or ``"unclear"``: a change of that size may hide."""
    if low > 1 and ratio > 1 + threshold:
        return "slower"
    if high < 1 and ratio < 1 / (1 + threshold):
        return "faster"
    within = low > 1 / (1 + threshold) and high < 1 + threshold
    return "same" if within else "unclear"


# ------------------------------------------------------------------------------------- the rounds


class Side:
    """A fresh process that measures one revision."""

    def __init__(self, folder, names, slow_down=0.0):
        self.folder = Path(folder)
        self._errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads fills up
        path = os.pathsep.join([str(folder), str(harness.ROOT)])
        # -P: the folder that it is started in has a yolov1 as well.
        command = [sys.executable, "-P", "-m", "benchmarks.compared"]
        self._process = subprocess.Popen(
            [*command, json.dumps(names), str(slow_down)],
            env=os.environ
            | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def ready(self):
        """{benchmark: why it is missing}, once the others can be asked for."""
        said = self._read()
        if not Path(said["from"]).is_relative_to(self.folder):
            raise RuntimeError(f"measured {said['from']}, expected {self.folder}.")
        return said["missing"]

    def seconds(self, name):
        with contextlib.suppress(OSError):  # it has ended, as reading will show
            self._process.stdin.write(name + "\n")
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read()[-2000:]
            raise RuntimeError(f"the process of {self.folder} ended:\n{said}")
        return json.loads(line)

    def close(self):
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()
        self._process.wait()


def one_round(folders, names, turns, first, slow_down=0.0):
    """Seconds of a call, ``{benchmark: [turns, 2]}``, of a fresh process for either folder.

    Args:
        names: benchmarks; those that the first revision does not have are said and left out.
        first: which process starts, and has the first turn: 0 or 1.
        slow_down: share of its time by which the second one is slowed down.

    Raises:
        RuntimeError: the second revision cannot run what the first one can; a process ends.
    """
    sides = [None, None]
    try:
        for which in (first, 1 - first):
            sides[which] = Side(folders[which], names, slow_down if which else 0.0)
        missing, broken = (side.ready() for side in sides)
        for name, why in missing.items():
            print(f"left out: {name}: {why}", flush=True)
        for name, why in broken.items():
            if name not in missing:
                raise RuntimeError(f"B cannot run {name!r}, which A can: {why}")
        seconds = {name: np.empty((turns, 2)) for name in names if name not in missing}
        for turn in range(turns):
            for name, measured in seconds.items():
                for which in (first, 1 - first) if turn % 2 == 0 else (1 - first, first):
                    measured[turn, which] = sides[which].seconds(name)
        return seconds
    finally:
        for side in filter(None, sides):
            side.close()


def compare(folders, names, config):
    """Rounds until every interval is narrow enough to tell, or the budget is used up.

    How long it goes on depends on how wide the intervals are and not on where they lie: who stops
    when there is something to see sees things.

    Returns:
        ``{benchmark: (seconds [rounds, turns, 2], ratio, low, high)}``.
    """
    rounds, start = [], time.perf_counter()
    slow_down = config.plant / 100
    while True:
        rounds.append(one_round(folders, names, config.turns, len(rounds) % 2, slow_down))
        names = list(rounds[-1])
        if not names:
            raise RuntimeError("neither revision has any of these benchmarks.")
        seconds = {name: np.array([measured[name] for measured in rounds]) for name in names}
        if len(rounds) < config.least_rounds:
            continue
        logs = [np.median(np.log(s[..., 1] / s[..., 0]), axis=1) for s in seconds.values()]
        found = np.array(intervals(np.stack(logs, -1), config.confidence))
        wide = (np.log(found[2] / found[1]) > config.threshold / 100).any()
        late = time.perf_counter() - start > config.budget
        if not wide or late or len(rounds) >= config.rounds:
            return {name: (seconds[name], *found[:, k]) for k, name in enumerate(names)}


# ------------------------------------------------------------------------------ rows and verdicts


def rows_of(found, revisions_, config):
    """One row for each benchmark."""
    for name, (seconds, ratio, low, high) in found.items():
        yield {
            "benchmark": "compare",
            "name": name,
            "revision_a": revisions_[0],
            "revision_b": revisions_[1],
            "ratio": round(ratio, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "verdict": verdict(ratio, low, high, config.threshold / 100),
            "rounds": len(seconds),
            "a_us": round(np.median(seconds[..., 0]) * 1e6, 2),
            "b_us": round(np.median(seconds[..., 1]) * 1e6, 2),
            "planted": config.plant,
            **harness.environment(),
        }


def changed(rows, config):
    return [r["name"] for r in rows if r["verdict"] in config.fail_on]


def judged(folders, names, revisions_, config):
    """The rows of one comparison, said as they come.

    What seems to have changed is measured again, and its rows tell the second result.
    """
    rows = list(rows_of(compare(folders, names, config), revisions_, config))
    say(rows)
    again = changed(rows, config)
    if again:
        print(f"again, to be sure: {', '.join(again)}")
        second = list(rows_of(compare(folders, again, config), revisions_, config))
        say(second)
        rows = [row for row in rows if row["name"] not in again] + second
    return rows


def say(rows):
    for row in rows:
        text = "{name:32}{a_us:11.1f} us{b_us:11.1f} us   x {ratio:.3f} ({low:.3f} .. {high:.3f})"
        print((text + "  {verdict}").format(**row), flush=True)


def define_flags():
    flags.DEFINE_list("benchmarks", list(BENCHMARKS), "What to measure, by parts of names.")
    flags.DEFINE_float("threshold", 3, "Per cent of the time; less is no change.", 0)
    flags.DEFINE_float("confidence", 0.99, "Of all intervals together.", 0.5, 0.9999)
    flags.DEFINE_integer("least_rounds", 10, "Rounds, at least.", 5)
    flags.DEFINE_integer("rounds", 40, "Rounds, at most.", 5)
    flags.DEFINE_integer("turns", 10, "Turns of each benchmark in a round.", 1)
    flags.DEFINE_float("budget", 120, "Seconds after which no round of a comparison starts.")
    flags.DEFINE_integer("repeat", 1, "Comparisons one after another.", 1)
    flags.DEFINE_float("plant", 0, "Per cent by which REV_B is slowed down, to try the gate.", 0)
    flags.DEFINE_multi_enum(
        "fail_on",
        ["slower", "faster"],
        ["slower", "faster"],
        "Which changes fail; may be repeated.",
    )
    flags.DEFINE_string("output", str(harness.RESULTS / "compare.csv"), "CSV for the rows.")


def chosen(wanted):
    """The benchmarks whose names contain one of the words.

    Raises:
        app.UsageError: a word is in none.
    """
    for word in wanted:
        if not any(word in name for name in BENCHMARKS):
            raise app.UsageError(
                f"--benchmarks must be parts of {'; '.join(BENCHMARKS)}, got {word!r}."
            )
    return [name for name in BENCHMARKS if any(word in name for word in wanted)]


def main(argv):
    config = flags.FLAGS
    if len(argv) not in (2, 3):
        raise app.UsageError("give REV_A, and REV_B where it is not the working tree.")
    both = [argv[1], argv[2] if len(argv) == 3 else revisions.WORKING]
    names = chosen(config.benchmarks)
    try:
        return gate(both, names, config)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")


def gate(both, names, config):
    """Builds, compares, keeps rows and says how it ended; the exit status."""
    folders = [revisions.make(revisions.tree_of(revision)) for revision in both]
    called = [revisions.name_of(revision) for revision in both]
    print(f"A: {called[0]} in {folders[0]}\nB: {called[1]} in {folders[1]}", flush=True)
    failed = 0
    for number in range(config.repeat):
        start = time.perf_counter()
        rows = judged(folders, names, called, config)
        harness.write_rows(Path(config.output), rows)
        found = changed(rows, config)
        failed += bool(found)
        said = f"FAILED: {', '.join(found)}" if found else "passed"
        unclear = sum(row["verdict"] == "unclear" for row in rows)
        said += f"; {unclear} unclear: too noisy to see {config.threshold:g} %" if unclear else ""
        took = time.perf_counter() - start
        print(f"{number + 1}: {said} ({rows[0]['rounds']} rounds, {took:.0f} s)", flush=True)
    if config.repeat > 1:
        print(f"{config.repeat - failed} of {config.repeat} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    define_flags()
    app.run(main)
