"""Counts and judges what `benchmarks.gpu` compares."""

import hashlib
import zlib

import ml_dtypes
import numpy as np

DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
# Of the largest value of an array: what an array of this dtype may be off by. Of the CPU's kernel,
# which rounds in the same places but in sums, and of float64, where the paper's own arithmetic is
# float32 (for a 16-bit dtype the rounding of the result is what counts).
NEAR_CPU = {"float32": 4e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}
NEAR_FLOAT64 = {"float32": 4e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 1.6e-2}


class Checks:
    """Counts checks by group, keeps the worst deviation of each and every failure."""

    def __init__(self, device, seed):
        self.device, self.seed = device, seed
        self.count, self.worst, self.failures = {}, {}, []
        self._digest = hashlib.sha256()

    def generator(self, *name):
        """Random numbers for a case, by the seed and its name."""
        return np.random.default_rng([self.seed, zlib.crc32(repr(name).encode())])

    def near(self, group, case, got, want, tolerance):
        """`got` is within `tolerance` of `want`, as a share of its largest value."""
        self._digest.update(np.asarray(got).tobytes())
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        if got.shape != want.shape:
            return self._note(group, case, np.inf, f"shape {got.shape}, expected {want.shape}")
        if not got.size:
            return self._note(group, case, 0.0, "")
        if (np.isnan(got) != np.isnan(want)).any():
            return self._note(group, case, np.inf, "not a number in other places")
        scale = max(np.nanmax(np.abs(want), initial=0), 1e-30)
        deviation = float(np.nanmax(np.abs(got - want), initial=0) / scale)
        wrong = "" if deviation <= tolerance else f"off by {deviation:.2e}, allowed {tolerance:g}"
        self._note(group, case, deviation, wrong)

    def same(self, group, case, got, want):
        """All arrays are equal, to the bit."""
        for array in got:
            self._digest.update(np.asarray(array).tobytes())
        wrong = any(a.tobytes() != b.tobytes() for a, b in zip(got, want, strict=True))
        self._note(group, case, float(wrong), "other bits" if wrong else "")

    def run(self, group, case, check):
        """``check()``, whose error is a failure and not the end."""
        try:
            with np.errstate(all="ignore"):
                check()
        except Exception as error:  # whatever it was, the other checks are of use
            self._note(group, case, np.inf, f"{type(error).__name__}: {error}")

    def _note(self, group, case, deviation, wrong):
        self.count[group] = self.count.get(group, 0) + 1
        self.worst[group] = max(self.worst.get(group, 0.0), deviation)
        if wrong:
            self.failures.append(f"{group}: {case} (seed {self.seed}): {wrong}")

    def digest(self):
        """Of the bits of everything that was compared, in order."""
        return self._digest.hexdigest()

    def report(self):
        """Lines of a table, then the failures."""
        lines = [f"{'checks':36}{'number':>8}  worst deviation"]
        for group, count in self.count.items():
            lines.append(f"{group:36}{count:8}  {self.worst[group]:.2e}")
        lines.append(f"{'all':36}{sum(self.count.values()):8}  {len(self.failures)} failed")
        return lines + self.failures[:50]


def arrays_of(call):
    """What a call wrote, without what it was not asked for."""
    return [x for x in call.read() if x is not None]
