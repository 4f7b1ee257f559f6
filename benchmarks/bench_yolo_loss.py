"""What does the fused YOLO loss save against TensorFlow, and how far is it from what is possible?

    python -m benchmarks.bench_yolo_loss
    python -m benchmarks.bench_yolo_loss --batches=64 --parts=time --providers=fused,xla,noop_op

The parts of a run, each provider in turn, round after round:

time      one call, forward and full (with the gradient), beside copies of as many bytes
marginal  what one more loss with its gradient costs inside a graph: 24 copies against 4
objects   half of the cells with an object, against the usual 6 %
dtypes    16-bit predictions and targets against float32
versions  the versions of the kernel by themselves, on one thread (kernels/README.md)
memory    how far the resident memory rises in a call, in a process of its own

Providers are in `yolo_loss_providers`; "strong" is the fastest plain TensorFlow that we could
write. Floors: `noop_op` has the loss op's inputs and outputs and does nothing, `outputs_only` only
gives memory; in "marginal", where every result is summed up, it is what the sums cost. The posts
compute their own loss, everything else the paper's. Rows go to ``results/yolo_loss.csv``, plots
come from `benchmarks.plot`; the targets are printed at the end.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import harness, memory, yolo_loss_targets
from benchmarks.yolo_loss_providers import (
    PROVIDERS,
    ROOFS,
    VERSIONS,
    Case,
    Unavailable,
    make,
    make_copies,
    make_roof,
)
from yolov1 import ops

PARTS = ["time", "marginal", "objects", "dtypes", "versions", "memory"]
COPIES = (4, 24)
STRONGEST = ("tf_function_strong", "xla_strong", "fused", "fused_op")
flags.DEFINE_list("batches", ["1", "16", "64", "256", "1024", "4096"], "Batch sizes.")
flags.DEFINE_list("parts", PARTS, "What to measure.")
flags.DEFINE_list("providers", list(PROVIDERS), "Providers to measure.")
flags.DEFINE_integer("repeats", 60, "Timed rounds, at most.", 1)
flags.DEFINE_float("turn_ms", 10, "Calls that are shorter are repeated for this long in a round.")
flags.DEFINE_float("budget", 25, "Seconds for the rounds of one group of providers.")
flags.DEFINE_string("output", str(harness.RESULTS / "yolo_loss.csv"), "CSV file for the rows.")
for _name, _allowed in (("parts", PARTS), ("providers", PROVIDERS)):
    flags.register_validator(
        _name,
        lambda value, allowed=_allowed: set(value) <= set(allowed),
        f"must be some of {', '.join(_allowed)}",
    )


class Bench:
    """Measures groups of (provider, case) and keeps the rows."""

    def __init__(self, config):
        self.config = config
        self.rows = []
        self._environment = harness.environment()
        self._threads = len(os.sched_getaffinity(0))
        self._missing = set()
        ops.available()  # the library must be there before XLA compiles for the first time

    def time(self, part, group):
        """One row for each (provider, case) of the group, timed in turn."""
        calls, per_call = {}, {}
        for name, case in group:
            if name in ROOFS:
                calls[name, case], per_call[name, case] = make_roof(name, case, self._threads)
            elif run := self._make(name, case):
                calls[name, case] = run
        for key, seconds in self._measure(calls).items():
            self._add(part, *key, seconds / per_call.get(key, 1))

    def marginal(self, group):
        """The same for the cost of one more copy inside a graph."""
        calls = {}
        for name, case in group:
            runs = [self._make(name, case, make_copies, n) for n in COPIES]
            if all(runs):
                calls |= {(name, case, n): run for n, run in zip(COPIES, runs, strict=True)}
        seconds = self._measure(calls)
        few, many = COPIES
        for name, case, copies in calls:
            if copies == many:
                more = seconds[name, case, many] - seconds[name, case, few]
                self._add("marginal", name, case, more / (many - few))

    def memory(self, group):
        for name, case in group:
            if self._make(name, case):
                peak = memory.peak_extra_mb(make, name, case)
                self._add("memory", name, case, peak_mb=round(peak, 1))

    def _make(self, name, case, maker=make, *arguments):
        """The provider's function, or None where it was not asked for or does not exist."""
        if name not in self.config.providers:
            return None
        try:
            return maker(name, case, *arguments)
        except Unavailable as error:
            if str(error) not in self._missing:
                print(f"left out: {error}")
            self._missing.add(str(error))
            return None

    def _measure(self, calls):
        if not calls:
            return {}
        return harness.measure(
            calls,
            repeats=self.config.repeats,
            warm_up=3,
            turn_seconds=self.config.turn_ms / 1000,
            budget_seconds=self.config.budget,
        )

    def _add(self, part, provider, case, seconds=None, *, peak_mb=""):
        timed, bandwidth = dict.fromkeys(("median_us", "q20_us", "q80_us", "repeats"), ""), ""
        if seconds is not None:
            timed = harness.summary(seconds)
        if seconds is not None and part != "marginal":
            bandwidth = round(case.bytes_moved / np.median(seconds) / 1e9, 2)
        row = {
            "benchmark": "yolo_loss",
            "part": part,
            "provider": provider,
            **dataclasses.asdict(case),
            **timed,
            "gb_per_s": bandwidth,
            "peak_mb": peak_mb,
            **self._environment,
        }
        self.rows.append(row)
        text = "{part:9}{mode:8} N={images:<5}{objects:<5} {dtype:9}{targets_dtype:9}{provider:19}"
        if seconds is None:
            text += "{peak_mb:12.1f} MB"
        else:
            text += "{median_us:12.1f} us ({q20_us:.1f} .. {q80_us:.1f})"
        print(text.format(**row), f"{bandwidth:8.1f} GB/s" if bandwidth else "", flush=True)


