"""The source distribution: every source is in it, and making it asks for no network."""

import subprocess
import sys
import tarfile
from shutil import copytree, ignore_patterns

from tests.shared import ROOT

SOURCES = ("kernels", "yolov1", "experiments")
BUILT = ignore_patterns("*.so", "_build_info.json", "__pycache__", "build", ".*", "runs", "shared")

# Whoever asks for an address ends it.
OFFLINE = """
import socket, sys
def refuse(*arguments, **keywords):
    sys.exit("the build asks for the network")
socket.getaddrinfo = socket.socket.connect = refuse
sys.path[:0] = ["kernels", "."]
import build_backend
print(build_backend.build_sdist(sys.argv[1]))
"""


def test_every_source_is_in_it_and_no_network_is_asked(tmp_path):
    tree = tmp_path / "tree"
    copytree(ROOT, tree, ignore=BUILT)
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / done.stdout.split()[-1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        str(path.relative_to(tree))
        for folder in SOURCES
        for path in (tree / folder).rglob("*")
        if path.is_file() and "egg-info" not in str(path) and path.suffix != ".md"
    }
    assert len(wanted) > 300 and not wanted - names
    assert {"CMakeLists.txt", "setup.py", "pyproject.toml", "constraints.txt", "LICENSE"} <= names
