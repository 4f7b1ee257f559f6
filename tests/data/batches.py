"""Batches of `yolov1.data.training_batches` in NumPy, compared and put together."""

import numpy as np


def in_numpy(stream):
    return [tuple(part.numpy() for part in batch) for batch in stream]


def assert_same(left, right):
    """To the bit, every part of every batch."""
    assert len(left) == len(right) > 0
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def joined(shards):
    """The batches of all shards, each put together again."""
    return [
        tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for batches in zip(*shards, strict=True)
    ]
