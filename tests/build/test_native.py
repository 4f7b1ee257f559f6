"""The native module: its geometry is grid.py's, its record is the one beside it."""

import collections
import json
import platform
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.ops.loss_cases import GRIDS
from tests.shared import ROOT
from yolov1 import kernels
from yolov1.data import Augmentation
from yolov1.semantics import PRESETS


@pytest.mark.parametrize("name", GRIDS)
def test_grid_header_is_grid_py(name):
    grid = GRIDS[name]
    got = kernels.extension().geometry((grid.S, grid.B, grid.C))
    last = grid.cells - 1
    assert got == {
        "cells": grid.cells,
        "channels": grid.channels,
        "target_channels": grid.target_channels,
        "flat_size": grid.flat_size,
        "target_object_channel": grid.target_object_channel,
        "target_box_channel": grid.target_box_channels.start,
        "last_cell_in_cells": tuple(
            last * grid.channels + block.start
            for block in (grid.class_channels, grid.confidence_channels, grid.box_channels)
        ),
        "last_cell_in_planes": (
            last * grid.C,
            grid.cells * grid.C + last * grid.B,
            grid.cells * (grid.C + grid.B) + last * 4 * grid.B,
        ),
    }


def test_build_record_is_the_one_beside_the_library():
    beside = json.loads((ROOT / "yolov1" / "_build_info.json").read_text())
    assert kernels.build_info() == beside


def test_kernels_need_no_tensorflow():
    code = """
import sys, numpy as np
from yolov1 import kernels
from yolov1.data import Augmentation
from yolov1.grid import GridSpec
out = kernels.yolo_loss(np.ones((1, 7, 7, 30)), np.zeros((1, 7, 7, 25)), grid=GridSpec())
assert out[0] == [0.5 * 98], out[0]
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_levels_of_simd_share_no_code_with_the_linker():
    """A weak function of the AVX-512 object could be the one that every processor gets."""
    objects = list((ROOT / "build").rglob("kernels_avx*.dir/**/kernel_simd.cc.o"))
    if not objects or not shutil.which("nm"):
        pytest.skip("no object files here: the package was not built in this folder")
    for path in objects:
        table = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
        defined = [line.split(maxsplit=1)[1] for line in table.splitlines() if line[:1] != " "]
        assert sum(symbol.startswith(("T ", "D ")) for symbol in defined) == 1, path
        assert not [symbol for symbol in defined if symbol[0] in "WVui"], path


# There is no room for the stacks of all threads, but for all that the calling one needs.
OUT_OF_THREADS = """
import resource, threading
from pathlib import Path
import numpy as np
from yolov1 import kernels
from yolov1.data import Augmentation
from yolov1.grid import GridSpec

case = np.ones((16, 7, 7, 30), np.float32), np.ones((16, 7, 7, 25), np.float32)
want = kernels.yolo_loss(*case, grid=GridSpec(), threads=1)
pages = int(Path("/proc/self/statm").read_text().split()[0])
for room in (1.5, 11, 20):  # MB: for none of eight threads, and for one or two
    most = pages * resource.getpagesize() + int(room * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    if room == 1.5:
        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            pass
        else:
            raise SystemExit("a thread could be made")
    got = kernels.yolo_loss(*case, grid=GridSpec(), threads=8)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in want]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory that holds")
def test_threads_that_cannot_be_made_are_done_without():
    answer = subprocess.run(
        [sys.executable, "-c", OUT_OF_THREADS], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr


OLDEST = ("g++-11", "clang++-14")
# What they have beside the functions of the C library.
BUILTINS = {
    "convertvector",
    "cpu_supports",
    "ctzll",
    "mul_overflow",
    "prefetch",
    "shuffle",
    "shufflevector",
}


def test_kernels_use_builtins_of_the_oldest_compilers_alone():
    """__builtin_shufflevector is clang's, behind YOLOV1_SHUFFLE."""
    used = collections.defaultdict(set)
    for path in (ROOT / "kernels").rglob("*"):
        if path.suffix in (".h", ".cc"):
            for name in re.findall(r"__builtin_(\w+)", path.read_text()):
                used[name].add(path.relative_to(ROOT / "kernels").as_posix())
    assert set(used) <= BUILTINS
    assert used["shufflevector"] == used["shuffle"] == {"core/macros.h"}
    features = re.findall(
        r"^set\(features_\w+ (.*)\)$", (ROOT / "CMakeLists.txt").read_text(), re.M
    )
    known = {"avx2", "bmi", "bmi2", *(f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))}
    assert features and set(" ".join(features).split()) - {"${features_avx2}"} <= known


