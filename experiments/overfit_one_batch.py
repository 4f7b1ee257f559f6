"""Can the model learn ten images by heart? The first question when a training does not work.

    python -m experiments.overfit_one_batch --dataset=voc:PATH --S=14

Trains on the same few images without augmentation and gives a verdict: did the loss go to about
zero, and are the boxes found? Where not, it prints the usual suspects with their numbers.
"""

import dataclasses

from absl import flags

from yolov1 import data, training
from yolov1.semantics import TERMS

from .lib import common, evaluators, recipes
from .lib import flags as experiment_flags

experiment_flags.define(
    names=(
        *("dataset", "train_split", "classes", "bad_examples", "on_collision", "model"),
        *("model_options", "activations", "S", "B", "image_size", "semantics", "impl"),
        *("semantics_options", "learning_rate", "precision", "seed", "output_dir"),
    ),
    output_dir="runs/overfit",
    texts={"output_dir": experiment_flags.RESULTS},
)
recipes.define()
IMAGES = flags.DEFINE_integer("images", 10, "Images to learn by heart.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 600, "Steps, each over all of them.", lower_bound=1)

LOSS_SHARE = 0.02  # of the first loss: "about zero"
FOUND = 0.95  # mAP@0.5 on the training images: "found"
DEBUG = {"dataset": "shapes:count=64", "image_size": 64}
DEBUG_STEPS = 60


def main(argv):
    del argv
    config = experiment_flags.config_from_flags(debug=DEBUG)
    recipes.announce(config)
    run = training.RunDirectory(config.output_dir)
    common.require_no_run(run.path, "checkpoints")
    split = common.open_split(config, config.train_split)
    dataset = first_images(split, IMAGES.value)
    steps = DEBUG_STEPS if flags.FLAGS.debug and not flags.FLAGS["steps"].present else STEPS.value
    config = dataclasses.replace(
        config,
        augment="none",
        batch_size=len(dataset),
        epochs=steps,
        optimizer="adam",
        schedule="cosine",
        warmup_epochs=min(20.0, steps / 10),
        weight_decay=0.0,
        ema=0.0,
        eval_every=0,
    )
    grid = config.grid(len(dataset.classes))

    state = training.train(config, dataset, run)
    rows = run.read_metrics()
    evaluator = evaluators.Evaluator(state.model, dataset, grid, config)
    measured = evaluator()

    first, last = float(rows[0]["loss"]), float(rows[-1]["loss"])
    learned, found = last <= LOSS_SHARE * first, measured["map_area"] >= FOUND
    # The cross-entropy of a confidence against an overlap is never less than the entropy of that.
    has_floor = config.loss_semantics().confidence_loss == "cross_entropy"
    suspects = find_suspects(config, dataset, grid, rows, measured)
    summary = evaluators.write_evaluation(
        run,
        measured,
        first_loss=first,
        last_loss=last,
        loss_near_zero=learned,
        boxes_found=found,
        verdict="learned" if found and (learned or has_floor) else "not learned",
        suspects=suspects,
    )
    evaluator.write_pictures(run / "pictures", measured)
    wanted = "the boxes decide: cross-entropy has a floor" if has_floor else f"{LOSS_SHARE:.0%}"
    print(f"loss {first:.4g} -> {last:.4g} ({last / first:.2%} of the first; wanted: {wanted})")
    common.print_skipped(split)
    evaluators.print_evaluation(summary)
    print(f"verdict: {summary['verdict']}")
    if summary["verdict"] != "learned":
        print("the usual suspects, with their numbers:")
        for suspect in suspects:
            print(f"  - {suspect}")
    print(f"pictures: {run / 'pictures'}")
    print(f"results:  {run / 'summary.json'}")


def first_images(dataset, count: int) -> data.Dataset:
    """The first images of a data set that have a box to learn: one that is not difficult."""
    kept = common.with_objects(dataset).examples[:count]
    return data.Dataset(kept, dataset.classes, name=f"{dataset.name}, first {len(kept)}")


def find_suspects(config, dataset, grid, rows, measured) -> list[str]:
    """What usually keeps a detector from learning, each with the number that speaks for it."""
    statistics = data.statistics(dataset, sides=(grid.S,), image_size=grid.image_size)
    share = statistics["collisions"][str(grid.S)]["share"]
    total = sum(float(rows[-1][name]) for name in TERMS)
    shares = {name: float(rows[-1][name]) / total if total else 0.0 for name in TERMS}
    worst = max(shares, key=shares.get)
    half = float(rows[len(rows) // 2]["loss"])
    return [
        f"objects lost to cell collisions at S={grid.S}: {share:.1%} "
        "(they cannot be found; a larger --S loses fewer)",
        f"largest term of the remaining loss: {worst}, {shares[worst]:.0%} of it",
        f"loss half way {half:.4g}, at the end {float(rows[-1]['loss']):.4g} "
        "(still falling: more --steps; flat: another --learning_rate)",
        f"activations {config.activations}, wh {config.loss_semantics().wh}: a sigmoid in front "
        "of a sigmoid, or the wrong wh, leaves a floor under the loss",
        f"recall without a score threshold: {_best_recall(measured):.1%}",
    ]


def _best_recall(measured) -> float:
    classes = [c for c in measured["classes"].values() if c["truth"]]
    found = sum((c["recall"][-1] if c["recall"] else 0.0) * c["truth"] for c in classes)
    return found / max(1, sum(c["truth"] for c in classes))


if __name__ == "__main__":
    experiment_flags.run(main)
