"""Which cases of a test with many are the suite's first guard."""

import itertools
import types

import pytest

from tests.conftest import covering, pytest_collection_modifyitems


def test_each_value_is_in_a_case_that_is_kept():
    names = ("impl", "dtype", "shape")
    values = (["fused", "reference"], [float, int, str, bytes], [[1], [2], [3]])
    cases = [dict(zip(names, case, strict=True)) for case in itertools.product(*values)]
    kept = [cases[k] for k in covering(cases)]
    assert len(kept) == 1 + 1 + 3 + 2
    differ = [sum(case[name] != cases[0][name] for name in names) for case in kept]
    assert sorted(differ) == [0] + 6 * [1]
    for name, every in zip(names, values, strict=True):
        assert all(any(case[name] == value for case in kept) for value in every)
    assert covering([{"one": k} for k in range(5)]) == set(range(5))


@pytest.mark.parametrize(("mark", "kept"), [("each_value", 4), ("first_case", 1), ("other", 6)])
def test_the_cases_that_are_left_out_are_slow(mark, kept):
    items = [Case(mark, a=a, b=b) for a, b in itertools.product(range(3), "xy")]
    pytest_collection_modifyitems(items)
    assert [case.slow for case in items].count(False) == kept
    assert not items[0].slow


class Case:
    """What the hook asks of a collected case."""

    def __init__(self, mark, **params):
        self.nodeid = f"tests/test_a.py::test[{params}]"
        self.callspec = types.SimpleNamespace(params=params)
        self.mark, self.slow = mark, False

    def get_closest_marker(self, name):
        return name if name == self.mark else None

    def add_marker(self, mark):
        assert mark.name == "slow"
        self.slow = True
