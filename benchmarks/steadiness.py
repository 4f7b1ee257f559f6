"""How far does one image move the average precision of a run, by each rule?

    python -m benchmarks.steadiness --runs='runs/make_train/seed-*'

Measures each run on its evaluation split: mAP at IoU 0.5 by the area under the curve and by the 11
points of VOC 2007; the largest change where one image is left out; the standard deviation over
`--samples` draws of as many images, with replacement; and of what the 11 points lack of 1, the part
that is in the last of them, at recall 1. Figures go to `--json` as well.
"""

import numpy as np
from absl import app, flags

from benchmarks.collect_results import matching
from yolov1 import data, inference, training
from yolov1.evaluation import average_precision, evaluate
from yolov1.files import user_path

RULES = ("area", "voc07")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a flag is --NAME=VALUE.")
    paths = list(matching(flags.FLAGS.runs))
    found = {str(path): of_run(path) for path in paths}
    if flags.FLAGS.json:
        training.write_json(user_path(flags.FLAGS.json), found)
    for path, rules in found.items():
        for rule, of in rules.items():
            print(f"{path} {rule}: " + ", ".join(f"{name} {v:.4f}" for name, v in of.items()))


def of_run(path) -> dict:
    """The figures of a run, measured again."""
    model, run = training.load_run(path)
    config = run.config
    options = {"image_size": config.image_size, "seed": config.seed}
    dataset = data.open(config.dataset, split=config.eval_split, classes=run.classes, **options)
    detector = inference.Detector(model, grid=run.grid, wh=run.semantics.wh, resize=config.resize)
    with data.reading(dataset):
        found = [one.clipped() for one in detector.detect(dataset, config.batch_size)]
    return steadiness(found, dataset, flags.FLAGS.samples)


def steadiness(found, dataset, samples, seed=0) -> dict:
    """Rule -> figures of detections, one `inference.Detections` an image of the data set."""
    examples, generator = list(dataset), np.random.default_rng(seed)

    def maps(indices):
        parts = [found[k] for k in indices], [examples[k] for k in indices]
        return [average_precision(*parts, rule, classes=dataset.classes).mean for rule in RULES]

    everything = np.arange(len(examples))
    whole = maps(everything)
    without = np.array([maps(np.delete(everything, k)) for k in everything])
    drawn = np.array(
        [maps(generator.integers(0, len(examples), len(examples))) for _ in range(samples)]
    )
    figures = {
        rule: {
            "map": whole[k],
            "largest_change_without_an_image": float(np.abs(without[:, k] - whole[k]).max()),
            "deviation_over_draws": float(drawn[:, k].std()),
        }
        for k, rule in enumerate(RULES)
    }
    figures["voc07"]["missing_at_recall_1"] = missing_at_recall_1(evaluate(found, dataset))
    figures["voc07"]["missing"] = 1 - whole[RULES.index("voc07")]
    return figures


def missing_at_recall_1(measured) -> float:
    """What the last of the 11 points lacks of its eleventh, as a mean over the classes.

    Args:
        measured: what `evaluation.evaluate` gives.
    """
    classes = [c for c in measured["classes"].values() if c["truth"]]
    last = [
        max((p for p, r in zip(c["precision"], c["recall"], strict=True) if r == 1), default=0.0)
        for c in classes
    ]
    return float(np.mean([(1 - precision) / 11 for precision in last]))


if __name__ == "__main__":
    flags.DEFINE_list("runs", None, "Run directories, or patterns.", required=True)
    flags.DEFINE_integer("samples", 200, "Draws of the images.", lower_bound=2)
    flags.DEFINE_string("json", "", "File for the figures; empty: none.")
    app.run(main)
