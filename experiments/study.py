"""Is the difference real? Trains variants of some flags with several seeds each, and compares them.

    python -m experiments.study --vary="semantics=paper,darknet" --seeds=0-4 -- --epochs=10
    python -m experiments.study --variant="" --variant="semantics_options=box=ciou,weight_xy=2" \\
        --seeds=0-2 --parallel=2 --output_dir=runs/ciou -- --dataset=voc:PATH --S=14
    python -m experiments.study --search=optuna --trials_count=20 \\
        --vary="learning_rate=log:1e-4..1e-2;weight_decay=0..0.05" -- --epochs=10 --eval_every=2

What stands after ``--`` are flags of experiments.train, the same for all trials; ``{seed}`` in them
is replaced by the seed. Each trial is an ordinary run in OUTPUT_DIR/VARIANT/seed-N. The same
command goes on where a study was stopped: finished runs are kept, begun ones resumed, failed ones
tried again. The first variant is what the others are compared with, unless --baseline says another.
``summary.json``, ``study.csv`` and ``study.html`` have what was found: docs/studies.md; so does
``tensorboard --logdir OUTPUT_DIR/hparams``, tab HPARAMS.
"""

import contextlib
import functools
import shlex
import sys

from absl import app, flags

from yolov1.files import replacing, user_path
from yolov1.studies import page, plan, results, search_page, statistics
from yolov1.tracking import tensorboard
from yolov1.training import RunDirectory, write_json

from .lib import children, cluster, common, search, trials
from .lib import flags as experiment_flags

VARY = flags.DEFINE_string(
    "vary",
    "",
    "Flags and their values, of which every combination is trained: 'semantics=paper,darknet;"
    "epochs=5,10'. Where values have commas, with | between them: "
    "'semantics_options=|box=ciou,weight_xy=2'. With --search ranges, too: 'A..B', 'log:A..B'.",
)
VARIANT = flags.DEFINE_multi_string(
    "variant",
    [],
    "One more variant, 'semantics=paper;semantics_options=box=ciou,weight_xy=2'; empty: nothing "
    "changed. As often as wanted.",
)
SEEDS = flags.DEFINE_string("seeds", "0-2", "Seeds of every variant: '0-4' or '0,2,5'.")
BASELINE = flags.DEFINE_string(
    "baseline",
    None,
    "The variant that the others are compared with, such as 'semantics=paper'; by default the "
    "first.",
)
MEASURE = flags.DEFINE_string(
    "measure",
    None,
    "The figure of summary.json that decides; by default map_area, which moves more evenly than "
    "the 11 points of map_voc07 (accuracy with --task=classify). Parts have a dot: "
    "ap_per_class.circle.",
)
PARALLEL = flags.DEFINE_integer("parallel", 1, "Trainings at once.", lower_bound=1)
CORES = flags.DEFINE_integer(
    "cores",
    0,
    "Cores of each training; 0: all. The last bits depend on it: the same for a whole study.",
    lower_bound=0,
)
cluster.define()
SEARCH = flags.DEFINE_enum("search", None, ["optuna"], "Search the ranges of --vary in its place.")
TRIALS_COUNT = flags.DEFINE_integer("trials_count", 20, "Trials of --search.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/study", "Folder of the study.")
DEBUG = flags.DEFINE_boolean("debug", False, "Two minutes: tiny trainings, of two seeds.")


def main(argv):
    words = argv[1:] + ["--debug"] * DEBUG.value
    with experiment_flags.user_errors():
        seeds = plan.parse_seeds(SEEDS.value if seeds_given() else "0-1")
        vary = plan.parse_vary(VARY.value)
        variants = [*map(plan.parse_variant, VARIANT.value)]
    trials.require_varied({**vary, **{name: 0 for v in variants for name, _ in v.flags}}, words)
    measure = MEASURE.value or trials.default_measure(words, seeds[0])
    with experiment_flags.user_errors():
        results.require_figure(measure)
    output = user_path(OUTPUT_DIR.value)
    if SEARCH.value:
        return look_for(output, vary, seeds, words, measure)
    if not (vary or variants):
        raise app.UsageError("--vary or --variant is missing: what is compared?")
    return compare(output, (plan.grid(vary) if vary else []) + variants, seeds, words, measure)


