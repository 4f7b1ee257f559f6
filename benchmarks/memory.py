"""Peak memory of a call: measured in a process of its own, apart from timing."""

import gc
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# Freed memory must go back to the system, or the measured call finds it there and nothing rises:
# with oneDNN TensorFlow keeps a pool of its own, and glibc keeps blocks below its threshold.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}


def peak_extra_mb(make: Callable, *arguments) -> float:
    """How far the resident memory rises during a call of ``make(*arguments)``, in MB (10^6).

    The result of the call counts, its inputs do not; blocks below 64 KiB do in part. Linux, glibc.

    Args:
        make: a function at the top of a module: makes the function to be measured.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)  # both are read when a process starts
    try:
        # Forked from a process that has imported TensorFlow and done nothing with it.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([make.__module__])
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_measure, make, arguments).result()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _measure(make, arguments):
    run = make(*arguments)
    for _ in range(3):
        run()
    gc.collect()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    run()
    return (resident("VmHWM") - before) / 1e6


def resident(field: str, process="self") -> int:
    """Bytes of resident memory of a process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
