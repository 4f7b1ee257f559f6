"""Where do two trainings part? The first step, tensor, image, cell and term, to the bit.

    python -m experiments.bisect runs/a runs/b
    python -m experiments.bisect runs/a runs/b --until=500
    python -m experiments.bisect runs/a replay.npz
    python -m experiments.bisect runs/a runs/a --tree_b=../other-revision --until=10

First it says in what the runs' configurations and environments differ. Then it finds the steps
between which they part, by the digests that `experiments.train --digests=EVERY` leaves (without, by
the weights of the checkpoints that both have), replays both from their checkpoints before, and
compares what flows through the first step that is not the same, in order: the images' order,
pixels, targets, weights, predictions, loss by cell and term, gradients, weights.

A run of another machine or revision is replayed there (`experiments.replay --save`, which also
writes the digests of every step on its way), and the file given in place of the run; or --tree_a
and --tree_b say in which checkout of the program a side is replayed here.

Writes bisect.json, summary.json and pictures of the cell to `--output_dir`.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from yolov1 import training
from yolov1.files import make_folder, user_path
from yolov1.training import parting
from yolov1.training.checkpoint_files import CheckpointFiles

from .lib import common, replays
from .lib import flags as experiment_flags
from .lib.flags import UserError

UNTIL = flags.DEFINE_integer(
    "until", None, "A step up to which they have parted; default: digests and checkpoints say.", 0
)
DATASET = flags.DEFINE_string("dataset", "", "Where the data of both lies now.")
TREE = {
    side: flags.DEFINE_string(f"tree_{side.lower()}", "", f"Checkout in which {side} is replayed.")
    for side in "AB"
}
OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/bisect", "Folder for the results.")
DEBUG = flags.DEFINE_boolean("debug", False, "No difference: the replays take what they take.")


@dataclasses.dataclass
class Side:
    """A run, or a file with one step of it."""

    name: str  # "A" or "B"
    path: Path
    step: training.Step | None = None
    tree: str = ""

    @property
    def run(self):
        return training.RunDirectory(self.path)

    def about(self) -> dict:
        """config.json of a run, as far as the file has it."""
        return self.step.about if self.step else self.run.read_json("config.json")

    def replayed(self, number: int) -> training.Step:
        if self.step:
            return self.step
        print(f"{self.name}: {self.path}{f' in {self.tree}' * bool(self.tree)}, step {number}")
        if not self.tree:
            return replays.replay(self.path, number, dataset=DATASET.value, prove=False)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "experiments.replay", f"--checkpoint={self.path}"]
            command += [f"--step={number}", "--save", "--pictures=0", f"--output_dir={folder}"]
            command += [f"--dataset={DATASET.value}"] * bool(DATASET.value)
            done = subprocess.run(command, cwd=self.tree, env=os.environ, stderr=subprocess.PIPE)
            if done.returncode:
                raise UserError(f"{self.tree}: {done.stderr.decode(errors='replace')[-2000:]}")
            return training.read_step(Path(folder) / "replay.npz")


def main(argv):
    if len(argv) != 3:
        raise app.UsageError(f"Give two runs (or files of a step), got {len(argv) - 1}.")
    start = time.perf_counter()
    sides = [open_side(name, word) for name, word in zip("AB", argv[1:], strict=True)]
    output = common.results_folder(OUTPUT_DIR.value)
    changes = replays.changes(*(side.about() for side in sides))
    for change in changes:
        print(change)
    number = until(sides)
    found, lines, steps = None, [], ()
    if number is None:
        lines = ["They are the same in all that both have digests or checkpoints of."]
    else:
        number, lines, steps = parted(sides, number)
    if steps:
        found = parting.first_difference(*steps)
        lines += parting.sentences(found, number)
    for line in lines:
        print(line)
    result = {name: str(side.path) for name, side in zip("ab", sides, strict=True)}
    result |= {"changes": changes, "step": number, "found": found, "text": lines}
    training.write_json(output / "bisect.json", result)
    if found and "image" in found:
        with common.drawing(output / "pictures"):
            draw(steps, found, make_folder(output / "pictures"))
    summary = {"parted": number is not None, "step": number}
    summary["seconds"] = time.perf_counter() - start
    training.write_json(output / "summary.json", summary)
    print(f"written to {output}")


def open_side(name, word) -> Side:
    path, tree = user_path(word).absolute(), TREE[name].value
    if path.is_file():
        return Side(name, path, training.read_step(path))
    training.RunDirectory(path).read_config()
    if tree and not (user_path(tree) / "experiments" / "replay.py").exists():
        raise UserError(f"--tree_{name.lower()}={tree} is no checkout with experiments/replay.py.")
    return Side(name, path, tree=str(user_path(tree)) if tree else "")


def until(sides) -> int | None:
    """A step in which, or before which, they have parted; None where they have not.

    Raises:
        UserError: nothing tells.
    """
    given = [side.step.number for side in sides if side.step]
    if len(set(given)) > 1:
        raise UserError(f"The files have the steps {given[0]} and {given[1]}; give the same one.")
    if given:
        return given[0]
    if UNTIL.value is not None:
        return UNTIL.value
    if any(side.tree for side in sides):
        raise UserError("--tree_a and --tree_b: give --until=STEP as well, how far to look.")
    runs, same = [side.run for side in sides], -1
    for what, rows_of in (("digests", digest_rows), ("checkpoints", checkpoint_rows)):
        rows = rows_of(runs, same)
        last, first = parting.interval(*rows)
        same = same if last is None else last
        if first is not None:
            return between(what, same, first, rows)
        if last is not None:
            print(f"{what}: the same up to step {last}, the last that both have")
    if same < 0:
        raise UserError(
            f"{sides[0].path} and {sides[1].path} have no digest and no checkpoint of a common "
            "step: give --until=STEP, how far to look, or train them with --digests=10."
        )
    return None


def between(what, same, first, rows) -> int:
    """Says between which steps two runs part; gives the step in which, or before which, they have.

    Args:
        what: rows of what both have, and tell.
        same: the last step before which they are the same; -1: none.
        first: the first before or in which they are not.
    """
    before = "none is the same" if same < 0 else f"the same up to step {same}"
    print(f"{what}: {before}, others at step {first}")
    weights = [[{name: row[name] for name in ("step", "weights")} for row in r] for r in rows]
    if parting.interval(*weights)[1] is None:
        print("  in their loss alone: the weights are the same in all that both have")
    one, other = (next(r for r in found if int(r["step"]) == first) for found in rows)
    # Other weights before a step are of a step before it.
    return first - bool(first and "weights" in parting.differing(one, other))


def digest_rows(runs, after: int) -> list[list[dict]]:
    """What two runs have in digests.csv, of steps behind `after`."""
    found = map(training.read_digests, runs)
    return [[row for row in rows if int(row["step"]) > after] for rows in found]


def checkpoint_rows(runs, after: int) -> list[list[dict]]:
    """Rows of the weights in the checkpoints that both of two runs have, of steps behind `after`:
    each is read from end to end."""
    whole = [{}, {}]
    for found, run in zip(whole, runs, strict=True):
        for folder in ("last", "kept"):
            files = CheckpointFiles(run / "checkpoints" / folder, keep=0)
            found |= {k: files for k in files.steps() if k > after}
    common = sorted(k for k in whole[0].keys() & whole[1] if not any(f[k].damage(k) for f in whole))
    return [
        [{"step": k, "weights": found[k].digest(k, "model/")} for k in common] for found in whole
    ]


def parted(sides, number):
    """Replays both up to `number` or less: (the step in which they part, or the one looked at; what
    there is to say; both takes of the step, or nothing)."""
    while True:
        steps = [side.replayed(number) for side in sides]
        rows = [step.about.get("digests", []) for step in steps]
        at = parting.step_of_parting(*rows)
        if at is None:
            return number, [*map(remark, sides, steps), same_here(number)], steps
        if at == steps[0].number == steps[1].number:
            return at, [*map(remark, sides, steps)], steps
        if at < 0:  # before the first that both were replayed from
            at = min({int(r["step"]) for r in rows[0]} & {int(r["step"]) for r in rows[1]}) - 1
        if any(side.step for side in sides):
            return at, [f"They part before step {number}: {REPLAY.format(at)}"], ()
        number = at


REPLAY = (
    "replay step {} where the run of the file is, with --save, and give that file. (Without its "
    "run, the digests.csv beside it has the steps on its way.)"
)


def remark(side, step) -> str:
    """Whether the replay is what the run had, where it has digests or checkpoints to tell."""
    differs = step.about.get("proof", {}).get("differs")
    if not differs:
        return f"{side.name} is replayed as it was, as far as its digests and checkpoints tell."
    return (
        f"{side.name} is NOT what its run had: the weights before step {min(differs)} were others. "
        "Another machine or revision trained it: replay it there, with --save, and give the file."
    )


def same_here(number) -> str:
    return f"Replayed here, they are the same to the bit up to step {number} and with it."


def draw(steps, found, folder):
    """The image in which they part as each has it, the cell in a red frame."""
    for name, step in zip("ab", steps, strict=True):
        for kind, png in replays.draw_one(step, found["place"], found.get("cell")).items():
            (folder / f"{name}-{kind}.png").write_bytes(png)


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
