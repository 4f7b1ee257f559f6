"""What fused IoU is meant to reach, as ratios within one run, and whether it does."""

from collections.abc import Iterable

from benchmarks import targets

SMALL, LARGE = ("16x98x20", "64x98x64"), ("1x4096x4096", "8x2048x512")


class Ratios:
    """Ratios of the rows of one run; a row that is not there makes a ratio None."""

    def __init__(self, rows: Iterable[dict]):
        usual = {"op": "pairwise_iou", "kind": "iou", "dtype": "float32"}
        self._rows = {}
        for row in rows:
            if all(row[name] == value for name, value in usual.items()):
                shape = "{N}x{M}x{K}".format(**row)
                self._rows[row["part"], row["provider"], shape, row["mode"]] = row

    def _value(self, part, provider, shape, mode, column):
        return self._rows.get((part, provider, shape, mode), {}).get(column)

    def times(self, slow, fast, shape, mode):
        """How many times as long `slow` takes as `fast`."""
        microseconds = [self._value("time", p, shape, mode, "median_us") for p in (slow, fast)]
        return targets.ratio(*microseconds)

    def memory(self, provider, shape, mode):
        """Extra memory over the size of what a call returns."""
        which = "memory", provider, shape, mode
        return targets.ratio(*(self._value(*which, c) for c in ("peak_mb", "output_mb")))


def _rules(r):
    """(case, measured, "at most" or "at least", target); without a target where none is set."""
    for mode, shapes, goals in (
        ("forward", LARGE[:1], {"tf_function": 25, "xla": 2, "xla_strong": None}),
        ("full", LARGE, {"tf_function": 30, "xla": 12, "xla_strong": None}),
    ):
        for shape in shapes:
            for slow, target in goals.items():
                measured = r.times(slow, "fused", shape, mode)
                yield f"{shape}, {mode}, {slow} / fused", measured, "at least", target
    for mode, transfer in (("forward", "store"), ("full", "copy")):
        for shape in LARGE:
            share = r.times(f"{transfer}_non_temporal", "fused_op", shape, mode)
            yield f"{shape}, {mode}, one op call, of a {transfer}", share, "", None
    for shape in LARGE:
        share = r.memory("fused", shape, "full")
        yield f"{shape}, full, extra memory / results", share, "at most", 1.15
    for shape in SMALL:
        for mode in ("forward", "full"):
            for fused in ("fused_xla", "fused"):
                measured = r.times("xla", fused, shape, mode)
                yield f"{shape}, {mode}, xla / {fused}", measured, "at least", 1
            floor = r.times("fused", "noop_function", shape, mode)
            yield f"{shape}, {mode}, fused / a function of no-ops", floor, "", None


def table(rows: Iterable[dict]) -> list[tuple[str, str, str, str]]:
    """(case, target, measured, verdict) of every target, as text.

    Args:
        rows: those that `bench_box_iou` made in one run.
    """
    return targets.table(_rules(Ratios(rows)))
