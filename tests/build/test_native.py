"""The native module: its geometry is grid.py's, its record is the one beside it."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.ops.loss_cases import GRIDS
from tests.shared import ROOT
from yolov1 import kernels


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


def test_fuzz_without_clang_is_one_sentence_that_says_what_to_install():
    answer = subprocess.run(
        ["make", "-s", "fuzz", "CLANGXX=/no/such/clang++"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode != 0
    assert "make fuzz needs clang++ and its sanitizers: install them (on Debian: " in answer.stdout
    assert answer.stdout.count("\n") == 1
