"""Revisions of this repository, exported and built side by side for `benchmarks.compare`.

A revision is known by its git tree, so that the working tree with its changes is one too. Each has
a folder in ``build/compare`` with its files and the native code that is built of them; what is
there is not made again, and revisions with the same native sources share one build.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import ROOT

FOLDER = ROOT / "build" / "compare"
WORKING = "the working tree"
NATIVE = ("kernels", "CMakeLists.txt", "yolov1/__init__.py")  # the version is in the last one
# Neither is measured here, and both take longer to compile than all else.
SETTINGS = {"YOLOV1_XLA": "OFF", "YOLOV1_CUDA": "OFF", "CMAKE_BUILD_TYPE": "Release"}


def git(*arguments, **environment) -> str:
    """What git says.

    Raises:
        ValueError: git refuses; with its words.
    """
    done = subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def tree_of(revision: str) -> str:
    """The git tree of a revision, or of `WORKING` with all that git does not ignore.

    Raises:
        ValueError: there is no such revision.
    """
    if revision != WORKING:
        return git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{tree}}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    index = FOLDER / f"index.{os.getpid()}"  # the user's own stays as it is
    try:
        git("read-tree", "HEAD", GIT_INDEX_FILE=str(index))
        git("add", "--all", GIT_INDEX_FILE=str(index))
        return git("write-tree", GIT_INDEX_FILE=str(index))
    finally:
        index.unlink(missing_ok=True)


def name_of(revision: str) -> str:
    """How rows call a revision: as `git describe` does, of a changed working tree with "-dirty"."""
    commit = "HEAD" if revision == WORKING else revision
    name = git("describe", "--always", "--abbrev=12", f"{commit}^{{commit}}")
    return name + ("-dirty" if tree_of(revision) != tree_of(commit) else "")


def make(tree: str) -> Path:
    """The folder of a tree, exported and built where it was not.

    Raises:
        RuntimeError: the build fails; with the end of what was said.
    """
    folder = FOLDER / tree[:16]
    if folder.exists():
        return folder
    part = folder.with_suffix(f".{os.getpid()}")  # never half a folder under its final name
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    archive = part / "sources.tar"
    git("archive", f"--output={archive}", tree)
    _run("tar", "-xf", str(archive), "-C", str(part))
    archive.unlink()
    # What measures is this checkout's, for all revisions alike.
    shutil.rmtree(part / "benchmarks", ignore_errors=True)
    for library in _native(tree, part).iterdir():
        shutil.copy2(library, part / "yolov1")
    part.replace(folder)
    return folder


def _native(tree, sources) -> Path:
    """The folder with the installed libraries of a tree's native sources."""
    blobs = [git("rev-parse", f"{tree}:{path}") for path in NATIVE]
    key = hashlib.sha256(" ".join([*blobs, sys.version]).encode()).hexdigest()[:16]
    build = FOLDER / f"native-{key}"
    if not (build / "done").exists():
        print(f"building the native code of {tree[:12]} (minutes; kept in {build})", flush=True)
        settings = SETTINGS | {
            "CMAKE_INSTALL_PREFIX": build / "installed",
            "Python_EXECUTABLE": sys.executable,
        }
        options = [f"-D{name}={value}" for name, value in settings.items()]
        if shutil.which("ninja", path=_path()):
            options += ["-G", "Ninja"]
        shutil.rmtree(build, ignore_errors=True)
        _run("cmake", "-S", str(sources), "-B", str(build), *options)
        _run("cmake", "--build", str(build), "--parallel", str(len(os.sched_getaffinity(0))))
        _run("cmake", "--install", str(build))
        (build / "done").touch()
    return build / "installed" / "yolov1"


def _path():
    """PATH with the environment's own programs first: CMake and Ninja come as packages."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _run(*command):
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PATH": _path()}
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"{' '.join(command)} failed:\n{said}")
