"""The build: what it says when something is missing, and that its wheel works elsewhere."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.shared import ROOT


def setup_py(code, **environment):
    """Runs `code` with setup.py imported; no build is started."""
    return subprocess.run(
        [sys.executable, "-c", f"import setup\n{code}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_tensorflow_is_found_without_importing_it():
    answer = setup_py(
        "import sys; print(setup.find_tensorflow()[1]); assert 'tensorflow' not in sys.modules"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("2.21.")


def test_no_tensorflow_is_one_sentence_that_says_what_to_run():
    answer = setup_py("setup.check_tensorflow(None)")
    assert answer.returncode == 1
    assert "none was found; run: pip install 'tensorflow~=2.21.0'" in answer.stderr
    assert "YOLOV1_TENSORFLOW=OFF" in answer.stderr and answer.stderr.count("\n") == 1


def test_another_tensorflow_is_named():
    answer = setup_py("setup.check_tensorflow((setup.ROOT, '2.20.0'))")
    assert "needs TensorFlow 2.21, found 2.20.0; run: pip install" in answer.stderr


@pytest.mark.parametrize("environment", ({"PATH": ""}, {"CXX": "/no/such/compiler"}))
def test_no_compiler_is_one_sentence_that_says_what_to_run(environment):
    answer = setup_py("setup.check_compiler()", **({"CXX": ""} | environment))
    assert answer.returncode == 1
    assert "no C++17 compiler found" in answer.stderr and "apt-get install g++" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "kind, macros, accepted",
    (
        ("g++ 10", "#define __GNUC__ 10", False),
        ("g++ 11", "#define __GNUC__ 11", True),
        ("clang 13", "#define __GNUC__ 4\n#define __clang_major__ 13", False),
        ("clang 14", "#define __GNUC__ 4\n#define __clang_major__ 14", True),
        ("unknown to us", "", True),
    ),
)
def test_a_compiler_that_is_too_old_is_named(tmp_path, kind, macros, accepted):
    (tmp_path / "cxx").write_text(f"#!/bin/sh\necho '{macros}'\n")
    (tmp_path / "cxx").chmod(0o755)
    answer = setup_py("setup.check_compiler()", CXX=f"{tmp_path}/cxx --option")
    assert answer.returncode == (0 if accepted else 1), answer.stderr
    if not accepted:
        assert f"need g++ 11 or clang 14 at least, and {tmp_path}/cxx is {kind};" in answer.stderr
        assert "point CXX to it" in answer.stderr and answer.stderr.count("\n") == 1


def test_no_python_headers_is_one_sentence_that_says_what_to_run():
    answer = setup_py("setup.sysconfig.get_path = lambda name: '/none'; setup.check_headers()")
    assert answer.returncode == 1
    assert "no /none/Python.h" in answer.stderr and "apt-get install python3." in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_build_backend_asks_for_tensorflow_only_where_there_is_none():
    code = """
import sys; sys.path.insert(0, "kernels")
import build_backend
assert build_backend._requirements() == []
setup.find_tensorflow = lambda: None
assert build_backend._requirements() == [setup.TENSORFLOW]
"""
    answer = setup_py(code)
    assert answer.returncode == 0, answer.stderr
    assert setup_py(code, YOLOV1_TENSORFLOW="OFF").returncode == 1  # then it never asks


def test_environment_goes_to_cmake(tmp_path):
    (tmp_path / "build" / f"cmake-{sys.implementation.cache_tag}").mkdir(parents=True)
    code = f"""
from pathlib import Path
from setuptools import Distribution
setup.ROOT = Path({str(tmp_path)!r})
setup.BuildWithCMake.cmake = lambda self, *arguments: print(*arguments)
command = setup.BuildWithCMake(Distribution())
command.inplace = True
command.run()
"""
    usual = setup_py(code, YOLOV1_CUDA="AUTO", YOLOV1_WERROR="OFF")
    assert usual.returncode == 0, usual.stderr
    strict = setup_py(code, YOLOV1_CUDA="ON", YOLOV1_WERROR="ON", YOLOV1_CUDA_ARCHITECTURES="80 90")
    assert "-DYOLOV1_CUDA_ARCHITECTURES=80 90" in strict.stdout
    assert "-DYOLOV1_CUDA=AUTO" in usual.stdout and "-DYOLOV1_WERROR=OFF" in usual.stdout
    assert "-DYOLOV1_CUDA=ON" in strict.stdout and "-DYOLOV1_WERROR=ON" in strict.stdout
    assert "--fresh" in strict.stdout  # other settings: nothing is kept of what CMake found


@pytest.mark.slow
def test_wheel_imports_from_another_folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    environment = {**os.environ, "YOLOV1_CUDA": "OFF"}
    command = "pip wheel --quiet --no-build-isolation --no-deps -w".split()
    subprocess.run([sys.executable, "-m", *command, tmp_path, source], check=True, env=environment)
    (wheel,) = tmp_path.glob("yolov1-*.whl")
    elsewhere = tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(elsewhere)
    code = """
import yolov1
from yolov1 import doctor, kernels, ops
assert kernels.build_info()["cuda"] == ""
assert ops.available() and doctor.self_test() < doctor.TOLERANCE
print(yolov1.__file__)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert str(elsewhere) in answer.stdout
