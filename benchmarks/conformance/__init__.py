"""Does a kernel compute what it promises? Yours, or every face of this project's own.

    python -m benchmarks.conformance                             # our faces, one table
    python -m benchmarks.conformance --kernel=mine.losses:fast   # yours, in Python
    python -m benchmarks.conformance --kernel=./mine.so          # yours, in C

`--kernel` names a function that computes the YOLO loss and its gradient (benchmarks/README.md has
both signatures). It is held against the float64 reference: values on many grids, ties, properties,
the same bits again, values that are not finite. It is timed beside ours only where all of it holds.
Without the flag the same checks go through all faces of our own ops: NumPy arrays on each level of
SIMD, TensorFlow eager, in a graph and under XLA, JAX where it is installed, and arrays of a GPU
through DLPack where there is one (or `--build` names a build whose CUDA kernels run on the host).
The exit status is 1 where a check fails.
"""

import sys

from absl import app, flags

flags.disclaim_key_flags()  # --help shows what is defined here as the program's own


def define_flags():
    from yolov1.semantics import PRESETS

    flags.DEFINE_string("kernel", "", "MODULE:FUNCTION or FILE.so with yours; empty: our faces.")
    flags.DEFINE_enum("semantics", "paper", list(PRESETS), "The loss that --kernel computes.")
    flags.DEFINE_list("faces", None, "Only faces whose names contain one of these; by default all.")
    flags.DEFINE_string("build", "", "A folder with a build by `benchmarks.gpu`, for DLPack.")
    flags.DEFINE_integer("seed", 0, "Of the cases.")
    flags.DEFINE_list("batches", ["1", "64", "1024"], "Batch sizes that --kernel is timed with.")
    flags.DEFINE_integer("repeats", 30, "Timed rounds, at most.", 1)
    flags.DEFINE_float("budget", 10, "Seconds for the rounds of a batch size.")


def check_kernel(config) -> int:
    """Checks the kernel that the flags name, and times it where it passes; the exit status."""
    from benchmarks.conformance import foreign, loss
    from benchmarks.gpu.verdicts import Checks
    from yolov1.semantics import PRESETS

    semantics = PRESETS[config.semantics]
    try:
        kernel = foreign.load(config.kernel)
    except foreign.KernelError as error:
        sys.exit(f"error: {error}")
    checks = Checks(None, config.seed)
    loss.check(checks, lambda p, t, grid, layout: kernel(p, t, grid, semantics), semantics)
    print("\n".join(checks.report()), flush=True)
    if checks.failures:
        print(f"REFUSED: {config.kernel} does not compute {config.semantics}'s loss; not timed.")
        return 1
    print(f"parity holds: {config.kernel} computes {config.semantics}'s loss")
    foreign.time_beside_ours(kernel, semantics, config)
    return 0


def check_faces(config) -> int:
    """Checks every face of our ops, and prints the table; the exit status."""
    from benchmarks import gpu
    from benchmarks.conformance import faces

    if config.build:
        gpu.load(config.build)
    wanted = config.faces or [""]
    unknown = [word for word in wanted if not any(word in name for name in faces.FACES)]
    if unknown:
        raise app.UsageError(f"--faces must be parts of {'; '.join(faces.FACES)}, got {unknown}.")
    names = [name for name in faces.FACES if any(word in name for word in wanted)]
    lines, failures = faces.table(names, config.seed)
    print("\n".join(lines))
    print("\n".join(failures[:50]))
    return 1 if failures else 0


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a kernel is --kernel={argv[1]}.")
    config = flags.FLAGS
    return check_kernel(config) if config.kernel else check_faces(config)
