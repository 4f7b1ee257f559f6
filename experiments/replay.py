"""Takes one step of a training once more, to the bit, and shows all that was in it.

    python -m experiments.replay --checkpoint=runs/shapes --step=1234
    python -m experiments.replay --checkpoint=RUN --step=1234 --save --dataset=voc:WHERE_IT_LIES_NOW
    python -m experiments.replay --file=RUN/nonfinite-1234.npz

The step (the first is 0) is worked out from the run's last checkpoint before it, or from the seed,
and takes as long as the steps between, beside the seconds in which a network is built:
`experiments.train --keep_every=STEPS` keeps checkpoints on the way. The run is only read. Where it
has digests (--digests) or a later checkpoint near, the replay goes on to there and says whether it
is the run's step to the bit.

Writes replay.html (images as the network saw them, with targets and responsible boxes, the loss by
image, term and cell, gradients and moves of the weights), summary.json, digests.csv of the steps on
the way and pictures/ to `--output_dir`, with `--save` also replay.npz: every tensor of the step,
for experiments.bisect, for `--file` on another machine, and for numpy.load
(docs/replay.md).

`--file` repeats the step of such a file alone, without its run and its data: of replay.npz, or of
what a loss that was not finite left in its run.
"""

import time
from pathlib import Path

import numpy as np
from absl import app, flags

from yolov1 import training
from yolov1.files import replacing, user_path
from yolov1.reporting import replayed

from .lib import common, replays
from .lib import flags as experiment_flags

CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Run directory.")
STEP = flags.DEFINE_integer("step", None, "Step to take; the first is 0.", lower_bound=0)
FILE = flags.DEFINE_string("file", "", "In place of both: a file with a step.")
DATASET = flags.DEFINE_string("dataset", "", "Where the data lies now; empty: where it was.")
SAVE = flags.DEFINE_boolean("save", False, "Write replay.npz: every tensor of the step.")
PICTURES = flags.DEFINE_integer("pictures", 16, "Images to draw, of the highest loss.", 0)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Default: the folder replay/step-STEP of the run, or beside the file."
)
DEBUG = flags.DEFINE_boolean("debug", False, "Draws one image; the step takes what it takes.")


def main(argv):
    del argv
    start = time.perf_counter()
    if bool(FILE.value) == (STEP.value is not None) or not (FILE.value or CHECKPOINT.value):
        raise app.UsageError("Give --checkpoint, a run, and --step; or --file, a step of one.")
    default = user_path(CHECKPOINT.value) / "replay" / f"step-{STEP.value}"
    if FILE.value:
        default = user_path(FILE.value).with_suffix("")
    if CHECKPOINT.value:
        training.RunDirectory(CHECKPOINT.value).read_config()  # is one, before a folder is made
    output = common.results_folder(OUTPUT_DIR.value or default)
    if FILE.value:
        step, proof = repeated(user_path(FILE.value))
    else:
        step = replays.replay(CHECKPOINT.value, STEP.value, dataset=DATASET.value)
        proof = replays.proof(step)

    summary = summarise(step) | {"proof_text": proof, "seconds": time.perf_counter() - start}
    training.write_json(output / "summary.json", summary)
    if step.about.get("digests"):
        training.write_digests(training.RunDirectory(output), step.about["digests"])
    if SAVE.value:
        step.save(output / "replay.npz")
        print(f"all of it: {output / 'replay.npz'}")
    most = min(PICTURES.value, 1) if DEBUG.value else PICTURES.value
    drawn = replays.draw(step, output / "pictures", most)
    page = output / "replay.html"
    title = f"Step {step.number} of {Path(step.config.output_dir or 'a run').name}"
    with common.drawing(page), replacing(page, errors="replace") as file:
        file.write(replayed.render(title, step, proof, drawn))
    print_one(step, proof)
    print(f"page: {page}")


def repeated(path):
    """The step of a file, once more; and a sentence on whether it is the same."""
    given = training.read_step(path)
    if not given.several("weights_before"):
        run = CHECKPOINT.value or path.parent
        print(f"{path} has no weights: they are worked out once more in {run}")
        batch = tuple(given.arrays[name] for name in ("images", "targets", "indices"))
        step = replays.replay(run, given.number, dataset=DATASET.value, batch=batch)
        return step, replays.proof(step)
    step = training.repeat(given)
    found = [
        name
        for name, value in given.arrays.items()
        if name in step.arrays and not np.array_equal(value, step.arrays[name], equal_nan=True)
    ]
    if found:
        counts = [one.about.get("replicas", 1) for one in (given, step)]
        why = f" {counts[0]} devices shared the step, here are {counts[1]}."
        why *= counts[0] != counts[1]
        return step, f"Not the same as in the file: {', '.join(found[:8])}.{why}"
    same = dict.fromkeys(name.split(".")[0] for name in given.arrays if name in step.arrays)
    step.arrays = given.arrays | step.arrays
    return step, f"The same as in the file, to the bit: {', '.join(same)}."


def summarise(step) -> dict:
    """What summary.json has: numbers that are not finite as text."""
    terms = step.arrays["terms"]
    images = [
        {"image": name, "terms": dict(zip(step.about["terms"], map(_json, row), strict=True))}
        for name, row in zip(step.about["image_ids"], terms, strict=True)
    ]
    kept = ("step", "base", "proof", "config", "environment")
    about = {name: step.about[name] for name in kept if name in step.about}
    if "learning_rate" in step.arrays:
        about["learning_rate"] = float(step.arrays["learning_rate"])
    return about | {"loss": _json(terms.sum(axis=1).mean()), "images": images}


def _json(value):
    return float(value) if np.isfinite(value) else str(float(value))


def print_one(step, proof):
    """The images by falling loss, and whether it is the run's step."""
    terms, names = step.arrays["terms"], step.about["terms"]
    print(f"step {step.number}: loss {terms.sum(axis=1).mean():.6g}")
    for k in replays.by_loss(step)[:8]:
        named = "  ".join(f"{n} {v:.3g}" for n, v in zip(names, terms[k], strict=True))
        print(f"  {step.about['image_ids'][k]}: {terms[k].sum():.4g}  {named}")
    print(proof)


if __name__ == "__main__":
    experiment_flags.run(main)
