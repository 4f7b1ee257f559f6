"""Kernels of the YOLO loss that others wrote: a Python function, or a function in a shared library.

module:function   function(predictions, targets, grid, semantics) -> loss [N], gradient
FILE.so           int yolo_loss(const float* predictions, const float* targets, int64_t N,
                                int64_t S, int64_t B, int64_t C, float* loss, float* gradient);
"""

import ctypes
import importlib
import os
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.conformance.loss import random_case
from yolov1 import kernels
from yolov1.grid import GridSpec

NAME = "yolo_loss"  # of the function in a shared library


class KernelError(ValueError):
    """What was named is no kernel; says what is expected."""


def load(text: str):
    """The kernel ``(predictions, targets, grid, semantics)`` to ``(loss, gradient)``.

    Args:
        text: ``MODULE:FUNCTION``, or the path of a shared library.

    Raises:
        KernelError: it is neither, or cannot be loaded.
    """
    if text.endswith(".so"):
        return _shared(text)
    module, separator, name = text.partition(":")
    if not separator or not name:
        raise KernelError(f"--kernel must be MODULE:FUNCTION or FILE.so, got {text!r}.")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise KernelError(f"--kernel={text}: {error}; is its folder in PYTHONPATH?") from error
    if not callable(function):
        raise KernelError(f"--kernel={text} must be a function, got {type(function).__name__}.")
    return lambda *arguments: _results(text, arguments[0], function(*arguments))


def _results(text, predictions, results):
    """Loss and gradient as arrays of the promised shapes and dtype."""
    if not isinstance(results, tuple | list) or len(results) != 2:
        raise KernelError(f"{text} must return (loss, gradient), got {type(results).__name__}.")
    loss, gradient = map(np.asarray, results)
    for name, array, shape in (
        ("loss", loss, predictions.shape[:1]),
        ("gradient", gradient, predictions.shape),
    ):
        if array.shape != shape or array.dtype != np.float32:
            raise KernelError(
                f"{text}: {name} must be float32 {list(shape)}, got {array.dtype} "
                f"{list(array.shape)}."
            )
    return loss, gradient


def _shared(text):
    path = Path(text).resolve()
    if not path.is_file():
        raise KernelError(f"--kernel={text}: no such file.")
    try:
        function = getattr(ctypes.CDLL(str(path)), NAME)
    except (OSError, AttributeError) as error:
        raise KernelError(
            f"--kernel={text}: {error}; expected a shared library with a C function {NAME} "
            '(in C++: extern "C").'
        ) from error
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 2
    function.restype = ctypes.c_int
    outputs = {}  # kept from call to call, as a framework would

    def kernel(predictions, targets, grid, semantics):
        del semantics  # it computes the one that --semantics names
        predictions, targets = map(np.ascontiguousarray, (predictions, targets))
        shape = predictions.shape
        if shape not in outputs:
            outputs.clear()
            outputs[shape] = np.empty(shape[0], np.float32), np.empty(shape, np.float32)
        loss, gradient = outputs[shape]
        sizes = len(predictions), grid.S, grid.B, grid.C
        pointers = [array.ctypes.data for array in (predictions, targets, loss, gradient)]
        code = function(*pointers[:2], *sizes, *pointers[2:])
        if code:
            raise RuntimeError(f"{path.name}: {NAME} returned {code}, expected 0")
        return loss, gradient

    def poisoned(predictions, targets, grid, semantics):
        """`kernel`, whose outputs hold NaN before, and are not overwritten by the next call."""
        outputs.clear()
        outputs[predictions.shape] = (
            np.full(len(predictions), np.nan, np.float32),
            np.full(predictions.shape, np.nan, np.float32),
        )
        return [array.copy() for array in kernel(predictions, targets, grid, semantics)]

    poisoned.timed = kernel
    return poisoned


def time_beside_ours(kernel, semantics, config):
    """Prints, for each batch size, the times of a call in turns: theirs, and ours on one thread and
    on all of this process's."""
    grid, threads = GridSpec(), len(os.sched_getaffinity(0))
    timed = getattr(kernel, "timed", kernel)
    print(f"\nmicroseconds of a call, loss and gradient, float32, {grid}")
    for images in map(int, config.batches):
        pair = random_case(np.random.default_rng(0), grid, images, 0.06)
        calls = {"yours": lambda p=pair: timed(*p, grid, semantics)}
        for count in sorted({1, threads}):
            calls[f"ours, {count} thread{'s' * (count > 1)}"] = lambda p=pair, n=count: (
                kernels.yolo_loss(*p, grid=grid, semantics=semantics, threads=n)
            )
        seconds = harness.measure(
            calls, repeats=config.repeats, warm_up=2, turn_seconds=0.01,
            budget_seconds=config.budget,
        )  # fmt: skip
        yours = np.median(seconds["yours"])
        for name, values in seconds.items():
            row = harness.summary(values)
            text = "N={:<6}{:18}{median_us:11.1f} ({q20_us:.1f} .. {q80_us:.1f})"
            ratio = "" if name == "yours" else f"   yours takes {yours / np.median(values):.2f} x"
            print(text.format(images, name, **row) + ratio, flush=True)
