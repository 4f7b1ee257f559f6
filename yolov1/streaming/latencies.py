"""Percentiles of any number of durations."""

import math

import numpy as np

STEP = 1.01  # a percentile is right to one per cent
SHORTEST, LONGEST = 1e-6, 1e5  # seconds; what lies beyond counts as these


class Latencies:
    """Durations, counted in classes whose width grows with them: memory does not grow with their
    number."""

    def __init__(self):
        self._counts = np.zeros(self._class_of(LONGEST) + 1, np.int64)

    @staticmethod
    def _class_of(seconds):
        return int(math.log(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) / math.log(STEP))

    def add(self, seconds):
        self._counts[self._class_of(seconds)] += 1

    def percentile(self, percent) -> float | None:
        """The duration in seconds that `percent` of all do not exceed; None where there is none."""
        total = self._counts.sum()
        if not total:
            return None
        rank = max(math.ceil(total * percent / 100), 1)
        found = int(np.searchsorted(np.cumsum(self._counts), rank))
        return SHORTEST * STEP ** (found + 0.5)

    def percentiles_ms(self, *percents) -> dict:
        """``{"p50": ...}`` in milliseconds."""
        values = {f"p{percent:g}": self.percentile(percent) for percent in percents}
        return {name: None if v is None else 1000 * v for name, v in values.items()}
