"""What does the fused non-maximum suppression save against TensorFlow's, at 98 boxes, 20 classes?

    python -m benchmarks.bench_nms
    python -m benchmarks.bench_nms --batches=64 --inputs=realistic --thresholds=0.2

Two parts, each provider in turn, round after round:

time      one call, results read
marginal  what one more suppression costs inside a graph: 24 batches against 4

Calls go through several batches in turn: a processor that sees one batch again and again learns
its comparisons. With --workload=FILE, what a captured run predicted as well (--inputs= leaves the
others out). Providers: TensorFlow's op in a `tf.function`, the fused op in one, compiled by XLA
(which does not know TensorFlow's) and eagerly, the kernel on NumPy arrays on one thread; and
`outputs_only` takes the time of what stands around them in a graph. Rows go to
``results/nms.csv``; how many times faster the fused op is in a graph is printed at the end.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import harness, runner, workloads
from benchmarks.nms_inputs import INPUTS
from yolov1 import kernels, ops

PARTS = ["time", "marginal"]


@dataclasses.dataclass(frozen=True)
class Case:
    """N images of a kind of inputs, or of a captured workload, and the score threshold."""

    images: int
    inputs: str
    score_threshold: float
    workload: str = runner.unlisted("")

    def batches(self, count):
        """So many different (boxes, scores)."""
        if self.workload:
            return list(workloads.suppression_batches(self.workload, self.images, count))
        return [INPUTS[self.inputs](self.images, seed) for seed in range(count)]


def tensorflow(boxes, scores, threshold):
    """TensorFlow's op alone, without what the reference does for inverted boxes."""
    return tf.image.combined_non_max_suppression(
        boxes[:, :, None, :], scores, 300, 300, 0.5, threshold
    )


def fused(boxes, scores, threshold):
    return ops.non_max_suppression(boxes, scores, score_threshold=threshold, impl="fused")


def kernel(boxes, scores, threshold):
    return kernels.non_max_suppression(boxes, scores, score_threshold=threshold)


def outputs_only(boxes, scores, threshold):
    shapes = tf.zeros([0, 300, 4]), tf.zeros([0, 300]), tf.zeros([0, 300])
    return *shapes, boxes[:, 0, 0] + scores[:, 0, 0] + threshold


PROVIDERS = {  # whose code, and how it is called
    "tf_function": (tensorflow, "graph"),
    "fused": (fused, "graph"),
    "fused_xla": (fused, "xla"),
    "fused_op": (fused, "eager"),
    "kernel": (kernel, "numpy"),
    "outputs_only": (outputs_only, "graph"),
}


def make(name, case):
    """A function that suppresses the next of several batches and reads what was found."""
    compute, way = PROVIDERS[name]
    batches = case.batches(64 if case.images == 1 else 8)
    if way != "numpy":
        batches = [tuple(map(tf.constant, batch)) for batch in batches]
    if way in ("graph", "xla"):
        # A Python number of each case's own: the traced function is for it alone.
        function = tf.function(
            lambda boxes, scores: compute(boxes, scores, case.score_threshold),
            jit_compile=way == "xla",
            autograph=False,
        )
        compute = function.get_concrete_function(*batches[0])
        batch = itertools.cycle(batches)
        return lambda: [np.asarray(x) for x in compute(*next(batch))]
    batch = itertools.cycle(batches)
    return lambda: [np.asarray(x) for x in compute(*next(batch), case.score_threshold)]


def make_copies(name, case, copies):
    """A function whose one call suppresses so many batches in a graph, one after another."""
    compute, way = PROVIDERS[name]
    boxes, scores = map(np.stack, zip(*case.batches(copies), strict=True))
    boxes, scores = tf.constant(boxes), tf.constant(scores)

    def step(total, batch):
        *_, count = compute(*batch, case.score_threshold)
        return total + tf.reduce_sum(tf.cast(count, tf.float32))

    @tf.function(autograph=False, jit_compile=way == "xla")
    def all_copies(boxes, scores):
        return tf.foldl(step, (boxes, scores), tf.constant(0.0), parallel_iterations=1)

    function = all_copies.get_concrete_function(boxes, scores)
    return lambda: function(boxes, scores).numpy()


