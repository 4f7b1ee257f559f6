"""What the fused loss is meant to reach, as ratios within one run, and whether it does."""

from collections.abc import Iterable

from benchmarks import targets


class Ratios:
    """Ratios of the rows of one run; a row that is not there makes a ratio None."""

    def __init__(self, rows: Iterable[dict]):
        self._rows = list(rows)

    def microseconds(self, provider, images, part="time", **which):
        fields = {"mode": "full", "objects": 0.06, "dtype": "float32", "targets_dtype": "float32"}
        fields |= {"part": part, "provider": provider, "images": images, **which}
        for row in self._rows:
            if all(row[name] == value for name, value in fields.items()):
                return row["median_us"]
        return None

    def times(self, slow, fast, images, part="time"):
        """How many times as long `slow` takes as `fast`."""
        return targets.ratio(
            self.microseconds(slow, images, part), self.microseconds(fast, images, part)
        )

    def net_marginal(self, slow, fast, images):
        """The same for the marginal costs, each less what the sums over the results cost."""
        costs = [self.microseconds(p, images, "marginal") for p in (slow, fast, "outputs_only")]
        if None in costs or costs[1] <= costs[2]:
            return None
        return (costs[0] - costs[2]) / (costs[1] - costs[2])

    def against_itself(self, images, part, **which):
        """The op on another input against the op on the usual one, timed in turn."""
        usual = self.microseconds("fused_op", images, part)
        return targets.ratio(self.microseconds("fused_op", images, part, **which), usual)


def _rules(r):
    """(case, measured, "at most" or "at least", target); without a target where none is set."""
    half = {"dtype": "bfloat16", "targets_dtype": "bfloat16"}
    yield "N=64, one op call / no-op", r.times("fused_op", "noop_op", 64), "at most", 1.8
    for slow, fast, kind, target in (
        ("fused", "noop_function", "at most", 2),
        ("tf_function", "fused", "at least", 25),
        ("xla", "fused", "at least", 4),
    ):
        case = f"N=64, marginal, {slow} / {fast}"
        yield case, r.times(slow, fast, 64, "marginal"), kind, target
        yield f"{case}, less sums", r.net_marginal(slow, fast, 64), "", None
    for fused in ("fused_xla", "fused"):
        yield f"N=1, xla / {fused}", r.times("xla", fused, 1), "at least", 1
    yield "N=1, one op call / no-op", r.times("fused_op", "noop_op", 1), "at most", 1.2
    for images, graph in ((1024, 35), (4096, 40)):
        for slow, target in (("tf_function", graph), ("xla", 10), ("xla_strong", 8)):
            yield f"N={images}, {slow} / fused", r.times(slow, "fused", images), "at least", target
        share = r.times("copy", "fused_op", images)
        yield f"N={images}, or: bandwidth / copy", share, "at least", 0.9
    share = r.times("copy_non_temporal", "fused_op", 4096)
    yield "N=4096, bandwidth / non-temporal copy", share, "at least", 0.9
    yield "N=64, eager_tf / fused_eager", r.times("eager_tf", "fused_eager", 64), "at least", 60
    bfloat16 = r.against_itself(4096, "dtypes", dtype="bfloat16")
    yield "N=4096, bfloat16, float32 targets / float32", bfloat16, "at most", 0.72
    bfloat16 = r.against_itself(4096, "dtypes", **half)
    yield "N=4096, all bfloat16 / float32", bfloat16, "at most", 0.6
    for images in (64, 4096):
        dense = r.against_itself(images, "objects", objects=0.5)
        yield f"N={images}, 50 % object cells / 6 %", dense, "at most", 2.5


def table(rows: Iterable[dict]) -> list[tuple[str, str, str, str]]:
    """(case, target, measured, verdict) of every target, as text.

    Args:
        rows: those that `bench_yolo_loss` made in one run.
    """
    return targets.table(_rules(Ratios(rows)))
