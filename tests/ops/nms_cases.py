"""Calls of non-maximum suppression, and how their results are compared."""

import numpy as np
import tensorflow as tf

from yolov1 import ops

IMPLS = ("fused", "reference")
SHAPES = {  # images, boxes, classes
    "paper": (2, 98, 20),
    "one class": (3, 40, 1),
    "one box": (2, 1, 3),
    "one of all": (1, 1, 1),
    "no box": (2, 0, 3),
    "no class": (2, 3, 0),
    "no image": (0, 5, 2),
    "many": (5, 70, 7),
}


def call(boxes, scores, impl="fused", graph=False, **options):
    def run(boxes, scores):
        return ops.non_max_suppression(boxes, scores, impl=impl, **options)

    run = tf.function(run) if graph else run
    return [value.numpy() for value in run(boxes, scores)]


def assert_equal(got, want):
    for name, a, b in zip(("boxes", "scores", "labels", "count"), got, want, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def bits(arrays):
    return [array.tobytes() for array in arrays]
