"""Where does the time of a training step go, and how near is the loop to what the network allows?

    python -m benchmarks.bench_training
    python -m benchmarks.bench_training --cases=fast:448:64 --dataset=voc:PATH --jit_compile

By default on photo-like JPEG files of 500 x 375, cached. All providers take turns, round after
round, and train the same network; a turn begins with nothing in its queues, and its first steps do
not count. Every ratio is taken within a round. Images a second:

ceiling         the loop's compiled step by itself, on one batch of random pixels
ours            this project's loop on the data set, with the fused loss; the target is 0.97 of it
ours_reference  the same with the reference loss
posts_fit       Keras' fit with the posts' Sequence (files read anew with OpenCV by four threads, no
                augmentation) and the post keras_voc's own loss

The parts of a step of ours are differences of providers: nothing can be timed inside a compiled
step, whose ops overlap. So each has the noise of two measurements, and may come out below zero.

forward + backward   of a plain sum of the predictions
loss                 with the loss in the place of that sum, less the line before
optimizer            with clipping, decay, the optimizer and the moving average, less that
metrics              the loop's whole step, with its sums for metrics.csv, less that
host work            the loop on one batch in memory (check for NaN, logs, callbacks), less that
waiting for input    as the loop itself measures it
input beside a step  the loop on the data set, less the loop on one batch and the waiting: what
                     reading takes away from the network where both use the same cores
checkpoint           one, spread over --checkpoint_minutes of its default
evaluation           of one more image (40 against 8), spread over the steps of ten epochs (the
                     default), for an evaluation set as large as the training set; untrained
                     weights find as many boxes as there can be

CPU time is of all threads, and says more than the wall's where other programs use the machine.
Amdahl's line says what a loss that costs nothing would gain, fused and reference: its cost there is
that of one more loss with its gradient in a graph (24 against 4). Rows go to
``results/training.csv``.
"""

import dataclasses
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import harness, photos, runner, targets
from benchmarks.providers import Unavailable
from benchmarks.training_providers import PROVIDERS, Case, Setup, loss_copies
from experiments.lib import evaluators
from experiments.lib import flags as experiment_flags
from yolov1 import data, ops
from yolov1.data.formats.voc import VOC_CLASSES

CASES = ["laptop:112:16", "laptop:320:8", "fast:448:4"]
DEBUG = {"cases": ["laptop:64:4"], "files": 8, "repeats": 3, "turn_seconds": 0.05}
FLAGS_OF_TRAINING = ("augment", "augment_options", "cache", "optimizer", "precision", "jit_compile")
SPEED = ("ceiling", "ours", "ours_reference", "posts_fit")
# Of each part: the provider that has it, and the one that has all the same but it.
DIFFERENCES = {
    "forward + backward": ("network", None),
    "loss": ("network_loss", "network"),
    "optimizer": ("update", "network_loss"),
    "metrics": ("ceiling", "update"),
    "host work": ("loop", "ceiling"),
}
CEILING, STEP, MS = "the ceiling", "a step of ours", "ms a step"
LOSSES = {"fused": "ours", "reference": "ours_reference"}  # the provider that trains with each
EVALUATED = (8, 40)  # images: what one more takes
TARGET = 0.97


