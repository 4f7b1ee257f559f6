"""What a benchmark does and takes can be read without the packages that it compares with."""

import sys

import pytest

from tests import programs
from tests.shared import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
PROGRAMS = {"plot": "folder", "gpu": "cuda", "compare": "budget", "conformance": "kernel"}
PROGRAMS |= {"check_results": "only", "collect_results": "exports", "steadiness": "samples"}
FLAG = {"bench_training": "cases", "bench_detectors": "data"} | PROGRAMS
OPTIONAL = ("cv2", "grain", "nvidia", "simplejpeg")
OPTIONAL += ("jax", "jaxlib", "torch", "torchvision", "cupy", "pybind11", "ultralytics")

# absl knows modules whose flags are not their own by address: where one is freed, a program that
# comes to lie there would have no flags.
KEPT = []


def of_benchmarks():
    return [name for name in sys.modules if name.split(".")[0] == "benchmarks"]


@pytest.mark.parametrize("name", [*BENCHMARKS, *PROGRAMS])
def test_help(monkeypatch, name):
    for module in of_benchmarks():
        monkeypatch.delitem(sys.modules, module)  # they may have found what is now hidden
    for package in OPTIONAL:
        monkeypatch.setitem(sys.modules, package, None)
    text = programs.call(f"benchmarks.{name}", "--help").stdout
    KEPT.extend(sys.modules[module] for module in of_benchmarks())
    assert f"python -m benchmarks.{name}" in text
    flag = FLAG.get(name, "providers")
    described = text[text.index(f"  --{flag}: ") :].partition(": ")[2]
    assert described[0].isupper() or described[0] == "<"  # its choices, and then its meaning
    assert "(default: " in described
