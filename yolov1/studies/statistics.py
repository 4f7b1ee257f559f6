"""What a few seeds say of a figure, and of the difference between two variants of a training.

Seeds are paired: variants with the same seed start from the same weights (where they have the same
network) and see the same images in the same order, so that the difference of two figures varies
less than either. With d_1 .. d_n these differences, m their mean and s their standard deviation
(n - 1 in the denominator):

    interval of the difference   m ± t(1 - alpha / 2; n - 1) s / sqrt(n)
    test                         paired t-test: t = m sqrt(n) / s against Student's t, two-sided
    power for a difference D     P(|T| > t(1 - alpha / 2; n - 1)), T noncentral t with
                                 n - 1 degrees of freedom and noncentrality D sqrt(n) / s
                                 (Cohen, Statistical Power Analysis, 2nd ed., chapter 2)

Of several comparisons with one baseline the p-values are Holm's (1979): sorted, p_(i) times the
number of those not smaller, and never less than one before. The interval of a figure itself is the
percentile bootstrap's (Efron 1979; `scipy.stats.bootstrap`).
"""

import dataclasses
import functools
import math

import numpy as np

from yolov1 import extras

ALPHA = 0.05
POWER = 0.8
RESAMPLES = 9999
MOST_SEEDS = 10_000  # beyond so many, nobody asks for the number
# Seeds of which turning signs says something: of fewer, p is never below ALPHA (2 / 2^n at least);
# of more the mean is nearly normal, and the t-test needs no second opinion.
SIGNS = (6, 16)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean of n finite values with the ends of its 95 % interval; None where there is none."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    sd: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A variant against the baseline, seed by seed.

    Attributes:
        seeds: those that both have a finite figure of.
        differences: the variant's less the baseline's, of each.
        mean, low, high: of the difference, with the ends of its 95 % interval; the latter None with
            fewer than two seeds.
        sd: standard deviation of the differences; None with fewer than two seeds.
        p: of the paired t-test, before the correction; None with fewer than two seeds.
        p_holm: after it.
        p_signs: of the exact test that turns the differences' signs, before any correction; None
            with fewer or more seeds than `SIGNS`.
        seeds_needed: how many would see a difference of this size (see `ALPHA`, `POWER`); None
            where more than `MOST_SEEDS`, or unknown.
        visible: the smallest difference that this number of seeds sees; None with fewer than two.
        comparisons: how many there were: `seeds_needed` and `visible` are for a level of `ALPHA`
            by their number, the strictest of Holm's.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_signs: float | None = None
    seeds_needed: int | None = None
    visible: float | None = None
    comparisons: int = 1

    @property
    def distinguishable(self) -> bool:
        return self.p_holm is not None and self.p_holm < ALPHA


def require():
    """Raises `MissingExtra` where SciPy is not installed: before the trainings, not after them."""
    _scipy("stats")


def _scipy(part: str):
    return extras.needed("study", f"scipy.{part}", what="a study's statistics")


def interval(values) -> Interval:
    """The mean of the values that are finite, and the bootstrap's 95 % interval of it.

    Of equal values the interval is the value. Of two it is from the one to the other. Of one there
    is none, and of none no mean. (Of few values it is too short: of five normal ones it holds the
    true mean in 83 of 100 cases, of ten in 89. It shows the spread; the test is another's.)
    """
    values = np.array([v for v in values if v is not None and math.isfinite(v)], np.float64)
    n = len(values)
    if n < 2:
        return Interval(n, float(values[0]) if n else None, None, None, None)
    found = (
        _scipy("stats")
        .bootstrap(
            (values,),
            np.mean,
            confidence_level=1 - ALPHA,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),  # the same figures give the same interval
        )
        .confidence_interval
    )
    sd = _rounded(float(np.std(values, ddof=1)), float(np.abs(values).max()))
    return Interval(n, float(values.mean()), float(found.low), float(found.high), sd)


def _rounded(value: float, scale: float) -> float:
    """0 for what is but the rounding of figures of this size."""
    return value if abs(value) > 1e-13 * scale else 0.0