def compare(output, variants, seeds, words, measure):
    """Trains every variant with every seed."""
    with experiment_flags.user_errors():
        variants = plan.with_folders(variants)
        baseline = plan.baseline(variants, BASELINE.value)
    statistics.require()
    jobs = [trials.make_job(output, v, seed, words) for v in variants for seed in seeds]
    trials.require_different([job for job in jobs if job.trial.seed == seeds[0]])
    trials.read_all(jobs)
    trials.require_data([job for job in jobs if job.trial.state != results.FINISHED])
    common.results_folder(output)
    done = sum(job.trial.state == results.FINISHED for job in jobs)
    named = ", ".join(map(str, seeds))
    print(f"{len(variants)} variants, seeds {named}: {len(jobs)} trials, {done} of them done")
    rows = [job.trial for job in jobs]

    def conclude():
        found = results.summarise(rows, variants, baseline.name, measure)
        print(results.table(found, measure))
        for values in found["variants"].values():
            if values["sentence"]:
                print(values["sentence"])
        # Losses of the curves that cannot be compared, by whichever flag they differ.
        found["own_losses"] = len({job.config.loss_semantics() for job in jobs}) > 1
        write(output, found, rows, words, page.of_study)

    with at_the_end(conclude):
        trials.train_all(jobs, PARALLEL.value, CORES.value, measure, pool_of())
    return code(any(row.state == results.FAILED for row in rows))


def look_for(output, vary, seeds, words, measure):
    """``--search``: tries points of the space that --vary says."""
    others = {"--variant": VARIANT.value, "--baseline": BASELINE.value is not None}
    wrong = [name for name, given in others.items() if given] + ["no --vary"] * (not vary)
    if wrong:
        raise app.UsageError(f"--search looks for the best of --vary, got {' and '.join(wrong)}.")
    with experiment_flags.user_errors():
        space = search.space_of(vary)
    trials.require_data(search.jobs_of_values(output, space, seeds, words))
    config = trials.config_of(plan.of_seed(words, seeds[0]))
    if not 0 < config.eval_every < config.epochs:
        print("remark: no evaluation before the end: nothing is pruned. --eval_every=1 measures.")
    found = search.Search(output, space, seeds, words, measure)

    def conclude():
        summary = search.summarise(found)
        print(results.table_of_search(summary))
        write(output, summary, search.rows(found), words, search_page.of_search)

    with at_the_end(conclude):
        search.train_all(found, TRIALS_COUNT.value, PARALLEL.value, CORES.value, pool_of())
    return code(any(attempt.state == results.FAILED for attempt in found.attempts))


def pool_of():
    """Where the trials run."""
    config = flags.FLAGS
    if config.on == "ray":
        given = {"address": config.address, "gpus": config.gpus_per_worker}
        return functools.partial(cluster.Pool, **given)
    return children.Pool


@contextlib.contextmanager
def at_the_end(conclude):
    """Calls a function at the end, also of a study that is interrupted: what there is is shown."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on with it.")
        raise
    finally:
        conclude()


def seeds_given() -> bool:
    return flags.FLAGS["seeds"].present or not DEBUG.value


def write(output, found, rows, words, draw):
    """``summary.json``, ``study.csv``, ``study.html`` and ``hparams/`` for TensorBoard, and says
    where they are."""
    found |= {
        "command": f"python -m {trials.STUDY} {shlex.join(sys.argv[1:])}",
        "recipes": trials.recipes_of(rows, words),
        "trials": results.trials_as_dicts(rows),
        "environment": results.environments(rows),
    }
    write_json(output / "summary.json", found)
    results.write_csv(output / "study.csv", rows)
    with common.drawing(output / "study.html"), replacing(output / "study.html") as file:
        curves = {row.path: results.read_curves(RunDirectory(output / row.path)) for row in rows}
        file.write(draw(output.resolve().name, found, curves))
    with common.drawing(output / "hparams"):
        tensorboard.write_study(output, found)
    say_where(output, rows)


def say_where(output, rows):
    """What failed, and where the rest is."""
    failed = [row for row in rows if row.state == results.FAILED]
    for row in failed:
        print(f"failed: {row.variant} seed {row.seed}", *row.error, sep="\n    ")
    if failed:
        print(f"{len(failed)} of {len(rows)} trials failed; the same command tries them again.")
    print(f"results: {output / 'summary.json'}, {output / 'study.csv'}")
    print(f"page:    {output / 'study.html'}")


def code(failed: bool) -> int:
    return experiment_flags.BROKE_OFF if failed else 0


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
