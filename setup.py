"""Builds the native libraries with CMake and Ninja. Everything else is in pyproject.toml.

Environment: YOLOV1_TENSORFLOW=ON|OFF, YOLOV1_XLA=ON|OFF, YOLOV1_CUDA=ON|OFF|AUTO and
YOLOV1_WERROR=ON|OFF (warnings are errors) go to CMake under the same names, and so does
YOLOV1_CUDA_ARCHITECTURES="80 90": all of seven take minutes, that of one's own GPU does not.
"""

import importlib.metadata
import importlib.util
import mmap
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
TENSORFLOW = "tensorflow~=2.21.0"
FRAMEWORK = f"libtensorflow_framework.{'2.dylib' if sys.platform == 'darwin' else 'so.2'}"
# The oldest that the kernels were built and tested with.
OLDEST_COMPILERS = {"g++": 11, "clang": 14}


def find_tensorflow() -> tuple[Path, str] | None:
    """Folder and version of the installed TensorFlow, found by path: importing it takes seconds.

    Under pip's build isolation the target environment cannot be imported from, but sysconfig still
    names its folders.
    """
    spec = importlib.util.find_spec("tensorflow")
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    places += [Path(sysconfig.get_path(name), "tensorflow") for name in ("purelib", "platlib")]
    for place in places:
        if (place / FRAMEWORK).exists():
            for found in importlib.metadata.distributions(
                name="tensorflow", path=[str(place.parent)]
            ):
                return place, found.version
    return None


def check_tensorflow(found: tuple[Path, str] | None) -> tuple[Path, str]:
    """Stops the build where TensorFlow is missing, or is one that the sources do not fit."""
    off = "or set YOLOV1_TENSORFLOW=OFF to build the framework-free kernels alone"
    if found is None:
        sys.exit(
            "yolov1: the op library is built against an installed TensorFlow, and none was found; "
            f"run: pip install '{TENSORFLOW}' ({off})."
        )
    place, version = found
    if not version.startswith("2.21."):
        sys.exit(
            f"yolov1: the op library needs TensorFlow 2.21, found {version}; "
            f"run: pip install '{TENSORFLOW}' ({off})."
        )
    if sys.platform == "darwin":  # there is but one ABI
        return found
    with open(place / FRAMEWORK, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            if library.find(b"NSt7__cxx1112basic_string") < 0:
                sys.exit(
                    "yolov1: this TensorFlow was built with the old C++ ABI, which the op library "
                    f"does not support; run: pip install --force-reinstall '{TENSORFLOW}' ({off})."
                )
    return found


def check_compiler() -> None:
    """Stops the build where there is no C++ compiler, or one older than the kernels build with."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    commands = [command for name in wanted if shutil.which((command := shlex.split(name))[0])]
    oldest = " or ".join(f"{kind} {version}" for kind, version in OLDEST_COMPILERS.items())
    if not commands:
        sys.exit(
            f"yolov1: no C++17 compiler found (looked for {', '.join(wanted)}); install one, "
            f"{oldest} at least, for example with: apt-get install g++ (or point CXX to yours)."
        )
    answer = subprocess.run(
        [*commands[0], "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, text=True
    )
    macros = dict(re.findall(r"#define (\w+) (\d+)$", answer.stdout, re.MULTILINE))
    for kind, macro in (("clang", "__clang_major__"), ("g++", "__GNUC__")):  # clang has both
        if macro in macros:
            if int(macros[macro]) < OLDEST_COMPILERS[kind]:
                sys.exit(
                    f"yolov1: the kernels need {oldest} at least, and {commands[0][0]} is {kind} "
                    f"{macros[macro]}; install a newer one and point CXX to it, for example with: "
                    "apt-get install g++-11 && export CXX=g++-11."
                )
            return


def check_headers() -> None:
    """Stops the build where Python's C headers are missing: Debian packs them by themselves."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        name = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        sys.exit(
            f"yolov1: the C headers of Python are missing (no {header}); install them, "
            f"for example with: apt-get install {name}."
        )


def revision() -> str:
    """The git revision of the sources, "-dirty" where they differ from it."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def packages() -> list[str]:
    """The package, and the experiments as a part of it: so they travel in the wheel without a name
    of their own beside it, and are ``python -m experiments.NAME`` in a checkout all the same."""
    beside = find_packages(ROOT, include=["experiments", "experiments.*"])
    return find_packages(ROOT, include=["yolov1", "yolov1.*"]) + [f"yolov1.{p}" for p in beside]


def version() -> str:
    return re.search(r'__version__ = "(.+)"', (ROOT / "yolov1/__init__.py").read_text())[1]


class BuildWithCMake(build_ext):
    """Installs what CMake builds into the package: the source tree's for an editable install."""

    def run(self):
        in_source_tree = self.inplace or self.editable_mode
        prefix = ROOT if in_source_tree else Path(self.build_lib).resolve()
        # Kept between builds, one for each Python: a rebuild compiles what changed.
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": prefix,
            "Python_EXECUTABLE": sys.executable,
            "YOLOV1_REVISION": revision(),
            "YOLOV1_CUDA": os.environ.get("YOLOV1_CUDA", "AUTO"),
            "YOLOV1_TENSORFLOW": os.environ.get("YOLOV1_TENSORFLOW", "ON"),
            "YOLOV1_XLA": os.environ.get("YOLOV1_XLA", "ON"),
            "YOLOV1_WERROR": os.environ.get("YOLOV1_WERROR", "OFF"),
        }
        if os.environ.get("YOLOV1_CUDA_ARCHITECTURES"):
            settings["YOLOV1_CUDA_ARCHITECTURES"] = os.environ["YOLOV1_CUDA_ARCHITECTURES"]
        check_compiler()
        check_headers()
        if settings["YOLOV1_TENSORFLOW"] == "ON":
            place, found = check_tensorflow(find_tensorflow())
            settings |= {"YOLOV1_TENSORFLOW_DIR": place, "YOLOV1_TENSORFLOW_VERSION": found}
        import pybind11  # a build requirement, so only needed here

        settings["pybind11_DIR"] = pybind11.get_cmake_dir()
        settings["CMAKE_MAKE_PROGRAM"] = shutil.which("ninja") or "ninja"
        configure = ["-G", "Ninja", "-S", ROOT, "-B", build]
        # What CMake found in another environment must not leak into this one. In the same one the
        # objects are kept, and only what changed is compiled.
        changing = ("CMAKE_INSTALL_PREFIX", "YOLOV1_REVISION")
        record = build / "environment.txt"
        same = "\n".join(f"{k}={v}" for k, v in settings.items() if k not in changing)
        if not record.exists() or record.read_text() != same:
            configure.append("--fresh")
        self.cmake(*configure, *(f"-D{name}={value}" for name, value in settings.items()))
        record.write_text(same)
        self.cmake("--build", build)
        self.cmake("--install", build)

    def cmake(self, *arguments):
        command = [shutil.which("cmake") or "cmake", *map(str, arguments)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit("yolov1: cmake was not found; run: pip install cmake ninja pybind11.")
        except subprocess.CalledProcessError as error:
            sys.exit(f"yolov1: the native build failed (see above): {' '.join(error.cmd[:3])} ...")

    # setuptools asks what the extension leaves behind; CMake's install step has put it in place.
    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}


if __name__ == "__main__":
    setup(
        version=version(),
        packages=packages(),
        package_dir={"yolov1.experiments": "experiments"},
        ext_modules=[Extension("yolov1._kernels", sources=[])],
        cmdclass={"build_ext": BuildWithCMake},
    )
