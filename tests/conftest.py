"""What tests of several parts need."""

import gc
import os

import pytest

# As in the programs (experiments/__init__.py), so that what they compute is the same in here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items):
    """Of a test with one of the marks in `FEW`, the cases that it leaves out are slow."""
    for mark, chosen in FEW.items():
        tests = {}
        for item in items:
            if not item.get_closest_marker(mark) or item.get_closest_marker("slow"):
                continue
            if not hasattr(item, "callspec"):
                raise pytest.UsageError(f"{item.nodeid} is marked {mark}, but has no parameters.")
            device = item.callspec.params.get("device")  # where there is a GPU, the same on both
            tests.setdefault((item.nodeid.partition("[")[0], device), []).append(item)
        for cases in tests.values():
            kept = chosen([case.callspec.params for case in cases])
            for k in set(range(len(cases))) - kept:
                cases[k].add_marker(pytest.mark.slow)


def covering(cases) -> set[int]:
    """Which of the combinations ``{parameter: value}`` to take: the first, and each later one that
    has a value which none before it had. As they come in the order of their values, all else there
    is as in the first: it says which value a failure is of."""
    seen, taken = set(), set()
    for k, case in enumerate(cases):
        values = {(name, repr(value)) for name, value in case.items()}
        if not values <= seen:
            seen |= values
            taken.add(k)
    return taken


FEW = {"each_value": covering, "first_case": lambda cases: {0}}


def pytest_collection_finish():
    """What has been imported stays: garbage is not looked for in it again and again."""
    gc.freeze()


@pytest.fixture
def no_other_font(monkeypatch):
    """The font that comes with Matplotlib is the only one."""
    from yolov1 import fonts

    def forget():
        fonts.readable.cache_clear()
        fonts._covering.cache_clear()

    monkeypatch.setattr(fonts, "_paths", lambda: [fonts.default()])
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def no_report():
    """Trainings draw no report, a sixth of their time: for tests that look at something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolov1.reporting.write_report", lambda path: None)
        yield


@pytest.fixture
def mixed_precision():
    """A function that sets the global dtype policy; the old one is back after the test."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy(before)