@pytest.mark.slow
@pytest.mark.parametrize("compiler", OLDEST)
@pytest.mark.parametrize("source", sorted((ROOT / "kernels").rglob("kernel_*.cc")), ids=str)
def test_the_oldest_compilers_take_the_kernels(compiler, source, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    asks = " && ".join(f'__builtin_cpu_supports("{name}")' for name in ("avx512vl", "bmi2"))
    levels = f"#define YOLOV1_LEVELS(LEVEL) LEVEL(avx512, {asks})"
    (tmp_path / "levels.h").write_text(levels)
    flags = ["-std=c++17", "-fsyntax-only", "-DYOLOV1_LEVEL=avx2", "-mavx2", f"-I{tmp_path}"]
    if platform.machine() != "x86_64":
        pytest.skip("needs x86-64")
    answer = subprocess.run([compiler, *flags, f"-I{ROOT}", source], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.skipif(not shutil.which("readelf"), reason="needs binutils")
def test_the_kernels_are_linked_once_and_seen_by_the_table_alone():
    def symbols(path, *options):
        command = ["nm", "-C", *options, "--defined-only", path]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    package = ROOT / "yolov1"
    seen = symbols(package / "libyolov1_kernels.so", "-D")
    names = {line.split(maxsplit=2)[2].split("(")[0].split("[")[0] for line in seen.splitlines()}
    ours = {name.removeprefix("yolov1::") for name in names if "yolov1::" in name}
    functions = {"Infer", "ConfigureAgain", "CheckResults", "ResultName", "FfiTargets"}
    functions |= {"StreamingBound", "TheJpegDecoder"}
    assert functions <= ours and len(ours - functions) == len(table())
    for path in [*package.glob("_kernels*.so"), *package.glob("_ops.so")]:
        needed = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True)
        assert "[$ORIGIN/libyolov1_kernels.so]" in needed.stdout, path
        assert "YoloLossCpu" not in symbols(path), path


def table():
    """The names of the ops, as kernels/ops.h has them."""
    text = (ROOT / "kernels/ops.h").read_text()
    return re.findall(r"&(k\w+)", text)


def test_another_build_takes_its_own_kernels(tmp_path):
    """One of another folder, in a process that has loaded those of this one."""
    for path in (ROOT / "yolov1").glob("*kernels*.so"):
        shutil.copy(path, tmp_path)
    code = f"""
import importlib.util
from pathlib import Path
from yolov1 import kernels
from yolov1.data import Augmentation
kernels.extension()
(path,) = Path({str(tmp_path)!r}).glob("_kernels*.so")
spec = importlib.util.spec_from_file_location("yolov1._kernels", path)
importlib.util.module_from_spec(spec)
maps = Path("/proc/self/maps").read_text()
for folder in (Path(kernels.__file__).parents[1], Path({str(tmp_path)!r})):
    assert f"{{folder}}/libyolov1_kernels.so" in maps, folder
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def config_of(op):
    """Of an op of the table; each begins with one of these names."""
    configs = {
        "Yolo": kernels.yolo_loss_config(GRIDS["paper"], PRESETS["paper"]),
        "Pairwise": kernels.box_iou_config(),
        "Aligned": kernels.box_iou_config(),
        "NonMax": kernels.nms_config(0.5, 0.5, 3, True),
        "Load": kernels.load_images_config(16, "uint8"),
        "Augment": kernels.augment_images_config(16, "uint8", True),
        "Draw": kernels.draw_config(0, Augmentation()),
        "Encode": kernels.encode_targets_config(GRIDS["paper"], "first", 0.5),
    }
    return next(config for start, config in configs.items() if op.startswith(f"Yolov1>{start}"))


@pytest.mark.parametrize("name", table())
def test_every_op_of_the_table_has_versions_and_refuses_a_wrong_number_of_inputs(name):
    op = f"Yolov1>{name.removeprefix('k')}"
    assert kernels.extension().versions(op, False)
    with pytest.raises(TypeError, match=f"{op} takes [1-8] inputs, got 9"):
        kernels.call(op, config_of(op), [np.zeros(3)] * 9)


def test_an_op_that_is_not_in_the_table_is_refused():
    with pytest.raises(KeyError, match="there is no op Yolov1>Nothing"):
        kernels.call("Yolov1>Nothing", "", [])


def test_fuzz_without_clang_is_one_sentence_that_says_what_to_install():
    command = ["make", "-s", "--no-print-directory", "fuzz", "CLANGXX=/no/such/clang++"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode != 0
    assert "make fuzz needs clang++ and its sanitizers: install them (on Debian: " in answer.stdout
    assert answer.stdout.count("\n") == 1
