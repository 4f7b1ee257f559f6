"""The benchmarks' own native code, built when it is first needed, into ``build/benchmarks``."""

import ctypes
import functools
import hashlib
import os
import subprocess

import tensorflow as tf

from benchmarks.harness import ROOT

FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-pthread"]


def build(source: str, flags: list[str] = ()):
    """Compiles ``benchmarks/<source>`` with $CXX (or g++) unless the same was; the library's path.

    Raises:
        RuntimeError: the compiler refuses; says what it said.
    """
    code = ROOT / "benchmarks" / source
    command = [os.environ.get("CXX", "g++"), *FLAGS, str(code), *flags]
    digest = hashlib.sha256(repr((command, tf.__version__)).encode()).hexdigest()[:12]
    library = ROOT / "build" / "benchmarks" / f"{code.stem}-{digest}.so"
    if library.exists() and library.stat().st_mtime > code.stat().st_mtime:
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    part = library.with_suffix(f".{os.getpid()}")  # two processes may build at once
    done = subprocess.run([*command, "-o", str(part)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source} could not be compiled ({' '.join(command)}): {done.stderr}")
    part.replace(library)
    return library


@functools.cache
def noop_op():
    """The op that does nothing: (predictions, targets, Tloss) to loss, terms, gradient."""
    compile_flags = [flag.replace("-I", "-isystem") for flag in tf.sysconfig.get_compile_flags()]
    library = build("noop_op.cc", [*compile_flags, *tf.sysconfig.get_link_flags()])
    op = tf.load_op_library(str(library)).yolov1_noop
    tf.RegisterGradient("Yolov1>Noop")(lambda op, *upstream: (op.outputs[2], None))
    return op


def copier(bytes_moved: int, non_temporal: bool, threads: int):
    """A function that copies memory, and how many copies a call of it makes.

    Args:
        bytes_moved: bytes read and written, together, by one copy.
        non_temporal: whether to store past the caches.
        threads: how many share a copy.
    """
    size = max(bytes_moved // 2 // 64, 1) * 64
    return _transfer(_aligned(size), _aligned(size), bytes_moved, non_temporal, threads)


def storer(size: int, threads: int):
    """As `copier`, of a function that only stores `size` bytes of zeros, past the caches."""
    return _transfer(_aligned(max(size // 64, 1) * 64), None, size, True, threads)


def _transfer(destination, source, bytes_moved, non_temporal, threads):
    function = ctypes.CDLL(str(build("memory_transfer.cc", ["-fno-tree-loop-distribute-patterns"])))
    # About 10 ms, beside which starting the threads is nothing.
    rounds = max(3, min(2**27 // max(bytes_moved, 1), 2**14))

    def move():
        function.memory_transfer(
            ctypes.c_void_p(destination.ctypes.data),
            ctypes.c_void_p(None if source is None else source.ctypes.data),
            ctypes.c_size_t(destination.size),
            threads,
            rounds,
            int(non_temporal),
        )

    move.buffers = source, destination
    return move, rounds


def _aligned(size):
    """Touched bytes whose address is a multiple of 64, on such pages as the ops' results have:
    TensorFlow's. NumPy asks for huge ones, on which a copy of 68 MB is a seventh faster."""
    block = tf.ones(size + 64, tf.uint8).numpy()
    return block[-block.ctypes.data % 64 :][:size]
