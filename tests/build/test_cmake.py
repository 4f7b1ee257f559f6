"""The CMake configuration where CUDA does not work, and the version in the build record."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import yolov1
from tests.shared import ROOT
from yolov1.kernels import _module

# One that fails at everything, and one that knows its architectures but not the host's compiler.
BROKEN = {
    "fails": "#!/bin/sh\necho no device code today >&2\nexit 1\n",
    "unsupported compiler": """#!/bin/sh
case "$1" in --list-gpu-arch) echo compute_80; echo compute_90; exit 0;; esac
echo 'error: -- unsupported GNU version!' >&2
exit 1
""",
}


def configure(folder, nvcc, cuda, **more):
    """Runs CMake, without TensorFlow, with a program of the text `nvcc` as the first in PATH."""
    (folder / "bin").mkdir()
    (folder / "bin/nvcc").write_text(nvcc)
    (folder / "bin/nvcc").chmod(0o755)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cmake = shutil.which("cmake", path=path)
    settings = {
        "YOLOV1_CUDA": cuda,
        "YOLOV1_TENSORFLOW": "OFF",
        "Python_EXECUTABLE": sys.executable,
        **more,
    }
    return subprocess.run(
        [cmake, "-G", "Ninja", "-S", ROOT, "-B", folder / "build"]
        + [f"-D{name}={value}" for name, value in settings.items()],
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{path}", "CUDACXX": ""},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("nvcc", BROKEN)
def test_auto_goes_on_without_a_working_nvcc_and_says_so(tmp_path, nvcc):
    answer = configure(tmp_path, BROKEN[nvcc], "AUTO")
    assert answer.returncode == 0, answer.stderr
    words = " ".join(answer.stderr.split())
    assert f"Building without CUDA: {tmp_path}/bin/nvcc does not work" in words
    info = json.loads((tmp_path / "build/_build_info.json").read_text())
    assert info["cuda"] == info["cuda_architectures"] == info["tensorflow"] == ""
    assert info["version"] == yolov1.__version__
    assert info["sources"] == _module.digest_of_sources()


def test_architectures_that_nvcc_does_not_know_are_refused(tmp_path):
    nvcc = "#!/bin/sh\necho compute_80; echo compute_90\n"
    answer = configure(tmp_path, nvcc, "ON", YOLOV1_CUDA_ARCHITECTURES="70 8")
    assert answer.returncode != 0
    words = " ".join(answer.stderr.split())
    assert "YOLOV1_CUDA_ARCHITECTURES is '70 8'" in words and "compute_80 compute_90" in words


def test_on_stops_where_nvcc_does_not_work(tmp_path):
    answer = configure(tmp_path, BROKEN["unsupported compiler"], "ON")
    assert answer.returncode != 0
    words = " ".join(answer.stderr.split())
    assert "YOLOV1_CUDA is ON but no working nvcc was found" in words and "CUDAHOSTCXX" in words


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are those of x86-64")
@pytest.mark.parametrize(
    "refused, levels", ((None, "baseline, avx2, avx512"), ("-mavx512bw", "baseline, avx2"))
)
def test_simd_levels_are_named_and_a_missing_one_is_explained(tmp_path, refused, levels):
    compiler = tmp_path / "c++"
    compiler.write_text(f"""#!/bin/sh
case " $* " in *" {refused} "*) echo unknown option {refused} >&2; exit 1;; esac
exec {shutil.which("c++")} "$@"
""")
    compiler.chmod(0o755)
    answer = configure(tmp_path, BROKEN["fails"], "OFF", CMAKE_CXX_COMPILER=compiler)
    assert answer.returncode == 0, answer.stderr
    assert f"SIMD levels: {levels}\n" in answer.stdout
    info = json.loads((tmp_path / "build/_build_info.json").read_text())
    assert info["simd_levels"] == levels
    said = "SIMD level avx512 is left out: " in answer.stdout
    warned = "The kernels will be slow on newer processors" in answer.stderr
    assert said == warned == (refused is not None)
