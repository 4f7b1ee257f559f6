"""What does fused IoU save against TensorFlow, and how far is it from what is possible?

    python -m benchmarks.bench_box_iou
    python -m benchmarks.bench_box_iou --shapes=1x4096x4096 --parts=time --providers=fused,xla

The parts of a run, each provider in turn, round after round:

time      one call for N x M x K boxes, forward and full (with the gradients by both sides)
kinds     giou, diou and ciou beside iou
dtypes    16-bit and 64-bit boxes against float32
aligned   boxes one by one
versions  the versions of the kernel by themselves, on one thread (kernels/README.md)
memory    how far the resident memory rises in a call, beside the size of what the call returns

With --workload=FILE, the predicted boxes of each step of a captured run against its objects as
well, under "captured:FILE:step".

Providers are in `box_iou_providers`; "strong" is plain TensorFlow as one writes it for speed. The
upstream gradient is an input whose making is not timed. Two transfers show what the bandwidth of
the memory allows: a store of the overlaps, and a copy that moves as many bytes as must be read and
written, both past the caches and into memory that is allocated already; small results that stay in
the caches may be faster. Two floors show what a call costs without the computation: the no-ops make
as many op calls that write nothing, `fill_op` fills newly allocated memory of the overlaps' size.
Rows go to ``results/box_iou.csv``, the plot comes from `benchmarks.plot`; targets are printed last.
"""

import numpy as np
from absl import app, flags

from benchmarks import box_iou_providers, box_iou_targets, runner, workloads
from benchmarks.box_iou_providers import PROVIDERS, TRANSFERS, Case
from benchmarks.providers import VERSIONS
from yolov1 import kernels

PARTS = ["time", "kinds", "dtypes", "aligned", "versions", "memory"]
MODES = ("forward", "full")
STRONGEST = ("xla", "xla_strong", "fused", "fused_op")
ALIGNED = ("tf_function", "xla", "fused", "fused_op", "fused_xla")
IN_A_GRAPH = ("tf_function", "xla", "fused", "fused_xla")
SHAPES = ["16x98x20", "64x98x64", "1x4096x4096", "8x2048x512"]


class Bench(runner.Bench):
    """Adds pairs in a second, and the share of the speed of a store as large."""

    benchmark = "box_iou"
    label = (
        "{part:9}{mode:8}{N:>3}x{M}x{K:<5} {op:13}{kind:5}{dtype:9}{provider:19}{output_mb:7.2f} MB"
    )
    rate = "{pairs_per_us:9.1f} pairs/us {of_store:>6} of a store"
    warm_up = 1  # a round of the large shapes takes seconds

    def figures(self, case, seconds, transfer):
        size = {"output_mb": round(case.output_bytes / 1e6, 3)}
        if seconds is None:
            return {"pairs_per_us": "", "of_store": "", **size}
        own = np.median(seconds)
        share = "" if transfer is None else round(np.median(transfer) / own, 3)
        return {"pairs_per_us": round(case.pairs / own / 1e6, 1), "of_store": share, **size}


def run(config) -> list[dict]:
    """All parts that were asked for; the rows."""
    bench = Bench(config, box_iou_providers)
    shapes = [tuple(map(int, text.split("x"))) for text in config.shapes]
    # The parts beside the sweep over shapes: bound by latency, and by memory.
    by_pairs = sorted(shapes, key=np.prod)
    ends = list(dict.fromkeys((by_pairs[0], by_pairs[-1])))

    def time(part, names, cases):
        bench.time(part, [(name, case) for case in cases for name in names])

    if "time" in config.parts:
        for shape in shapes:
            for mode in MODES:
                names = [name for name in PROVIDERS if name not in VERSIONS]
                time("time", (*names, *TRANSFERS), [Case(*shape, mode)])
    for shape in ends:
        if "kinds" in config.parts:
            cases = [Case(*shape, kind=kind) for kind in kernels.KINDS]
            time("kinds", (*STRONGEST, TRANSFERS[0]), cases)
        if "dtypes" in config.parts:
            names = ("float32", "bfloat16", "float16", "float64")
            time("dtypes", (*STRONGEST, TRANSFERS[0]), [Case(*shape, dtype=name) for name in names])
    if "aligned" in config.parts:
        for pairs in map(int, config.pairs):
            for mode in MODES:
                time("aligned", (*ALIGNED, *TRANSFERS), [Case(1, pairs, 1, mode, "aligned_iou")])
    if "versions" in config.parts:
        for shape in shapes:
            if shape in ends or shape == (64, 98, 64):
                time("versions", VERSIONS, [Case(*shape, mode) for mode in MODES])
    if "memory" in config.parts:
        cases = [Case(*ends[-1], "forward")] + [Case(*shape) for shape in by_pairs[-2:]]
        bench.memory([(name, case) for case in cases for name in IN_A_GRAPH])
    for step in workloads.load(config.workload).steps if config.workload else ():
        part = workloads.part(config.workload, step)
        for mode in MODES:
            time(part, (*PROVIDERS, *TRANSFERS), [Case.captured(config.workload, step, mode)])
    return bench.rows


if __name__ == "__main__":
    flags.DEFINE_list("shapes", SHAPES, "N x M x K: groups, boxes of either side in each.")
    flags.DEFINE_list("pairs", ["10000", "1000000"], "Pairs of aligned boxes.")
    runner.define_flags("box_iou", PARTS, PROVIDERS, budget=5)
    app.run(lambda _: runner.report(run, box_iou_targets.table))
