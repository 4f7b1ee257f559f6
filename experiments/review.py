"""Finds faults among the labels of a data set: where does a trained detector contradict them?

    python -m experiments.review --checkpoint=RUN --dataset=voc:PATH --split=test

Missing labels, labels that it never finds, boxes far off, classes that it disputes and labels that
are there twice, ranked by one score (docs/review.md). Writes review.html (look), review.csv
(decide) and summary.json to `--output_dir`. Review images that the network was not trained on: it
has learnt the faults of those. `--checkpoint` is a run, or a file of experiments.export.

    python -m experiments.review --checkpoint=RUN --dataset=voc:PATH --save=label_studio,cvat

also writes the pictures with what is proposed for the tools in which people label.

    python -m experiments.review --decisions=review.csv --dataset=voc:PATH --to=voc

takes the decisions back: what the column `decision` of the table says, or what Label Studio
exported (JSON), or a corrected data set (coco:PATH). Writes a corrected data set with all splits to
`--output_dir`; the data set itself is never changed.

    python -m experiments.review --checkpoint=RUN --plant=0.1

spoils a tenth of the labels first, and measures how many of these faults the review finds.
"""

import collections
import dataclasses
import time
from pathlib import Path

from absl import app, flags

from yolov1 import data, reviewing, training
from yolov1.data.formats import writing
from yolov1.files import replacing, user_path
from yolov1.reviewing import corrections, decisions, page, planting

from .lib import common, detectors, evaluators, saving, subjects
from .lib import flags as experiment_flags

DATASET = subjects.define_dataset()
SPLIT = flags.DEFINE_string(
    "split", "", "Split to review; empty: the run's evaluation split. Of --decisions: those named."
)
SUSPICION = flags.DEFINE_float(
    "suspicion", 0.3, "Suspects whose score is less are left out.", 0.0, 1.0
)
PICTURES = flags.DEFINE_integer("pictures", 200, "Suspects on the page, 20 kB each.", lower_bound=0)
DECISIONS = flags.DEFINE_list(
    "decisions",
    [],
    "review.csv (several, by commas), a JSON export of Label Studio, or KIND:PATH, a corrected "
    "data set.",
)
TO = flags.DEFINE_enum(
    "to", None, list(writing.DATA_SETS), "Format of the corrected data set; default: its own."
)
PLANT = flags.DEFINE_float("plant", 0.0, "Share of the labels to spoil first.", 0.0, 1.0)
FAULTS = flags.DEFINE_list(
    "plant_faults", list(planting.USUAL), f"Their kinds in turn, of: {', '.join(planting.FAULTS)}."
)
PLANT_SEED = flags.DEFINE_integer("plant_seed", 0, "Of --plant.")
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Default: review/ of the run or beside the file; corrected/ beside the table."
)
detectors.define(required=False, score_threshold=reviewing.FLOOR, iou_threshold=None)
saving.define()
subjects.define_images()

OF_REVIEWS = ("plant", "plant_faults", "plant_seed", "suspicion", "pictures", "save")


def main(argv):
    del argv
    if DECISIONS.value:
        return apply_decisions()
    if not flags.FLAGS.checkpoint:
        raise app.UsageError("Give --checkpoint, to find suspects, or --decisions on them.")
    if TO.present:
        raise app.UsageError("--to is the format of what --decisions make.")
    return review(flags.FLAGS.checkpoint)


# ------------------------------------------------------------------ review


