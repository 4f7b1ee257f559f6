"""The build: what it says when something is missing, and that its wheel works elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

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


# ------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """As ``pip wheel .`` makes it of what git knows, without CUDA."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    environment = {**os.environ, "YOLOV1_CUDA": "OFF"}
    command = "pip wheel --quiet --no-build-isolation --no-deps -w".split()
    subprocess.run([sys.executable, "-m", *command, folder, source], check=True, env=environment)
    (path,) = folder.glob("yolov1-*.whl")
    return path


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """The scripts' folder of a virtual environment with the wheel, which sees the packages here."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    scripts = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", wheel], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    places = [place for place in sys.path if place.endswith("site-packages")]
    (site / "elsewhere.pth").write_text("\n".join(places))  # but not what their .pth files add
    return scripts


def run_in(folder, *command):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_wheel_works_in_another_environment(fresh, tmp_path):
    code = """
import yolov1
from yolov1 import doctor, kernels, ops, revision
assert kernels.build_info()["cuda"] == ""
assert ops.available() and doctor.self_test() < doctor.TOLERANCE
assert revision.git_revision() == kernels.build_info()["revision"]
print(yolov1.__file__)
"""
    answer = run_in(tmp_path, fresh / "python", "-c", code)
    assert answer.returncode == 0, answer.stderr
    assert str(fresh.parent) in answer.stdout
    answer = run_in(tmp_path, fresh / "yolov1", "doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.slow
def test_the_experiments_travel_in_the_wheel(wheel, fresh, tmp_path):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("yolov1", "experiments"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".html") and "__pycache__" not in path.parts:
                assert (
                    f"yolov1/{path.relative_to(ROOT)}".replace("yolov1/yolov1/", "yolov1/") in names
                )
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"yolov1"}
    said = run_in(tmp_path, fresh / "yolov1").stdout
    for path in (ROOT / "experiments").glob("[a-z]*.py"):
        assert f"  {path.stem} " in said
    arguments = ("--debug", "--pictures=0", "--output_dir=out")
    module = (fresh / "python", "-m", "yolov1.experiments.inspect_dataset")
    for command in ((fresh / "yolov1", "inspect_dataset"), module):
        done = run_in(tmp_path, *command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == "" and done.stdout.startswith("shapes (train): 64 images")
        assert (tmp_path / "out/summary.json").exists()
        shutil.rmtree(tmp_path / "out")
    failed = run_in(tmp_path, fresh / "yolov1", "inspect_dataset", "--dataset=voc:nowhere")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: voc:nowhere")


@pytest.mark.slow
def test_the_wheel_is_one_of_manylinux(wheel, tmp_path):
    """What it asks for beyond the C and C++ libraries of the tag is TensorFlow's, and its own."""
    audit = shutil.which("auditwheel", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not audit:
        pytest.skip("no auditwheel here: it is in the extra dev")
    environment = {**os.environ, "PATH": f"{Path(audit).parent}:{os.environ['PATH']}"}
    repair = [ROOT / ".ci/repair_wheel", wheel, tmp_path]
    subprocess.run(repair, check=True, env=environment, capture_output=True)
    (tagged,) = tmp_path.glob("*manylinux_2_*_x86_64.whl")
    shown = subprocess.run([audit, "show", "--json", tagged], check=True, capture_output=True)
    shown = json.loads(shown.stdout)
    assert tagged.name.endswith(f"-{shown['sym_tag']}.whl")
    ours = {"$ORIGIN/libyolov1_kernels.so"}
    assert set(shown["external_libs"]) == ours | {
        "libtensorflow_framework.so.2",
        "libtensorflow_cc.so.2",
    }
    zipfile.ZipFile(tagged).extract("yolov1/_ops.so", tmp_path)
    dynamic = ["readelf", "-d", tmp_path / "yolov1/_ops.so"]
    dynamic = subprocess.run(dynamic, check=True, capture_output=True, text=True).stdout
    assert "RUNPATH" in dynamic and "[$ORIGIN/../tensorflow]" in dynamic
