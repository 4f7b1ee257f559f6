"""Timing for the benchmarks: interleaved, warmed up, medians with quantiles, rows for a CSV file.

Variants of one question are run in turn, round after round, so that a machine that gets busy or
warm slows all of them alike. Quote ratios from one run, not times from two.
"""

import csv
import datetime
import math
import os
import platform
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import numpy as np

from yolov1.revision import git_revision

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def measure(
    variants: dict[str, Callable[[], object]],
    *,
    repeats: int = 50,
    warm_up: int = 5,
    turn_seconds: float = 0,
    budget_seconds: float = math.inf,
) -> dict[str, np.ndarray]:
    """Seconds of a call, ``{variant: [repeats]}``; of no variants nothing.

    Args:
        variants: functions that return when their work is done, results included.
        repeats: rounds; each variant has one turn in a round, in an order that turns with the
            rounds.
        warm_up: rounds before that are not counted (tracing, caches, clocks).
        turn_seconds: a turn is as many calls as take about this long, after one that is not
            counted, and gives their mean. A call then finds the caches that it left itself and not
            those of the variant before. 0: a turn is one call.
        budget_seconds: no further round starts after this time, from the third on.
    """
    if not variants:
        return {}
    names = list(variants)
    seconds = {name: [] for name in names}
    calls = dict.fromkeys(names, 1)
    start = time.perf_counter()
    for turn in range(-warm_up, repeats):
        if turn >= 3 and time.perf_counter() - start > budget_seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if turn_seconds:
                variants[name]()
            elapsed = _mean_time(variants[name], calls[name])
            if turn >= 0:
                seconds[name].append(elapsed)
            else:
                calls[name] = max(1, round(turn_seconds / elapsed))
    return {name: np.array(values) for name, values in seconds.items()}


def _mean_time(function, calls):
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def summary(seconds: np.ndarray) -> dict[str, float | int]:
    """Median and the 20 % and 80 % quantiles, in microseconds."""
    low, median, high = np.quantile(seconds, (0.2, 0.5, 0.8)) * 1e6
    return {
        "median_us": round(median, 2),
        "q20_us": round(low, 2),
        "q80_us": round(high, 2),
        "repeats": len(seconds),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def environment() -> dict[str, str | int]:
    """Where a row was measured: its last columns."""
    return {
        "device": _processor(),
        "cpus": os.cpu_count(),
        # Other programs' share of the machine; far above 1 a CPU, only ratios mean anything.
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"),
        "numpy": metadata.version("numpy"),
        "revision": git_revision() or "unknown",
        "date": datetime.date.today().isoformat(),
    }


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Adds rows, all with the same columns, to a CSV file; writes the header where it is new.

    Raises:
        SystemExit: there are no rows.
        ValueError: the file has other columns; the rows are in a file beside it, which it names.
    """
    rows = list(rows)
    if not rows:
        raise SystemExit(
            f"error: nothing was measured, so that {path} gets no rows: the flags name nothing, or "
            "nothing that exists here."
        )
    columns = list(rows[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    if not new:
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        if header != columns:
            beside = path.with_name(f"{path.stem}-other{path.suffix}")
            write_rows(beside, rows)
            raise ValueError(
                f"{path} has the columns {header}, expected {columns}: the rows are in {beside}. "
                f"Move {path.name} away, or give another --output."
            )
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)