def measure(setup, names, config):
    """``{provider: [rounds, 3]}``: of a step, seconds, CPU seconds, and seconds of waiting."""
    turns = {}
    for name in names:
        try:
            turns[name] = PROVIDERS[name](setup)
        except Unavailable as error:
            print(f"left out: {error}", flush=True)
    steps = [run(1, 1)[0] for run in turns.values()]  # after tracing, with caches filled
    timed = max(2, round(config.turn_seconds / min(steps, default=1)))
    untimed = max(2, timed // 3)  # in which queues fill, or run dry
    found = {name: [] for name in turns}

    def turn(name):
        return lambda: found[name].append(turns[name](untimed, timed))

    harness.measure(
        {name: turn(name) for name in turns},
        repeats=config.repeats,
        warm_up=0,
        budget_seconds=config.budget,
    )
    return {name: np.array(values) for name, values in found.items()}


def parts_of(turns):
    """``{part: [rounds, 2]}``: of a step, seconds and CPU seconds, as far as the providers were
    measured."""
    steps = {name: values[:, :2] for name, values in turns.items()}
    parts = {
        part: steps[whole] - (steps[without] if without else 0)
        for part, (whole, without) in DIFFERENCES.items()
        if whole in steps and (without in steps or not without)
    }
    if "ours" in turns:
        waiting = turns["ours"][:, 2:] * [1, 0]  # which is no work
        parts["waiting for input"] = waiting
        if "loop" in steps:
            parts["input beside a step"] = steps["ours"] - steps["loop"] - waiting
    return parts


def loss_alone(setup, impls):
    """``{impl: seconds of one more loss in a graph, of each round}``."""
    calls = {(i, n): loss_copies(setup, i, n) for i in impls for n in runner.COPIES}
    seconds = harness.measure(calls, repeats=30, warm_up=3, turn_seconds=0.01, budget_seconds=15)
    few, many = runner.COPIES
    return {i: (seconds[i, many] - seconds[i, few]) / (many - few) for i in impls}


def now_and_then(setup):
    """Seconds of a checkpoint, and of one more image in an evaluation, each twice."""
    images = list(setup.dataset)
    few, many = (
        data.Dataset(list(itertools.islice(itertools.cycle(images), n)), setup.dataset.classes)
        for n in EVALUATED
    )
    evaluate = evaluators.Evaluator(setup.state.model, many, setup.grid, setup.config)
    saving, evaluation = [], []
    for _ in range(3):
        saving.append(seconds_of(setup.state.checkpoints.save_last))
        evaluate.dataset = few
        fixed = seconds_of(evaluate)
        evaluate.dataset = many
        evaluation.append((seconds_of(evaluate) - fixed) / (EVALUATED[1] - EVALUATED[0]))
    return np.array(saving[1:]), np.array(evaluation[1:])


def seconds_of(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def spread(values) -> dict:
    """Median, and the 20 % and 80 % quantiles."""
    q20, median, q80 = np.quantile(values, (0.2, 0.5, 0.8))
    return {"median": median, "q20": q20, "q80": q80}


class Rows:
    """The rows of a case, printed as they come."""

    def __init__(self, case, config, dataset, environment):
        self.rows, self._environment = [], environment
        self._fixed = dataclasses.asdict(case) | {"dataset": dataset.name}
        self._fixed |= {name: getattr(config, name) for name in FLAGS_OF_TRAINING}

    def add(self, part, name, values, unit, ratios, ratio_of, cpu=None):
        """One row: a figure in its unit, and its ratio to another, both with their spread.

        Args:
            values: images a second, or seconds of a step, which become milliseconds.
            cpu: CPU seconds of a step, where they were measured.
        """
        values = np.asarray(values) * (1000 if unit == MS else 1)
        figures = spread(values) | {f"ratio_{k}": v for k, v in spread(ratios).items()}
        row = {
            "benchmark": "training",
            "part": part,
            "name": name,
            **self._fixed,
            **{k: round(float(v), 4) for k, v in figures.items()},
            "unit": unit,
            "ratio_of": ratio_of,
            "cpu_ms": "" if cpu is None else round(1000 * float(np.median(cpu)), 3),
            "rounds": len(values),
        }
        self.rows.append(row | self._environment)
        text = "  {name:20}{median:10.2f} {unit:10}{ratio_median:7.3f} of {ratio_of} "
        text += "({ratio_q20:.3f} .. {ratio_q80:.3f})"
        text += "" if cpu is None else ", {cpu_ms:.1f} ms CPU"
        print(text.format(**row), flush=True)


def measure_case(case, config, training, dataset, environment) -> list[dict]:
    """Everything about one case; its rows."""
    print(f"\n{case}")
    setup, rows = Setup(case, training, dataset), Rows(case, training, dataset, environment)
    try:
        turns = measure(setup, config.providers, config)
        for name in SPEED:
            if {name, "ceiling"} <= turns.keys():
                step, cpu, _ = turns[name].T
                ratios = turns["ceiling"][:, 0] / step
                rows.add("speed", name, case.batch_size / step, "images/s", ratios, CEILING, cpu)
        if "ours" in turns:
            split(setup, rows, turns)
    finally:
        setup.close()
    return rows.rows


def split(setup, rows, turns):
    """The rows of the parts of a step of ours, and of what the loss takes of one."""
    config, step = setup.config, turns["ours"][:, 0]
    for name, values in parts_of(turns).items():
        seconds, cpu = values.T
        rows.add("split", name, seconds, MS, seconds / step, STEP, cpu)
    saving, evaluation = now_and_then(setup)
    saving *= np.median(step) / (60 * config.checkpoint_minutes)
    evaluation *= config.batch_size / config.eval_every
    for name, values in (("checkpoint", saving), ("evaluation", evaluation)):
        rows.add("split", name, values, MS, values / np.median(step), STEP)
    steps = {impl: np.median(turns[name][:, 0]) for impl, name in LOSSES.items() if name in turns}
    for impl, values in loss_alone(setup, steps).items():
        rows.add("loss", impl, values, MS, values / steps[impl], "a step with it")
        gain = steps[impl] / (steps[impl] - np.median(values))
        print(f"  if the {impl} loss cost nothing, a step would be {gain:.4f} times as fast")


def run(config) -> list[dict]:
    """All cases; the rows."""
    ops.available()  # the library must be there before XLA compiles for the first time
    training = experiment_flags.config_from_flags(debug={})
    if config.debug:
        for name, value in DEBUG.items():
            if not config[name].present:
                setattr(config, name, value)
    rows, environment = [], harness.environment()
    with tempfile.TemporaryDirectory() as folder, experiment_flags.user_errors():
        cases = [Case.parse(text) for text in config.cases]
        if not config.dataset:
            photos.write_photos(Path(folder), config.files)
        for case in cases:
            dataset = open_dataset(config, folder, case.image_size)
            rows += measure_case(case, config, training, dataset, environment)
    return rows


def open_dataset(config, folder, image_size):
    """What --dataset says, or the photos in the folder, with the twenty classes of VOC."""
    if config.dataset:
        return data.open(config.dataset, config.train_split or None, image_size=image_size)
    return data.Dataset(list(data.open(f"voc:{folder}")), VOC_CLASSES, name="photos")


def verdicts(rows):
    """Lines of `benchmarks.targets.table`."""
    cases = {}
    for row in rows:
        if row["part"] == "speed":
            case = "{model}, {image_size} px, batches of {batch_size}: ".format(**row)
            cases.setdefault(case, {})[row["name"]] = row
    rules = []
    for case, by in cases.items():
        if {"ours", "ceiling"} <= by.keys():
            cpu = by["ceiling"]["cpu_ms"] / by["ours"]["cpu_ms"]
            rules.append((f"{case}ours / ceiling", by["ours"]["ratio_median"], "at least", TARGET))
            rules.append((f"{case}the same by CPU time", cpu, "at least", None))
    return targets.table(rules)


def too_noisy(rows) -> bool:
    """Whether the ratio that the target is about differs by more than a tenth between rounds."""
    return any(
        row["ratio_q80"] - row["ratio_q20"] > 0.1
        for row in rows
        if row["part"] == "speed" and row["name"] == "ours"
    )


def main(argv):
    del argv
    tf.get_logger().setLevel("ERROR")
    rows = run(flags.FLAGS)
    harness.write_rows(Path(flags.FLAGS.output), rows)
    print()
    targets.show(verdicts(rows))
    if too_noisy(rows):
        print(
            "The rounds differ by more than a tenth: these verdicts mean little. Give a quieter "
            "machine, or more --repeats and --budget; CPU times say more meanwhile."
        )


if __name__ == "__main__":
    flags.DEFINE_list("cases", CASES, "What to train: NETWORK:PIXELS:BATCH, some.")
    runner.define_some("providers", list(PROVIDERS), "What to measure; the split needs all.")
    flags.DEFINE_integer("files", 96, "JPEG files to make, where there is no --dataset.", 1)
    flags.DEFINE_integer("repeats", 6, "Rounds, at most.", 1)
    flags.DEFINE_float("turn_seconds", 0.7, "Length of a turn; it has two steps at least.")
    flags.DEFINE_float("budget", 50, "Seconds for the rounds of a case; there are at least three.")
    flags.DEFINE_string("output", str(harness.RESULTS / "training.csv"), "CSV for the rows.")
    names = (*FLAGS_OF_TRAINING, "dataset", "train_split")
    experiment_flags.define(names, dataset="", train_split="")
    experiment_flags.run(main)
