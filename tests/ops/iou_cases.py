"""What the IoU tests share: boxes, and the ops with their gradients."""

import ml_dtypes
import numpy as np
import tensorflow as tf

from yolov1 import ops

IMPLS = ("fused", "reference")
OPS = ("pairwise_iou", "aligned_iou")
KINDS = ("iou", "giou", "diou", "ciou")
FORMATS = ("xyxy", "cxcywh")
DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)

# Pairs of corner boxes at ties of some minimum or maximum, or without area; all on a grid of 1 / 8,
# so that centre boxes of them have the same corners.
DEGENERATE = {
    "identical": ((1, 1, 3, 4), (1, 1, 3, 4)),
    "touching, in x": ((0, 0, 2, 3), (2, 1, 4, 5)),
    "touching, in y": ((0, 2, 2, 3), (1, 0, 4, 2)),
    "touching, a corner": ((0, 0, 2, 2), (2, 2, 3, 5)),
    "nested, one shared edge": ((0, 0, 4, 4), (0, 1, 2, 3)),
    "nested, two shared edges": ((1, 1, 2, 3), (1, 1, 5, 4)),
    "nested, three shared edges": ((0, 0, 4, 4), (0, 0, 4, 3)),
    "nested, none": ((0, 0, 4, 4), (1, 1, 2, 3)),
    "same centre": ((0, 0, 4, 4), (1, 1, 3, 3)),
    "same width": ((0, 0, 4, 4), (0, 6, 4, 7)),
    "a line inside": ((1, 1, 1, 2), (0, 0, 4, 4)),
    "a line on an edge": ((0, 1, 0, 2), (0, 0, 4, 4)),
    "a flat line outside": ((5, 2, 7, 2), (0, 0, 4, 4)),
    "a point inside": ((0, 0, 4, 4), (1, 2, 1, 2)),
    "a point outside": ((6, 7, 6, 7), (0, 0, 4, 4)),
    "two lines": ((1, 1, 1, 4), (0, 2, 4, 2)),
    "two lines in one": ((1, 1, 1, 4), (1, 2, 1, 5)),
    "two points": ((1, 1, 1, 1), (2, 3, 2, 3)),
    "one point twice": ((1, 1, 1, 1), (1, 1, 1, 1)),
    "inverted in x": ((3, 1, 1, 4), (0, 0, 4, 4)),
    "inverted in both": ((0, 0, 4, 4), (3, 4, 1, 1)),
    "both inverted": ((3, 3, 1, 1), (4, 2, 2, 1)),
    "inverted, identical": ((3, 3, 1, 1), (3, 3, 1, 1)),
}


def in_format(corners, box_format):
    """``[..., 4]`` corner boxes as `box_format` has them."""
    if box_format == "xyxy":
        return corners
    low, high = corners[..., :2], corners[..., 2:]
    return np.concatenate([(low + high) / 2, high - low], -1)


def degenerate_pairs(box_format="xyxy", dtype=np.float64, names=tuple(DEGENERATE)):
    """``[P, 4]`` and ``[P, 4]``: the pairs of `DEGENERATE` one by one, each way round."""
    pairs = np.array([DEGENERATE[name] for name in names]) / 8
    pairs = in_format(np.concatenate([pairs, pairs[:, ::-1]]), box_format).astype(dtype)
    return pairs[:, 0], pairs[:, 1]


def random_boxes(*shape, seed=0, box_format="xyxy", dtype=np.float64):
    """``[*shape, 4]``, of which about every second pair overlaps."""
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(0.1, 0.6, (*shape, 2))
    low = generator.uniform(0, 1 - sizes)
    return in_format(np.concatenate([low, low + sizes], -1), box_format).astype(dtype)


def random_upstream(shape, dtype=np.float64, seed=5):
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(dtype)


def iou_function(op, *, graph=False, xla=False, unknown=False, **options):
    """(boxes_a, boxes_b, upstream, valid_a, valid_b) to value and both gradients, as arrays.

    With `unknown` the graph is traced for boxes of unknown shape, all else is seen by its shape.
    """

    def compute(a, b, upstream, valid_a, valid_b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            out = getattr(ops, op)(a, b, valid_a=valid_a, valid_b=valid_b, **options)
        return out, *tape.gradient(out, [a, b], output_gradients=upstream)

    # AutoGraph takes longer than tracing: it rewrites what XLA compiles, and nothing else.
    traced = tf.function(compute, jit_compile=xla, autograph=xla)
    function = traced if graph or xla else compute

    def run(boxes_a, boxes_b, upstream=None, valid_a=None, valid_b=None):
        arguments = [
            None if x is None else tf.constant(x)
            for x in (boxes_a, boxes_b, upstream, valid_a, valid_b)
        ]
        call = function
        if unknown:
            specs = [None if x is None else tf.TensorSpec(None, x.dtype) for x in arguments]
            call = function.get_concrete_function(*specs)
            arguments = [x for x in arguments if x is not None]
        return [x.numpy() for x in call(*arguments)]

    return run


def value_and_gradients(op, *arguments, **options):
    return iou_function(op, **options)(*arguments)
