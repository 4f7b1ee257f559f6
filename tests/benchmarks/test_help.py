"""What a benchmark does and takes can be read without the packages that it compares with."""

import sys

import pytest

from tests import programs
from tests.shared import ROOT

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
PROGRAMS = {"plot": "folder", "gpu": "cuda", "compare": "budget", "conformance": "kernel"}
FLAG = {"bench_input_pipeline": "passes", "bench_training": "cases"} | PROGRAMS
OPTIONAL = ("cv2", "jax", "jaxlib", "torch", "torchvision", "cupy", "pybind11")


@pytest.mark.parametrize("name", [*BENCHMARKS, *PROGRAMS])
def test_help(monkeypatch, name):
    for module in [m for m in sys.modules if m.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, module)  # they may have found what is now hidden
    for package in OPTIONAL:
        monkeypatch.setitem(sys.modules, package, None)
    text = programs.call(f"benchmarks.{name}", "--help").stdout
    assert f"python -m benchmarks.{name}" in text
    flag = FLAG.get(name, "providers")
    described = text[text.index(f"  --{flag}: ") :].partition(": ")[2]
    assert described[0].isupper() or described[0] == "<"  # its choices, and then its meaning
    assert "(default: " in described


def test_the_input_pipeline_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = programs.call("benchmarks.bench_input_pipeline")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "pip install 'yolov1[bench]'" in done.stderr
