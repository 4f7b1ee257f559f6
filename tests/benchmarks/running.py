"""A benchmark, run as a program."""

import tensorflow as tf

from tests import programs


def run(module, *arguments):
    """`programs.call` of ``benchmarks.MODULE``; TensorFlow logs afterwards as it did before."""
    level = tf.get_logger().level  # which a benchmark raises
    try:
        return programs.call(f"benchmarks.{module}", *arguments)
    finally:
        tf.get_logger().setLevel(level)
