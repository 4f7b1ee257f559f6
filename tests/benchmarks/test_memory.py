"""The peak memory of a call."""

import numpy as np

from benchmarks import memory


def _hold(megabytes):
    return lambda: np.ones(megabytes * 10**6, np.uint8).sum()


def test_peak_memory_is_what_a_call_takes():
    assert 49 <= memory.peak_extra_mb(_hold, 50) < 52
