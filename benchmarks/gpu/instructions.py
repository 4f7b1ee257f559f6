"""What the CUDA kernels are made of, counted in their machine code: no GPU is needed.

    python -m benchmarks.gpu.instructions                          # every kernel of every op
    python -m benchmarks.gpu.instructions --kernels='Tile.*float' --loops

Compiles the .cu files for one architecture and prints for each kernel its registers and bytes of
shared memory, its wide (8 and 16 bytes) and narrow loads and stores, and its instructions by kind.
``--loops`` adds each innermost loop. All counts are static: an instruction counts once, however
often it runs, and each side of a branch counts, whichever is taken. A loop that goes through the
pairs of a tile reads boxes from shared memory and divides; its instructions are divided by the
pairs that a lane has in it. Of the shared memory 1 KB is the system's.

Needs nvcc, and cuobjdump and nvdisasm, which are part of the CUDA toolkit and of the packages
nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from absl import app, flags

from benchmarks.harness import ROOT

flags.disclaim_key_flags()

FLAGS = ("--fmad=false", "-std=c++17", f"-I{ROOT}", '-DYOLOV1_CUDA_ARCHITECTURES="one"')
OPS = sorted(path.parent.name for path in (ROOT / "kernels").glob("*/kernel.cu"))

# By the beginning of an instruction's name; the first that fits. On Hopper the compares, selects,
# minima and maxima run at half the rate of sums and products.
KINDS = {
    "sums and products": r"FADD|FMUL|FFMA",
    "compares and selects": r"FMNMX|FSETP?|FSEL|FCHK",
    "double": r"D(ADD|MUL|FMA|SETP|MNMX)",
    "special": r"MUFU",
    "shuffles and votes": r"SHFL|VOTE|MATCH|REDUX",
    "memory": r"LD|ST|ATOM|RED|CCTL|MEMBAR|ERRBAR",
    "control": r"BR|BAR|BS|BMOV|JMP|CALL|RET|EXIT|WARPSYNC|NOP|DEPBAR|YIELD|KILL",
    "integer and moves": r"",
}


def nvcc() -> str | None:
    """The compiler that the build takes."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/local/cuda/bin"))
    return shutil.which(os.environ.get("CUDACXX") or "nvcc", path=path)


