"""What nvcc makes of the .cu files: accesses that are meant to be wide are so in its output.

The host emulation of the other tests runs the same source, but cannot see it.
"""

import functools

import pytest

from benchmarks.gpu import instructions

TYPES = {"float": 4, "Half": 2, "Bfloat16": 2, "double": 8}


@functools.lru_cache
def counted(op):
    """Accesses of each kernel of `op`."""
    if instructions.nvcc() is None:
        pytest.skip("there is no nvcc here")
    return instructions.ptx_accesses(op)


def fours(counts, what, size):
    """How often four numbers of `size` bytes are accessed in one word, or two of doubles."""
    word = min(4 * size, 16)
    return counts[what, "global", word] * word // (4 * size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("dtype", TYPES)
def test_tiles_of_iou(dtype, kind):
    """Boxes come, and pairs go both ways, four numbers at once; one by one where not aligned."""
    size = TYPES[dtype]
    paths = 1 if dtype == "double" else 2  # for ordinary boxes, and for all
    forward, backward = (
        counted("box_iou")[f"{name}<{kind}, {dtype}>"] for name in ("TileIou", "TileGradient")
    )
    assert fours(forward, "st", size) == paths
    assert forward["st", "global", size] == 4 * paths
    for counts, rows in ((forward, 0), (backward, paths)):
        assert fours(counts, "ld", size) >= 2 + rows  # of a, of b, and of the gradient from above
        assert counts["ld", "global", size] <= 4 * fours(counts, "ld", size)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TYPES)
def test_boxes_one_by_one(dtype):
    size = TYPES[dtype]
    kernels = counted("box_iou")
    assert fours(kernels[f"DirectIou<{dtype}>"], "ld", size) == 2
    for name in (f"DirectGradient<{dtype}, 1>", f"DirectGradient<{dtype}, 32>"):
        assert fours(kernels[name], "ld", size) >= 2
    for name in (f"DirectGradient<{dtype}, 1>", f"DirectFinish<{dtype}>", f"Finish<{dtype}>"):
        assert fours(kernels[name], "st", size) == 1


@pytest.mark.slow
def test_the_loss():
    """Each span of an image comes and goes in words of 16 bytes."""
    staged = {n: c for n, c in counted("yolo_loss").items() if n.startswith("Staged<")}
    assert staged
    for name, counts in staged.items():
        assert counts["ld", "global", 16] >= 2, name  # predictions and targets
        assert (counts["st", "global", 16] > 0) == name.startswith("Staged<true"), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype, size", (("float", 4), ("Half", 2), ("Bfloat16", 2), ("unsigned char", 1))
)
def test_images(dtype, size):
    """A result goes out in words of 16 bytes alone, or, where it is not made of them, by value."""
    kernels = counted("load_images")
    for words, wide in (("true", 16), ("false", size)):
        counts = kernels[f"Augment<{dtype}, {words}>"]
        stores = {access[2] for access in counts if access[:2] == ("st", "global")}
        assert stores == {wide}


def test_what_counts_as_wide():
    ptx = """
    .visible .entry _Z3onePf(
    ld.global.nc.f32 %f1, [%rd1];
    ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];
    st.global.cs.v4.u32 [%rd2], {%r1, %r2, %r3, %r4};
    st.global.u16 [%rd2], %rs1;
    st.shared.v2.f32 [%r1], {%f1, %f2};
    cp.async.cg.shared.global [%r1], [%rd1], 16;
    cp.async.ca.shared.global [%r1], [%rd1], 4, 4;
    .visible .entry _Z3twoPf(
    st.global.f64 [%rd2], %fd1;
    """
    found = instructions.accesses(ptx)
    assert found == {
        "one": {
            ("ld", "global", 4): 2,
            ("ld", "global", 16): 2,
            ("st", "global", 16): 1,
            ("st", "global", 2): 1,
            ("st", "shared", 8): 1,
        },
        "two": {("st", "global", 8): 1},
    }


def test_the_script_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDACXX", "/no/such/nvcc")
    with pytest.raises(RuntimeError, match="nvcc is not there: install the CUDA toolkit"):
        instructions.compile_kernels("box_iou", tmp_path / "out", "-ptx")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(instructions.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(RuntimeError, match="pip install nvidia-cuda-cuobjdump"):
        instructions.tool("cuobjdump")


# A loop in a loop, as cuobjdump writes it, with what follows the end of a kernel.
SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;    /* 0x0000000000000000 */
        /*0010*/                   FADD R2, R2, R3 ;
        /*0020*/              @!P0 LDG.E.128 R4, desc[UR8][R8.64] ;
        /*0030*/                   FMNMX R2, R2, R4, PT ;
        /*0040*/               @P0 BRA 0x20 ;
        /*0050*/                   STG.E.U16 desc[UR8][R8.64], R4 ;
        /*0060*/              @!P1 BRA 0x10 ;
        /*0070*/                   EXIT ;
        /*0080*/                   BRA 0x80;
        /*0090*/                   NOP;
"""


def test_machine_code_is_read():
    kernel = instructions.Kernel(SASS)
    assert [opcode for _, opcode, _ in kernel.lines][:4] == ["LDC", "FADD", "LDG.E.128", "FMNMX"]
    assert kernel.memory() == {("LDG", 16): 1, ("STG", 2): 1}
    assert kernel.innermost_loops() == [(2, 4)]
    assert kernel.by_kind(2, 4) == {"memory": 1, "compares and selects": 1, "control": 1}
