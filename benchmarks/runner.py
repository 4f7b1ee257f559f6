"""What the benchmarks of the ops share: flags, providers measured in turn, rows, the report."""

import dataclasses
import os
from pathlib import Path

import tensorflow as tf
from absl import flags

from benchmarks import harness, memory, targets, workloads
from benchmarks.providers import Unavailable
from yolov1 import ops

flags.disclaim_key_flags()  # --help shows what is defined here as the benchmark's own

# In one graph: what one more costs there is the difference of the two times, over that of these.
COPIES = (4, 24)


def define_flags(benchmark: str, parts, providers, *, budget: float):
    """The flags that every benchmark has, for one that is run; `Bench` takes them as its config."""
    define_some("parts", parts, "What to measure.")
    define_some("providers", list(providers), "Providers to measure.")
    flags.DEFINE_integer("repeats", 60, "Timed rounds, at most.", 1)
    flags.DEFINE_float("turn_ms", 10, "Shorter calls are repeated for this long in a round.")
    flags.DEFINE_float("budget", budget, "Seconds for the rounds of one group of providers.")
    flags.DEFINE_string("output", str(harness.RESULTS / f"{benchmark}.csv"), "CSV for the rows.")
    workloads.define_flag()


def define_some(name: str, allowed: list[str], what: str):
    """A flag that takes some of `allowed`; by default all."""
    flags.DEFINE_list(name, allowed, what)
    flags.register_validator(
        name,
        lambda value: set(value) <= set(allowed),
        f"must be some of {', '.join(allowed)}",
    )


def unlisted(default):
    """A field of a case that is no column of its rows."""
    return dataclasses.field(default=default, metadata={"column": False})


def columns(case) -> dict:
    """The fields of a case that are columns."""
    fields = [field for field in dataclasses.fields(case) if field.metadata.get("column", True)]
    return {field.name: getattr(case, field.name) for field in fields}


class Bench:
    """Measures groups of (provider, case) and keeps the rows.

    A case is a dataclass, whose fields are columns, but for those that are `unlisted`.

    Args:
        config: the flags.
        suite: the module of the providers: PROVIDERS, ``make(name, case)``; TRANSFERS, the copies
            and stores of as many bytes that bound what memory allows, with ``make_transfer(name,
            case, threads)`` to a function and the rounds in a call of it.
    """

    benchmark = ""  # its name in the rows
    label = ""  # how a line begins, formatted with its row
    rate = ""  # how a line with `figures` ends
    warm_up = 3

    def __init__(self, config, suite):
        self.config = config
        self.rows = []
        self._suite = suite
        self._environment = harness.environment()
        self._threads = len(os.sched_getaffinity(0))
        self._missing = set()
        ops.available()  # the library must be there before XLA compiles for the first time

    def figures(self, case, seconds, transfer) -> dict:
        """Further columns.

        Args:
            case: what was measured.
            seconds: of each call, or None where they were not, or are no call's.
            transfer: seconds of each call of the first of the transfers on this case, or None.
        """
        raise NotImplementedError

    def time(self, part, group):
        """One row for each (provider, case) of the group, timed in turn."""
        calls, per_call = {}, {}
        for name, case in group:
            if name in self._suite.TRANSFERS:
                run, per_call[name, case] = self._suite.make_transfer(name, case, self._threads)
                calls[name, case] = run
            elif run := self._make(name, case):
                calls[name, case] = run
        seconds = {key: s / per_call.get(key, 1) for key, s in self._measure(calls).items()}
        for (name, case), own in seconds.items():
            transfer = seconds.get((self._suite.TRANSFERS[0], case))
            self._add(part, name, case, own, figures=self.figures(case, own, transfer))

    def memory(self, group):
        """One row for each of the group: by how much a call raises the resident memory."""
        for name, case in group:
            if self._make(name, case):
                peak = memory.peak_extra_mb(self._suite.make, name, case)
                self._add("memory", name, case, peak_mb=round(peak, 1))

    def _make(self, name, case, maker=None, *arguments):
        """The provider's function, or None where it was not asked for or does not exist."""
        if name not in self.config.providers:
            return None
        try:
            return (maker or self._suite.make)(name, case, *arguments)
        except Unavailable as error:
            if str(error) not in self._missing:
                print(f"left out: {error}")
            self._missing.add(str(error))
            return None

    def _measure(self, calls):
        return harness.measure(
            calls,
            repeats=self.config.repeats,
            warm_up=self.warm_up,
            turn_seconds=self.config.turn_ms / 1000,
            budget_seconds=self.config.budget,
        )

    def _add(self, part, provider, case, seconds=None, *, figures=None, peak_mb=""):
        timed = dict.fromkeys(("median_us", "q20_us", "q80_us", "repeats"), "")
        if seconds is not None:
            timed = harness.summary(seconds)
        row = {
            "benchmark": self.benchmark,
            "part": part,
            "provider": provider,
            **columns(case),
            **timed,
            **(figures or self.figures(case, None, None)),
            "peak_mb": peak_mb,
            **self._environment,
        }
        self.rows.append(row)
        text = self.label
        text += "{peak_mb:12.1f} MB" if seconds is None else "{median_us:12.1f} us "
        if seconds is not None:
            text += "({q20_us:.1f} .. {q80_us:.1f}) "
        print((text + (self.rate if figures else "")).format(**row), flush=True)


def report(run, table):
    """Runs a benchmark with the flags, keeps its rows, and prints how they stand to the targets.

    Args:
        run: ``run(config)`` gives the rows.
        table: ``table(rows)``, lines of `benchmarks.targets.table`.
    """
    tf.get_logger().setLevel("ERROR")  # it warns of many traced functions, which are meant here
    rows = workloads.or_sentence(run, flags.FLAGS)
    harness.write_rows(Path(flags.FLAGS.output), rows)
    print()
    targets.show(table(rows))