def review(path):
    start = time.perf_counter()
    detector = detectors.load_detector()
    own = subjects.configuration(path, detector)
    config = configuration(own)
    dataset = subjects.open_split(
        path, config, config.eval_split, detector.classes, moved=not DATASET.value
    )
    if flags.FLAGS.debug:
        dataset = dataset[: subjects.DEBUG_IMAGES]
    output = common.results_folder(OUTPUT_DIR.value or detectors.default_output("review"))
    saving.require_room(output)
    evaluator = evaluators.Evaluator(detector, dataset, detector.grid, config, loss=False)
    with data.reading(dataset):
        measured = evaluator()
    seen = [one.clipped() for one in evaluator.detections]
    reviewed, found, planted = dataset, reviewing.suspects(seen, dataset, floor=0.0), None
    if PLANT.value:
        reviewed, found, planted = with_faults(seen, dataset, found)
    raised, found = len(found), [one for one in found if one.score >= SUSPICION.value]
    warnings = [*learnt(path, own, config, dataset)]
    summary = {
        "checkpoint": str(path),
        "which": flags.FLAGS.which,
        "dataset": config.dataset,
        "split": config.eval_split,
        "images": len(reviewed),
        "labels": sum(len(example.labels) for example in reviewed),
        "detections": sum(map(len, seen)),
        "map_area": measured["map_area"],
        "suspicion": SUSPICION.value,
        "left_out": raised - len(found),
        "suspects": {
            kind: sum(suspect.kind == kind for suspect in found) for kind in reviewing.KINDS
        },
        "planted": planted,
        "warnings": warnings,
        "seconds": time.perf_counter() - start,
    }
    decisions.write(output / "review.csv", decisions.rows(found, reviewed))
    training.write_json(output / "summary.json", summary)
    with common.drawing(output / "review.html"):
        write_page(output / "review.html", found, reviewed, summary)
    saved = not found or saving.save_dataset(output, reviewing.proposed(found, reviewed))
    if not flags.FLAGS.save:
        common.print_skipped(reviewed)
    print_summary(summary, output)
    return 0 if saved else 1


def configuration(own):
    """What to review: the run's own evaluation split, or what flags say."""
    return dataclasses.replace(
        own,
        dataset=DATASET.value or own.dataset,
        eval_split=SPLIT.value or ("" if DATASET.value else own.eval_split),
        bad_examples=flags.FLAGS.bad_examples,
        batch_size=flags.FLAGS.batch_size,
        subdivisions=1,
    )


def with_faults(seen, dataset, before):
    """(the data set with faults, the suspects in it, what was found of the faults)."""
    with experiment_flags.user_errors("--plant"):
        options = {"kinds": FAULTS.value, "seed": PLANT_SEED.value}
        reviewed, faults = reviewing.plant(dataset, PLANT.value, **options)
    found = reviewing.suspects(seen, reviewed, floor=0.0)
    new = planting.new_ones(found, reviewed, before, dataset)
    measured = reviewing.measure(found, faults)
    return reviewed, found, measured | {"new_suspects": reviewing.measure(new, faults)}


def learnt(path, own, config, dataset):
    """A warning where the network was trained on images that are reviewed."""
    if subjects.is_file(path):
        return
    try:
        trained = data.open(
            own.dataset,
            own.train_split or None,
            image_size=own.image_size,
            verify=False,
            bad_examples="skip",
        )
    except (OSError, ValueError):
        return  # it is not where it was: nothing is known
    files = set(map(name_and_size, trained)) - {None}
    both = sum(name_and_size(example) in files for example in dataset)
    drawn = (own.dataset, own.train_split) == (config.dataset, config.eval_split)
    both = both or (len(dataset) if drawn else 0)
    if both:
        yield (
            f"the network was trained on {both} of these {len(dataset)} images. It has learnt "
            "faults of their labels, and finds fewer of them. Review images that it has not seen: "
            "docs/review.md says how to go through a whole data set that way."
        )


def name_and_size(example):
    """What a file keeps when its data set is copied or written in another format; or None."""
    return (example.path.name, example.path.stat().st_size) if example.path else None


def write_page(file, found, dataset, summary):
    facts = {
        "labels": f"{summary['labels']} in {summary['images']} images",
        "detections": summary["detections"],
        "checkpoint": summary["checkpoint"],
        "mAP@0.5": page.percent(summary["map_area"]),
    }
    options = {"warnings": summary["warnings"], "planted": summary["planted"]}
    title = f"Review of {dataset.name}"
    text = page.render(found, dataset, title=title, facts=facts, most=PICTURES.value, **options)
    with replacing(file, errors="replace") as stream:  # file names may be bytes
        stream.write(text)


def print_summary(summary, output):
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    for kind, count in summary["suspects"].items():
        print(f"{kind:<12}{count:6}  {page.MEANING[kind]}")
    if summary["planted"]:
        print_planted(summary["planted"])
    print(
        f"{sum(summary['suspects'].values())} suspects (that score at least "
        f"{summary['suspicion']:g}; {summary['left_out']} score less); written to {output}"
    )
    print(f"Look at {output / 'review.html'}, decide in review.csv, then give it to --decisions.")


