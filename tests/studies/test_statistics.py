"""The formulas against numbers worked by hand or by others, and against what they promise."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the extra study is not installed")

from yolov1.studies import statistics

NAN = float("nan")


def against_zero(*differences):
    """The comparison whose differences these are."""
    zeros = dict.fromkeys(range(len(differences)), 0.0)
    return statistics.compare(zeros, {"it": dict(enumerate(differences))})["it"]


def against(baseline, other):
    return statistics.compare(baseline, {"it": other})["it"]


def test_by_hand():
    """Of 1 .. 5: mean 3, s = sqrt(2.5), t = 3 sqrt(5 / 2.5) = 4.243 with 4 degrees of freedom, of
    which p is 0.0132 and the quantile of 97.5 % is 2.776 in every table."""
    found = against_zero(1.0, 2.0, 3.0, 4.0, 5.0)
    assert found.mean == 3 and found.sd == pytest.approx(math.sqrt(2.5))
    assert found.p == found.p_holm == pytest.approx(0.01324, abs=5e-5)
    half = 2.776 * math.sqrt(2.5 / 5)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), abs=1e-3)
    assert found.distinguishable and found.p_signs is None  # 2 / 2^5 could not be below 5 %


def test_pairs_are_of_a_seed():
    """A figure that is missing takes its seed with it."""
    baseline = {0: 0.5, 1: 0.6, 2: NAN, 3: 0.8}
    found = statistics.compare(baseline, {"it": {3: 0.9, 1: 0.65, 0: None, 2: 0.7}})["it"]
    assert found.seeds == (3, 1) and found.differences == pytest.approx((0.1, 0.05))


def test_power_as_others_have_it():
    """Numbers of statsmodels 0.14's TTestPower; Cohen's table 2.4.1 has 34 pairs for d = 0.5."""
    assert statistics.power(5, 1.0) == pytest.approx(0.4013899, abs=1e-6)
    assert statistics.power(10, 0.3) == pytest.approx(0.1361363, abs=1e-6)
    assert statistics.power(4, 2.0, alpha=0.01) == pytest.approx(0.3076761, abs=1e-6)
    assert statistics.seeds_needed(0.5, 1.0) == statistics.seeds_needed(-5.0, 10.0) == 34
    assert statistics.visible_difference(3, 1.0) == pytest.approx(3.2640436, abs=1e-5)
    assert statistics.visible_difference(34, 0.1) == pytest.approx(0.0495029, abs=1e-5)


def test_what_needs_no_power():
    assert statistics.seeds_needed(1e-3, 1.0) is None  # 7.8 million
    assert statistics.seeds_needed(0.0, 1.0) is None and statistics.seeds_needed(1.0, None) is None
    assert statistics.seeds_needed(1.0, 0.0) == 2 and statistics.visible_difference(1, 0.1) is None


@pytest.mark.parametrize("n", [2, 3, 5, 20, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_grows_with_the_difference(n, alpha):
    powers = [statistics.power(n, effect, alpha) for effect in np.linspace(0, 60, 100)]
    assert powers[0] == pytest.approx(alpha, rel=1e-5) and (np.diff(powers) > -1e-12).all()
    assert statistics.power(n, 1e6, alpha) == pytest.approx(1.0, abs=1e-4)


def test_power_where_the_noncentral_t_of_scipy_is_not_a_number():
    """Of the integral over the chi distribution, by `scipy.integrate.quad`."""
    assert statistics.power(2, 30.0) == pytest.approx(0.9991275942, abs=1e-6)


def test_the_test_is_scipys():
    from scipy import stats

    rng = np.random.default_rng(0)
    for n in (2, 3, 7):
        one, other = rng.normal(size=(2, n))
        found = against(dict(enumerate(one)), dict(enumerate(other)))
        expected = stats.ttest_rel(other, one)
        ends = expected.confidence_interval(0.95)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_holm_by_hand():
    """Holm (1979): 0.01 * 4, then 0.02 * 3, then 0.03 * 2 where that is not less, then 0.04."""
    assert statistics.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0] and statistics.holm([]) == []


def test_signs():
    """Of n differences of one sign, two of 2^n arrangements are as extreme."""
    assert against_zero(*range(1, 7)).p_signs == pytest.approx(2 / 2**6)
    assert against_zero(*range(1, 9)).p_signs == pytest.approx(2 / 2**8)
    # The smallest of six against the others: as far from 0 are this, none against, and their like.
    assert against_zero(-1.0, 2.0, 3.0, 4.0, 5.0, 6.0).p_signs == pytest.approx(4 / 2**6)
    assert against_zero(*[0.0] * 6).p_signs == 1.0
    assert against_zero(*range(1, 18)).p_signs is None


def test_intervals_of_little():
    assert statistics.interval([]).mean is None and statistics.interval([NAN, None]).n == 0
    one = statistics.interval([0.5, NAN])
    assert (one.n, one.mean, one.low, one.high, one.sd) == (1, 0.5, None, None, None)
    two = statistics.interval([0.4, 0.6])
    assert (two.mean, two.low, two.high) == pytest.approx((0.5, 0.4, 0.6))
    same = statistics.interval([0.1, 0.1, 0.1])
    assert (same.low, same.high, same.sd) == pytest.approx((0.1, 0.1, 0)) and same.sd == 0
    assert statistics.interval([0.3, 0.1, 0.4]) == statistics.interval([0.3, 0.1, 0.4])


def test_differences_of_little():
    none = statistics.compare({0: 1.0}, {"it": {1: 2.0}})["it"]
    assert none.seeds == () and none.mean is None and not none.distinguishable
    one = against_zero(0.5)
    assert (one.mean, one.p, one.low) == (0.5, None, None)
    nothing = against_zero(0.0, 0.0, 0.0)
    assert (nothing.p, nothing.sd, nothing.low) == (1.0, 0.0, 0.0)
    even = against({0: 1.0, 1: 1.0, 2: 1.0}, {0: 1.001, 1: 0.999, 2: 1.0})  # likewise
    assert even.mean == 0 and even.seeds_needed is None
    always = against_zero(*[0.1 + k - k for k in range(4)])  # but for rounding
    assert (always.p, always.sd) == (0.0, 0.0) and always.distinguishable


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((), "nothing can be said"),
        ((0.1,), "one seed cannot say"),
        ((0.1, 0.1), "the same difference in every one of 2 seeds"),
        ((0.0, 0.0), "no difference in every one of 2 seeds"),
        ((0.02, 0.03, 0.025), "+0.025 m (95 % +0.0126 to +0.0374), distinguishable (p = 0.013, 3"),
        ((0.02, -0.01, 0.0), "not distinguishable (p = 0.74, 3 seeds): 3 seeds see differences "),
        ((1e-6, -0.1, 0.1), "over 10,000 seeds"),
    ],
)
def test_sentences(differences, words):
    assert words in statistics.sentence("it", "m", against_zero(*differences))


def test_a_sentence_says_where_the_tests_disagree():
    """One far outlier: its size spoils the t-test, but all differences have one sign."""
    found = against_zero(0.01, 0.01, 0.012, 0.01, 0.011, 0.01, 0.5)
    assert found.p > 0.05 > found.p_signs
    assert "The exact test of signs says p = 0.016" in statistics.sentence("it", "m", found)


def test_what_the_correction_promises():
    """Three variants that are the baseline: at least one is called different in at most 5 % of the
    studies. (Uncorrected it would be twice that.) Of 2,000 studies, 3 standard errors are 1.5 %."""
    rng = np.random.default_rng(0)
    wrong = uncorrected = 0
    for _ in range(2000):
        figures = rng.normal(size=(4, 5)) + rng.normal(size=5)  # seeds differ, too
        baseline, *others = [dict(enumerate(row)) for row in figures]
        found = [statistics._compare(baseline, other).p for other in others]
        wrong += min(statistics.holm(found)) < 0.05
        uncorrected += min(found) < 0.05
    assert wrong / 2000 < 0.065 < uncorrected / 2000


def test_what_the_intervals_and_the_numbers_of_seeds_promise():
    """A difference of one standard deviation: its interval holds it in 95 of 100 studies, and as
    many seeds as are said to be needed see it in 80."""
    rng = np.random.default_rng(1)
    seeds = statistics.seeds_needed(1.0, 1.0)
    zeros = dict.fromkeys(range(seeds), 0.0)
    found = [
        statistics._compare(zeros, dict(enumerate(rng.normal(1.0, 1.0, seeds))))
        for _ in range(1000)
    ]
    assert abs(np.mean([f.low <= 1 <= f.high for f in found]) - 0.95) < 0.021
    assert 0.76 < np.mean([f.p < 0.05 for f in found]) < 0.87  # the next number above 80 %