def tool(name: str) -> str:
    """A program of the CUDA toolkit: beside nvcc, in PATH, or in a package of this Python.

    Raises:
        RuntimeError: there is none; with what to install.
    """
    compiler = nvcc()
    folders = [Path(compiler).resolve().parent] if compiler else []
    folders += [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin"))
    found = shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        raise RuntimeError(f"{name} is not there: pip install nvidia-cuda-{name}")
    return found


def run(*command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return done.stdout


def compile_kernels(op: str, to: Path, *options):
    """Compiles ``kernels/<op>/kernel.cu`` to the file `to`, with nvcc's `options`.

    Raises:
        RuntimeError: there is no nvcc, or it failed; with the end of what it said.
    """
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("nvcc is not there: install the CUDA toolkit, or set CUDACXX to it")
    run(compiler, *FLAGS, *options, "-o", to, ROOT / f"kernels/{op}/kernel.cu")


def plain_names(names) -> dict[str, str]:
    """``TileIou<0, float>`` for the name that the linker sees."""
    names = list(names)
    filt = shutil.which("c++filt")
    lines = run(filt, input="\n".join(names)).splitlines() if filt else names
    out = {}
    for name, line in zip(names, lines, strict=True):
        line = re.sub(r"^void |yolov1::|\(anonymous namespace\)::", "", line)
        out[name] = re.sub(r"\(.*", "", re.sub(r"\((IouKind|bool)\)", "", line))
    return out


# ------------------------------------------------------------------------------------ accesses


def accesses(ptx: str) -> dict[str, collections.Counter]:
    """Of each kernel in a PTX text how often it has which access: keys as ("ld", "global", 16).

    The last one is the bytes of a thread. A copy from global to shared memory is a load.
    """
    out = {}
    for part in re.split(r"\.entry ", ptx)[1:]:
        name = re.match(r"[\w$]+", part)[0]
        counts = out[name] = collections.Counter()
        for what, space, vector, bits in re.findall(
            r"\b(ld|st)\.(global|shared)(?:\.[a-z]+)*?(?:\.v(\d))?\.[a-z]+(\d+)\s", part
        ):
            counts[what, space, int(vector or 1) * int(bits) // 8] += 1
        for size in re.findall(r"\bcp\.async\.\w+\.shared\.global[^;]*?, (\d+)", part):
            counts["ld", "global", int(size)] += 1
    names = plain_names(out)
    return {names[name]: counts for name, counts in out.items()}


def ptx_accesses(op: str, architecture: int = 90) -> dict[str, collections.Counter]:
    """`accesses` of an op's kernels, compiled for compute_`architecture`."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "kernel.ptx"
        compile_kernels(op, to, f"-arch=compute_{architecture}", "-ptx")
        return accesses(to.read_text())


# ---------------------------------------------------------------------------------- machine code


def kind_of(opcode: str) -> str:
    return next(kind for kind, names in KINDS.items() if re.match(names, opcode))


class Kernel:
    """The machine code of one kernel: `lines` of (address, opcode, the rest)."""

    def __init__(self, text):
        found = re.findall(r"/\*([0-9a-f]{4,5})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", text)
        self.lines = [(int(address, 16), opcode, rest) for address, opcode, rest in found]
        while self.lines and self.lines[-1][1] in ("NOP", "BRA"):  # to itself, behind the end
            self.lines.pop()

    def innermost_loops(self):
        """(first, last) of `lines` of each loop that has none inside.

        A loop is what a branch backwards goes over. Not one from behind the kernel's end, where
        code lies that hardly ever runs: that comes back from there.
        """
        at = {address: k for k, (address, _, _) in enumerate(self.lines)}
        end = max((k for k, line in enumerate(self.lines) if line[1] == "EXIT"), default=0)
        loops = []
        for k, (_, opcode, rest) in enumerate(self.lines[:end]):
            target = re.search(r"0x[0-9a-f]+", rest)
            if opcode.startswith("BRA") and target and at.get(int(target[0], 16), k) < k:
                loops.append((at[int(target[0], 16)], k))
        return [
            one
            for one in sorted(loops)
            if not any(one != o and one[0] <= o[0] and o[1] <= one[1] for o in loops)
        ]

    def by_kind(self, first=0, last=None):
        """Counter of kinds over lines [first, last]."""
        lines = self.lines[first : None if last is None else last + 1]
        return collections.Counter(kind_of(opcode) for _, opcode, _ in lines)

    def memory(self, first=0, last=None):
        """Counter of ("LDG", 16) and so on over lines [first, last]: the last are bytes."""
        counts = collections.Counter()
        for _, opcode, _rest in self.lines[first : None if last is None else last + 1]:
            name, *modifiers = opcode.split(".")
            if name in ("LDG", "STG", "LDS", "STS", "LDL", "STL", "LDGSTS"):
                bits = [int(m.strip("US")) for m in modifiers if re.fullmatch(r"[US]?\d+", m)]
                counts[name, (bits or [32])[-1] // 8] += 1
        return counts


def machine_code(op: str, architecture: int = 90):
    """(name, registers, bytes of shared memory, `Kernel`) of each kernel of an op."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "kernel.cubin"
        compile_kernels(op, to, f"-arch=sm_{architecture}", "-cubin")
        program = tool("cuobjdump")
        paths = os.pathsep.join((str(Path(tool("nvdisasm")).parent), os.environ["PATH"]))
        environment = os.environ | {"PATH": paths}
        code = run(program, "-sass", to, env=environment)
        usage = run(program, "-res-usage", to, env=environment)
    texts = re.split(r"\n\s*Function : ", code)[1:]
    names = plain_names(text.split("\n", 1)[0].strip() for text in texts)
    for text in texts:
        symbol = text.split("\n", 1)[0].strip()
        used = re.search(rf"Function {re.escape(symbol)}:\s+REG:(\d+).*?SHARED:(\d+)", usage)
        yield names[symbol], int(used[1]), int(used[2]), Kernel(text)


# ----------------------------------------------------------------------------------------- report


def counted(counts) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.most_common())


def accessed(counts) -> str:
    return ", ".join(
        f"{number} {name}.{8 * size}" for (name, size), number in sorted(counts.items())
    )


def pairs_of_a_lane() -> int:
    """How many pairs a lane computes in one round of a loop over a tile's rows."""
    source = (ROOT / "kernels/box_iou/cuda_tiles.h").read_text()
    return int(re.search(r"constexpr int kPerLane = (\d+);", source)[1])


def report(name, registers, shared, kernel, loops):
    yield f"{name}: {registers} registers, {shared} bytes shared, {len(kernel.lines)} instructions"
    yield f"    {accessed(kernel.memory())}"
    yield f"    {counted(kernel.by_kind())}"
    for first, last in kernel.innermost_loops() if loops else ():
        size = last - first + 1
        memory = kernel.memory(first, last)
        kinds = kernel.by_kind(first, last)
        over_pairs = (
            name.startswith("Tile") and kinds["special"] and any(m == "LDS" for m, _ in memory)
        )
        pairs = f", {size / pairs_of_a_lane():.1f} a pair" if over_pairs else ""
        yield f"    loop of {size} instructions{pairs}: {counted(kinds)}"
        if memory:
            yield f"        {accessed(memory)}"


def main(_):
    config = flags.FLAGS
    for op in OPS:
        for name, *rest in machine_code(op, config.architecture):
            if re.search(config.kernels, name):
                print("\n".join(report(name, *rest, config.loops)), flush=True)


if __name__ == "__main__":
    flags.DEFINE_integer("architecture", 90, "Compute capability, ten times.")
    flags.DEFINE_string("kernels", "", "Regular expression for the names of kernels.")
    flags.DEFINE_bool("loops", False, "The innermost loops as well.")
    sys.exit(app.run(main))