def print_planted(planted):
    print(f"{planted['planted']} planted faults; other faults of the labels count as false alarms:")
    for row, new in zip(planted["at"], planted["new_suspects"]["at"], strict=True):
        print(
            f"  first {row['looked_at']:5}: precision {page.percent(row['precision'])}, recall "
            f"{page.percent(row['recall'])}; without what was suspected before: "
            f"{page.percent(new['precision'])}, {page.percent(new['recall'])}"
        )
    for kind, row in planted["kinds"].items():
        print(
            f"  {kind:<9} {row['planted']:4} planted, recall {page.percent(row['recall'])}, named "
            f"right {page.percent(row['named'])}, anywhere {page.percent(row['anywhere'])}"
        )


# ------------------------------------------------------------------ decisions


def apply_decisions():
    given = [name for name in OF_REVIEWS if flags.FLAGS[name].present]
    if given:
        raise app.UsageError(f"--{given[0]} is of a review; --decisions are made by then.")
    config = training.TrainConfig()
    if flags.FLAGS.checkpoint:
        config = training.RunDirectory(flags.FLAGS.checkpoint).read_config()[0]
    elif not DATASET.value:
        raise app.UsageError("--decisions needs --dataset=KIND:PATH, which they are about.")
    config = dataclasses.replace(
        config, dataset=DATASET.value or config.dataset, bad_examples=flags.FLAGS.bad_examples
    )
    kind = TO.value or config.dataset.partition(":")[0]
    if kind not in writing.DATA_SETS:
        raise app.UsageError(f"{kind} cannot be written: give a format with --to.")
    first = DECISIONS.value[0]
    beside = user_path(first.partition(":")[2] if ":" in first else first).parent
    output = user_path(OUTPUT_DIR.value or beside / "corrected")
    writing.require_empty(output)
    with experiment_flags.user_errors(config.dataset):
        names = [SPLIT.value] if SPLIT.value else data.splits(config.dataset) or [None]
    splits = {name: common.open_split(config, name or "") for name in names}
    with experiment_flags.user_errors():
        corrected, done, refused = decided(splits, DECISIONS.value)
        remarks = data.write(f"{kind}:{output}", corrected)
    common.print_skipped(*splits.values())
    common.print_entries(config.dataset, f"remarks on {kind}", remarks)
    common.print_entries("decisions", "decisions that do not fit (any more) were left out", refused)
    print(", ".join(f"{action} {count}" for action, count in done.items()))
    training.write_json(output.with_name(output.name + ".json"), {"done": done, "refused": refused})
    print(f"{sum(map(len, corrected.values()))} images; written to {output}")
    return 1 if refused else 0


def decided(splits, sources):
    """({split: `Dataset`} with what was decided, {action: count}, decisions that do not fit)."""
    whole = joined(splits)
    if all(source.lower().endswith(".csv") for source in sources):
        table = [row for source in sources for row in decisions.read(user_path(source))]
        examples, done, refused = decisions.apply(table, whole)
    elif len(sources) == 1:
        (source,) = sources
        if ":" in source and not Path(source).exists():
            corrected = data.open(source, bad_examples=flags.FLAGS.bad_examples)
            rows = corrections.of_dataset(corrected, whole)
        else:
            rows = corrections.of_label_studio(user_path(source), whole)
        examples, done = corrections.replace(whole, rows)
        refused = []
    else:
        raise app.UsageError("--decisions takes several tables (.csv), or one file or data set.")
    left = iter(examples)
    parts = {
        split: data.Dataset([next(left) for _ in one], one.classes, name=one.name)
        for split, one in splits.items()
    }
    return parts, done, refused


def joined(splits):
    """All splits as one data set.

    Raises:
        UserError: an image is in two of them: there is no telling which is meant.
    """
    examples = [example for one in splits.values() for example in one]
    counts = collections.Counter(example.image_id for example in examples)
    twice = [image_id for image_id, count in counts.items() if count > 1]
    if twice:
        raise experiment_flags.UserError(
            f"the image {twice[0]!r} is in two of the splits {', '.join(map(str, splits))}: say "
            "which one is decided on with --split."
        )
    first = next(iter(splits.values()))
    return data.Dataset(examples, first.classes, name=first.name)


if __name__ == "__main__":
    experiment_flags.run(main)