def measure(case, config):
    """(part, provider, seconds of each round) of one case."""
    calls = {}
    if "time" in config.parts:
        names = [name for name in config.providers if name != "outputs_only"]
        calls |= {("time", name): make(name, case) for name in names}
    if "marginal" in config.parts:
        graphs = [name for name in config.providers if PROVIDERS[name][1] == "graph"]
        calls |= {(name, n): make_copies(name, case, n) for name in graphs for n in runner.COPIES}
    seconds = harness.measure(
        calls,
        repeats=config.repeats,
        warm_up=3,
        turn_seconds=config.turn_ms / 1000,
        budget_seconds=config.budget,
    )
    few, many = runner.COPIES
    for key in calls:
        if key[0] == "time":
            yield *key, seconds[key]
        elif key[1] == many:
            more = seconds[key] - seconds[key[0], few]
            yield "marginal", key[0], more / (many - few)


def run(config) -> list[dict]:
    """All cases that were asked for; the rows."""
    environment, rows = harness.environment(), []
    ops.available()  # the library must be there before XLA compiles for the first time
    kinds = [(name, "") for name in config.inputs]
    if config.workload:
        kinds.append((workloads.part(config.workload), config.workload))
    for (inputs, workload), threshold, images in itertools.product(
        kinds, map(float, config.thresholds), map(int, config.batches)
    ):
        case = Case(images, inputs, threshold, workload)
        found = [kernel(*batch, threshold)[3].mean() for batch in case.batches(8)]
        passed = [(scores > threshold).sum() / images for _, scores in case.batches(8)]
        for part, provider, seconds in measure(case, config):
            row = {
                "benchmark": "nms",
                "part": part,
                "provider": provider,
                **runner.columns(case),
                "candidates": round(np.mean(passed), 1),  # of an image
                "found": round(np.mean(found), 1),
                **harness.summary(seconds),
                **environment,
            }
            rows.append(row)
            text = "{part:9}{inputs:10} > {score_threshold:<6} N={images:<4}{provider:13}"
            text += "{median_us:10.1f} us ({q20_us:.1f} .. {q80_us:.1f})"
            print(text.format(**row), flush=True)
    return rows


def ratios(rows):
    """TensorFlow's time by that of the fused op, each less `outputs_only` inside a graph.

    None where the fused op took no more than that.
    """
    times = {}
    for row in rows:
        key = row["part"], row["inputs"], row["score_threshold"], row["images"]
        times.setdefault(key, {})[row["provider"]] = row["median_us"]
    for (part, *case), time in times.items():
        floor = time.get("outputs_only", 0)
        if {"tf_function", "fused"} <= time.keys():
            ours, theirs = time["fused"] - floor, time["tf_function"] - floor
            yield part, *case, theirs / ours if ours > 0 else None


def main(argv):
    del argv
    rows = workloads.or_sentence(run, flags.FLAGS)
    harness.write_rows(Path(flags.FLAGS.output), rows)
    print()
    for part, inputs, threshold, images, ratio in ratios(rows):
        said = "     ? (too short to tell)" if ratio is None else f"{ratio:6.1f}"
        print(f"{part:9}{inputs:10} > {threshold:<6} N={images:<4}{said} times as fast")


if __name__ == "__main__":
    flags.DEFINE_list("batches", ["1", "8", "32", "64"], "Batch sizes.")
    flags.DEFINE_list("thresholds", ["0.001", "0.2"], "Score thresholds.")
    runner.define_some("inputs", list(INPUTS), "What is suppressed.")
    runner.define_flags("nms", PARTS, PROVIDERS, budget=20)
    app.run(main)
