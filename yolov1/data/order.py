"""In which order a run sees the images: pure functions of (seed, position in the stream).

Position p of the stream belongs to epoch ``p div n``; an epoch has every one of the n images once.

Where the data is read from memory, any image is as near as any other, and `shuffled` draws one
permutation an epoch. From a disk, images that lie together are read much faster together, and
`shuffled_in_blocks` draws the order in three steps, of which each is a permutation of n places:

1. places are shuffled within windows of some thousand, twice, the second time half a window apart:
   an image moves by up to three halves of a window, and two neighbours may come from any two
   of the blocks that are in the window;
2. the blocks of an epoch, runs of consecutive images, are put in random order;
3. the whole circle of images turns by a random angle, so that other images share a block in
   another epoch.

No step needs a table: the image at a position takes the same time to find in any data set, and no
state has to be saved for a run to go on where it stopped.
"""

BLOCK_BYTES = 8 << 20  # read at once this takes a disk much longer than to find it
# What is shuffled in one go. A permutation of fewer is slow: TensorFlow draws numbers below 65536
# until one of them fits.
FEWEST = 4096
# The first of the three numbers of a seed: one for each use, so that none repeats another. The
# first is what `tf.random.experimental.index_shuffle` puts there.
IMAGES, BLOCKS, WINDOWS, TURN = 498247692, 1, 2, 3


def block_length(count, size) -> int:
    """How many images to read together, of `count` images of `size` bytes in all: those of 8 MiB,
    or fewer, so that there are thousands of blocks to be shuffled."""
    return max(1, min(count * BLOCK_BYTES // max(size, 1), count // FEWEST))


def shuffled(positions, count, seed):
    """The image at each position: a new random order of all of them in every epoch.

    Args:
        positions: int64 ``[N]``, of the stream.
        count: n, the number of images.
        seed: an integer.

    Returns:
        int64 ``[N]``, what `tf.random.experimental.index_shuffle` says of ``p mod n`` and the seed
        ``(seed, p div n)``.
    """
    return _permuted(positions % count, count, IMAGES, seed, positions // count)


def shuffled_in_blocks(positions, count, block, seed, window=None):
    """As `shuffled`, so that images that follow each other in the data set come soon after another.

    Args:
        positions, count, seed: as there.
        block: how many consecutive images lie together, see `Dataset.block`.
        window: how many places are shuffled at a time, at most as many as there are; None: 4096, or
            eight blocks where these are more.

    Returns:
        int64 ``[N]``.
    """
    import tensorflow as tf

    epoch, place = positions // count, positions % count
    windows = max(1, count // (window or max(FEWEST, 8 * block)))
    for half in range(2):
        if half:
            place = (place + count // windows // 2) % count
        number = ((place + 1) * windows - 1) // count  # the window that has this place
        first = number * count // windows
        length = (number + 1) * count // windows - first
        key = (2 * epoch + half) * windows + number
        place = first + _permuted(place - first, length, WINDOWS, seed, key)
    blocks = max(1, count // block)
    number = place // block
    moved = _permuted(tf.minimum(number, blocks - 1), blocks, BLOCKS, seed, epoch)
    # What is left behind the last whole block stays there, and is other images in every epoch.
    place += tf.where(number < blocks, moved - number, 0) * block
    return (place + _permuted(tf.zeros_like(place), 1 << 32, TURN, seed, epoch)) % count


def _permuted(index, count, use, seed, key):
    """A permutation of `count` numbers for each (use, seed, key), at `index`.

    Args:
        index, key: int64 ``[N]``.
        count: an integer, or int64 ``[N]``.
        use, seed: integers.
    """
    import tensorflow as tf

    seeds = tf.stack([tf.cast(part, tf.int64) for part in (use, seed, 0)])
    seeds += key[:, None] * tf.constant([0, 0, 1], tf.int64)
    highest = tf.cast(count, tf.int64) - 1
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=seeds, max_index=highest, rounds=4)
