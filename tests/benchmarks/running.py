"""A benchmark, run as a program."""

import csv

import tensorflow as tf

from tests import programs


def run(module, *arguments):
    """`programs.call` of ``benchmarks.MODULE``; TensorFlow logs afterwards as it did before."""
    level = tf.get_logger().level  # which a benchmark raises
    try:
        return programs.call(f"benchmarks.{module}", *arguments)
    finally:
        tf.get_logger().setLevel(level)


def rows_of(file, module, *arguments):
    """The rows of a run that ends well, which it writes to `file`, and what it printed."""
    done = run(module, *arguments, f"--output={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines)), done.stdout
