import collections

import numpy as np
import pytest
import tensorflow as tf

from yolov1.data.order import BLOCK_BYTES, FEWEST, block_length, shuffled, shuffled_in_blocks


def positions(first, last):
    return tf.range(first, last, dtype=tf.int64)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 70000])
def test_shuffled_is_tensorflows_shuffle(count):
    """The order that every run so far has seen, to the bit."""
    at = np.random.default_rng(0).integers(0, 5 * count, 20)
    shuffle, wide = tf.random.experimental.index_shuffle, np.int64
    expected = [shuffle(wide(p % count), [3, wide(p // count)], wide(count - 1)) for p in at]
    np.testing.assert_array_equal(shuffled(tf.constant(at), count, 3), expected)


# (images, images a block, window): one window and many, whole blocks and a rest, a block that is
# longer than a window or than the data set.
CASES = [(1, 1, 4), (10, 20, 8), (3000, 1, 500), (3001, 7, 500), (3333, 250, 700), (999, 300, 200)]


@pytest.mark.parametrize("count, block, window", CASES)
def test_an_epoch_has_every_image_once(count, block, window):
    orders = [
        shuffled_in_blocks(positions(e * count, (e + 1) * count), count, block, 5, window).numpy()
        for e in range(3)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
    if count > 2:
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert (orders[one] == orders[other]).mean() < 0.5
        again = shuffled_in_blocks(positions(0, count), count, block, 6, window).numpy()
        assert (orders[0] != again).mean() > 0.5


def test_any_part_of_the_stream_is_the_same():
    """A run that starts at any position, with steps of any size, inside a graph or not."""
    count, block, window = 3001, 7, 500
    whole = shuffled_in_blocks(positions(0, 2 * count), count, block, 5, window).numpy()

    @tf.function(autograph=False)
    def in_graph(at, seed):
        return shuffled_in_blocks(at, count, block, seed, window)

    for first, last in ((0, 16), (2990, 3020), (3001, 3002), (1234, 1300), (5986, 6002)):
        np.testing.assert_array_equal(
            in_graph(positions(first, last), tf.constant(5)), whole[first:last]
        )


def reads(order, piece, kept):
    """How many pieces of consecutive images are read, if memory keeps the last `kept` of them."""
    cache, count = collections.OrderedDict(), 0
    for one in (order // piece).tolist():
        count += one not in cache
        cache[one] = None
        cache.move_to_end(one)
        if len(cache) > kept:
            cache.popitem(last=False)
    return count


def test_what_lies_together_is_read_together():
    count, block, window, piece = 20000, 100, 1000, 5
    order = shuffled_in_blocks(positions(0, count), count, block, 5, window).numpy()
    everywhere = shuffled(positions(0, count), count, 5).numpy()
    kept = 4 * window // piece  # memory for a fifth of the data
    assert reads(order, piece, kept) < 1.1 * count / piece
    assert reads(everywhere, piece, kept) > 3 * count / piece
    # Of the 200 blocks three windows hold 30, some of them cut into two by the turn.
    at_a_time = [len(set((part // block).tolist())) for part in np.split(order, count // window)]
    assert max(at_a_time) <= 2 * (3 * window // block + 1)


def test_how_well_it_mixes():
    count, block, window, batch = 20000, 100, 1000, 16
    order = shuffled_in_blocks(positions(0, 2 * count), count, block, 5, window).numpy()
    blocks = (order // block).reshape(-1, batch)
    several = np.array([len(set(row)) for row in blocks.tolist()])
    # From ten blocks at random there would be 8.1, from thirty cut into two 12 and more.
    assert several.mean() > 10 and several.min() >= 4
    # Two images of a block hardly ever follow each other, and rarely in the order of the file.
    follows = np.diff(order)
    assert (follows == 1).mean() < 2 / block
    # No class that lies sorted in the files fills a batch: ten classes, one after another.
    classes = (order * 10 // count).reshape(-1, batch)
    largest = np.array([np.bincount(row, minlength=10).max() for row in classes])
    assert largest.mean() < 0.6 * batch
    # An image's neighbours are others in the next epoch.
    where = np.empty((2, count), int)
    for epoch in range(2):
        where[epoch, order[epoch * count : (epoch + 1) * count]] = np.arange(count)
    near = np.abs(np.diff(where[:, order[:count]], axis=1)) < batch
    assert near[0].all() and near[1].mean() < 0.05
    # Places of an epoch are alike: no image comes early or late in all of them.
    epochs = [
        shuffled_in_blocks(positions(e * 500, e * 500 + 500), 500, 25, 5, 100).numpy()
        for e in range(24)
    ]
    mean_place = np.mean([np.argsort(order) for order in epochs], axis=0)
    deviation = 500 / np.sqrt(12 * len(epochs))
    assert np.abs(mean_place - 249.5).max() < 5 * deviation


def test_block_length():
    assert block_length(100 * FEWEST, 100 * FEWEST * BLOCK_BYTES // 20) == 20  # those of 8 MiB
    assert block_length(FEWEST * 3, FEWEST * 3) == 3  # fewer: there must be thousands of blocks
    assert block_length(10, 10 * BLOCK_BYTES * 5) == block_length(10, 0) == 1
