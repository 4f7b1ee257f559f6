"""What does the fused YOLO loss save against TensorFlow, and how far is it from what is possible?

    python -m benchmarks.bench_yolo_loss
    python -m benchmarks.bench_yolo_loss --batches=64 --parts=time --providers=fused,xla,noop_op

The parts of a run, each provider in turn, round after round:

time      one call, forward and full (with the gradient), beside copies of as many bytes
marginal  what one more loss with its gradient costs inside a graph: 24 copies against 4. All read
          the same inputs, which are hot; each writes a gradient of its own, which is cold: 24 of
          them, at N=64 9 MB, do not stay in a second-level cache
objects   half of the cells with an object, against the usual 6 %
dtypes    16-bit predictions and targets against float32
versions  the versions of the kernel by themselves, on one thread (kernels/README.md)
memory    how far the resident memory rises in a call, in a process of its own

With --workload=FILE, each step of a captured run as well, under "captured:FILE:step".

Providers are in `yolo_loss_providers`; "strong" is the fastest plain TensorFlow that we could
write. The copies show what the bandwidth of the memory allows. Two floors show what a call costs
without the computation: `noop_op` has the loss op's inputs and outputs and does nothing,
`outputs_only` only allocates the results; in "marginal", where every result is summed up, it is
what the sums cost. The posts compute their own loss, everything else the paper's. Rows go to
``results/yolo_loss.csv``, plots come from `benchmarks.plot`; the targets are printed at the end.
"""

import numpy as np
from absl import app, flags

from benchmarks import runner, workloads, yolo_loss_providers, yolo_loss_targets
from benchmarks.providers import VERSIONS
from benchmarks.yolo_loss_providers import PROVIDERS, TRANSFERS, Case, make_copies

PARTS = ["time", "marginal", "objects", "dtypes", "versions", "memory"]
STRONGEST = ("tf_function_strong", "xla_strong", "fused", "fused_op")


class Bench(runner.Bench):
    """Adds the bandwidth, and the cost of one more copy inside a graph."""

    benchmark = "yolo_loss"
    label = "{part:9}{mode:8} N={images:<5}{objects:<5} {dtype:9}{targets_dtype:9}{provider:19}"
    rate = "{gb_per_s:8.1f} GB/s"

    def figures(self, case, seconds, transfer):
        del transfer  # it moves as many bytes
        if seconds is None:
            return {"gb_per_s": ""}
        return {"gb_per_s": round(case.bytes_moved / np.median(seconds) / 1e9, 2)}

    def marginal(self, group):
        """One row for each (provider, case), timed in turn: what one more copy costs."""
        calls = {}
        for name, case in group:
            runs = [self._make(name, case, make_copies, n) for n in runner.COPIES]
            if all(runs):
                calls |= {(name, case, n): run for n, run in zip(runner.COPIES, runs, strict=True)}
        seconds = self._measure(calls)
        few, many = runner.COPIES
        for name, case, copies in calls:
            if copies == many:
                more = seconds[name, case, many] - seconds[name, case, few]
                self._add("marginal", name, case, more / (many - few))


def run(config) -> list[dict]:
    """All parts that were asked for; the rows."""
    bench = Bench(config, yolo_loss_providers)
    batches = [int(images) for images in config.batches]
    # The parts beside the sweep over N: where a call is bound by latency, and by memory.
    ends = sorted({max(batches)} | ({64} & set(batches)))
    graphs = [name for name, (_, way) in PROVIDERS.items() if way in ("graph", "xla")]
    if "time" in config.parts:
        for images in batches:
            for mode in ("forward", "full"):
                names = [n for n in PROVIDERS if n != "outputs_only" and n not in VERSIONS]
                bench.time("time", [(name, Case(images, mode)) for name in (*names, *TRANSFERS)])
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
    for step in workloads.load(config.workload).steps if config.workload else ():
        case = Case.captured(config.workload, step)
        names = [name for name in PROVIDERS if name != "outputs_only"]
        part = workloads.part(config.workload, step)
        bench.time(part, [(name, case) for name in (*names, *TRANSFERS)])
    return bench.rows


if __name__ == "__main__":
    flags.DEFINE_list("batches", ["1", "16", "64", "256", "1024", "4096"], "Batch sizes.")
    runner.define_flags("yolo_loss", PARTS, PROVIDERS, budget=25)
    app.run(lambda _: runner.report(run, yolo_loss_targets.table))