def run(config) -> list[dict]:
    """All parts that were asked for; the rows."""
    bench = Bench(config)
    batches = [int(images) for images in config.batches]
    # The parts beside the sweep over N: where a call is bound by latency, and by memory.
    ends = sorted({max(batches)} | ({64} & set(batches)))
    graphs = [name for name, (_, way) in PROVIDERS.items() if way in ("graph", "xla")]
    if "time" in config.parts:
        for images in batches:
            for mode in ("forward", "full"):
                names = [n for n in PROVIDERS if n != "outputs_only" and n not in VERSIONS]
                bench.time("time", [(name, Case(images, mode)) for name in (*names, *ROOFS)])
    if "marginal" in config.parts:
        for images in batches:
            if images <= 256:  # 24 copies of the results of more images do not stay in memory
                bench.marginal([(name, Case(images)) for name in graphs])
    for images in ends:
        if "objects" in config.parts:
            cases = [Case(images, objects=share) for share in (0.06, 0.5)]
            bench.time("objects", [(name, case) for case in cases for name in STRONGEST])
        if "dtypes" in config.parts:
            pairs = [("float32", "float32")]
            pairs += [(h, t) for h in ("bfloat16", "float16") for t in ("float32", h)]
            cases = [Case(images, dtype=p, targets_dtype=t) for p, t in pairs]
            bench.time("dtypes", [(name, case) for case in cases for name in STRONGEST])
        if "versions" in config.parts:
            cases = [Case(images, objects=share) for share in (0, 0.06, 0.5, 1)]
            bench.time("versions", [(name, case) for case in cases for name in VERSIONS])
    if "memory" in config.parts:
        bench.memory([(name, Case(max(batches))) for name in graphs])
    return bench.rows


def main(argv):
    del argv
    tf.get_logger().setLevel("ERROR")  # it warns of many traced functions, which are meant here
    config = flags.FLAGS
    rows = run(config)
    harness.write_rows(Path(config.output), rows)
    print()
    for case, target, measured, verdict in yolo_loss_targets.table(rows):
        print(f"{case:54}{target:16}{measured:10}{verdict}")


if __name__ == "__main__":
    app.run(main)
