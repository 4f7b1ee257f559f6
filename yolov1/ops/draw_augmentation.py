"""The draws of an augmentation: checks, choice of the implementation."""

import tensorflow as tf

from yolov1 import kernels
from yolov1.data.augmentation import Draw
from yolov1.ops import _library, _tape, reference
from yolov1.ops._arguments import as_tensor


def draw_augmentation(augmentation, seed, positions, *, impl="auto") -> Draw:
    """What an augmentation draws for each position of a stream.

    Each position's draws are a function of the seed and of that position alone: the twelve numbers
    of ``tf.random.stateless_uniform([12], [seed, position], alg="philox")``. Both implementations
    have the same bits.

    Args:
        augmentation: `yolov1.data.Augmentation`, which says what is drawn.
        seed: a Python integer of 64 bits.
        positions: int64 ``[n]``.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    Returns:
        `yolov1.data.augmentation.Draw`: what `yolov1.ops.load_images` takes behind the images. On
        the CPU.

    Raises:
        ValueError: positions of another shape; an unknown `impl`.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    config = kernels.draw_config(seed, augmentation)
    with tf.device("CPU:0"):
        positions = tf.cast(as_tensor(positions, tf.int64), tf.int64)
        if not positions.shape.is_compatible_with([None]):
            raise ValueError(f"draw_augmentation: positions must be [n], got {positions.shape}.")
        compiled = _tape.compiled_by_xla()
        chosen = _library.choose("draw_augmentation", impl, "CPU", "float32", compiled)
        if chosen == "reference":
            return reference.draw_augmentation(augmentation, seed, positions)
        return Draw(*_library.load().yolov1_draw_augmentation(positions, config))
