"""The boxes of a data set as the targets of a batch: checks, choice of the implementation."""

import tensorflow as tf

from yolov1 import kernels
from yolov1.data.augmentation import Draw
from yolov1.ops import _library, _tape, reference
from yolov1.ops._arguments import as_tensor, saturating_cast, static_shape


def encode_targets(
    boxes_cxcywh,
    labels,
    splits,
    indices,
    sizes,
    draws,
    *,
    grid,
    on_collision="first",
    min_visible=0.25,
    neighbours=False,
    impl="auto",
):
    """The targets of some images of a data set, each as seen in its window.

    A window is rounded to whole pixels as `yolov1.ops.load_images` does it, so that boxes and
    pixels move alike. Boxes are clipped to it; one of which less than `min_visible` is left, or a
    side below 0.5 % of the window's (Darknet's rule since 2016), is none. Both implementations
    have the same bits.

    Args:
        boxes_cxcywh: float32 ``[K, 4]``: the boxes of all N images, fractions of their image.
        labels: int32 ``[K]`` in [0, C); another one is that of an object of no class.
        splits: int64 ``[N + 1]``: image i has the boxes from ``splits[i]`` on, before
            ``splits[i + 1]`` (`tf.RaggedTensor.row_splits`).
        indices: int64 ``[n]``, of the images in the batch.
        sizes: int32 ``[n, 2]``, height and width of each of them in pixels.
        draws: `yolov1.data.augmentation.Draw` of the n images; its colours are not read.
        grid: `GridSpec`.
        on_collision: which object a cell keeps: ``"first"``, ``"last"`` or ``"largest"``.
        min_visible: share of a box's area, in [0, 1].
        neighbours: whether empty cells describe an object of a cell beside them; see
            `yolov1.data.targets.with_neighbours`.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``.

    Returns:
        float32 ``[n, S, S, C + 5]``, on the CPU; see `yolov1.data.encode_targets`. No gradient
        flows through it.

    Raises:
        ValueError: a shape does not fit; an unknown rule or `impl`.
        tf.errors.InvalidArgumentError: when it runs, by the fused one: an index or a split that is
            out of its range.
        LibraryUnavailable, NotImplementedError: ``impl="fused"`` cannot be had.
    """
    config = kernels.encode_targets_config(grid, on_collision, min_visible, neighbours)
    with tf.device("CPU:0"):
        given = {
            "boxes_cxcywh": (boxes_cxcywh, tf.float32, [None, 4]),
            "labels": (labels, tf.int32, [None]),
            "splits": (splits, tf.int64, [None]),
            "indices": (indices, tf.int64, [None]),
            "sizes": (sizes, tf.int32, [None, 2]),
            "window": (draws.window, tf.float32, [None, 4]),
            "flips": (draws.flips, tf.bool, [None, 2]),
            "transpose": (draws.transpose, tf.bool, [None]),
        }
        tensors = []
        for name, (value, dtype, shape) in given.items():
            tensor = saturating_cast(as_tensor(value, dtype), dtype)
            if not tensor.shape.is_compatible_with(shape):
                raise ValueError(
                    f"encode_targets: {name} must be {kernels.shape_text(shape)}, got "
                    f"{kernels.shape_text(static_shape(tensor))}."
                )
            tensors.append(tensor)
        compiled = _tape.compiled_by_xla()
        chosen = _library.choose("encode_targets", impl, "CPU", "float32", compiled)
        if chosen == "reference":
            draws = Draw(*tensors[5:], draws.colour)
            return reference.encode_targets(
                *tensors[:5], draws, grid, on_collision, min_visible, neighbours
            )
        return _library.load().yolov1_encode_targets(*tensors, config)