def compare(baseline: dict, others: dict) -> dict[str, Comparison]:
    """Every variant against the baseline.

    Args:
        baseline: seed -> figure.
        others: name -> (seed -> figure). A figure that is None or not finite is none.

    Returns:
        Name -> `Comparison`.
    """
    alone = {name: _compare(baseline, figures) for name, figures in others.items()}
    tested = {name: found.p for name, found in alone.items() if found.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    count = max(1, len(tested))
    return {
        name: dataclasses.replace(
            found,
            p_holm=corrected.get(name),
            comparisons=count,
            seeds_needed=seeds_needed(found.mean, found.sd, ALPHA / count),
            visible=visible_difference(len(found.seeds), found.sd, ALPHA / count),
        )
        for name, found in alone.items()
    }


def _compare(baseline, figures) -> Comparison:
    seeds = [
        seed
        for seed, figure in figures.items()
        if all(v is not None and math.isfinite(v) for v in (figure, baseline.get(seed)))
    ]
    values = np.array([figures[seed] - baseline[seed] for seed in seeds], np.float64)
    n = len(values)
    if not n:
        return Comparison((), ())
    scale = max(abs(own[seed]) for own in (figures, baseline) for seed in seeds)
    mean = _rounded(float(values.mean()), scale)
    found = Comparison(tuple(seeds), tuple(map(float, values)), mean)
    if n < 2:
        return found
    sd = _rounded(float(np.std(values, ddof=1)), scale)
    if sd == 0:  # the limit of ever closer differences
        return dataclasses.replace(
            found, low=mean, high=mean, sd=0.0, p=float(mean == 0), p_signs=_p_of_signs(values)
        )
    special, error = _scipy("special"), sd / math.sqrt(n)
    half = error * float(special.stdtrit(n - 1, 1 - ALPHA / 2))
    return dataclasses.replace(
        found,
        low=mean - half,
        high=mean + half,
        sd=sd,
        p=2 * float(special.stdtr(n - 1, -abs(mean) / error)),
        p_signs=_p_of_signs(values),
    )


def _p_of_signs(values) -> float | None:
    """The share of all ways to turn the differences' signs that give a mean as far from 0."""
    n = len(values)
    if not SIGNS[0] <= n <= SIGNS[1]:
        return None
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= sums[0] * (1 - 1e-12)))  # the first turns none


def holm(values) -> list[float]:
    """Holm's p-values of several, in their order."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[k]))
        corrected[k] = highest
    return corrected


def power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """How often the paired t-test of n seeds finds a difference of `effect` standard deviations.

    With Z normal, W chi-squared with n - 1 degrees of freedom, b the bound of t and s the shift:
    ``P(|Z + s| > b sqrt(W / (n - 1))) = E[F_W((n - 1) (Z + s)^2 / b^2)]``, summed over Z. (SciPy's
    noncentral t is NaN for many of the shifts that few seeds need.)
    """
    special = _scipy("special")
    bound = special.stdtrit(n - 1, 1 - alpha / 2)
    z, step = np.linspace(-8.5, 8.5, 2001, retstep=True)
    density = np.exp(-z * z / 2) * step / math.sqrt(2 * math.pi)
    shifted = (z + abs(effect) * math.sqrt(n)) / bound
    return min(1.0, float(density @ special.chdtr(n - 1, (n - 1) * shifted**2)))


def seeds_needed(difference, sd, alpha: float = ALPHA) -> int | None:
    """The fewest seeds whose test finds a difference with a probability of `POWER`.

    Args:
        difference, sd: in the same unit; None where they are not known.

    Returns:
        None where no number up to `MOST_SEEDS` does, or what is asked is not known.
    """
    if not difference or sd is None:
        return None
    if sd == 0:
        return 2
    enough = functools.partial(_enough, effect=difference / sd, alpha=alpha)
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if low > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= MOST_SEEDS else None


def _enough(n, effect, alpha) -> bool:
    return power(n, effect, alpha) >= POWER


def visible_difference(n: int, sd, alpha: float = ALPHA) -> float | None:
    """The smallest difference that n seeds see with a probability of `POWER`; None of fewer than
    two seeds."""
    if n < 2 or sd is None:
        return None
    low, high = 0.0, 1.0
    while power(n, high, alpha) < POWER:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, alpha) >= POWER else (middle, high)
    return sd * high


# ------------------------------------------------------------------ in words


def sentence(name: str, measure: str, found: Comparison) -> str:
    """What may be said of a variant, for people."""
    n = len(found.seeds)
    if not n:
        return f"{name}: no seed has {measure} of it and of the baseline: nothing can be said."
    start = f"{name}: {found.mean:+.3g} {measure}"
    if n == 1:
        return f"{start} with one seed: whether that is more than chance, one seed cannot say."
    seeds = f"{n} seeds" + (
        f", corrected for {found.comparisons} comparisons" if found.comparisons > 1 else ""
    )
    start += f" (95 % {found.low:+.3g} to {found.high:+.3g})"
    if found.sd == 0:
        what = "no difference" if found.mean == 0 else "the same difference"
        return f"{start}: {what} in every one of {n} seeds."
    test = f"p = {found.p_holm:.2g}, {seeds}"
    if found.distinguishable:
        return f"{start}, distinguishable ({test}).{_disagreement(found)}"
    count = found.seeds_needed
    needed = f"about {count:,} seeds" if count else f"over {MOST_SEEDS:,} seeds"
    small = f"; one of {abs(found.mean):.2g} needs {needed}" if found.mean else ""
    return (
        f"{start}, not distinguishable ({test}): {n} seeds see differences above "
        f"{found.visible:.2g}{small}.{_disagreement(found)}"
    )


def _disagreement(found) -> str:
    """The test of signs is a second opinion on a difference that is far from normal."""
    if found.p_signs is None or (found.p < ALPHA) == (found.p_signs < ALPHA):
        return ""
    return (
        f" The exact test of signs says p = {found.p_signs:.2g} where the t-test says "
        f"{found.p:.2g}, each before correction: look at the single seeds."
    )
