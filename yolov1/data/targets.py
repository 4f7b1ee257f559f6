"""Boxes of an image -> the target tensor of the loss, in NumPy and as TensorFlow ops.

The cell that holds an object's centre describes it (paper, section 2); a centre at 1.0 belongs to
the last cell. Where several objects fall in one cell, one is kept by a stated rule and the others
are counted.
"""

import numpy as np

from yolov1.kernels import check_collision

LAYOUTS = ("cells", "keras_voc", "tf2_person")
UNUSED = 5  # channels at the end of keras_voc's targets that are always zero and never read


def encode_targets(
    boxes_cxcywh, labels, grid, on_collision="first", layout="cells", *, neighbours=False
):
    """Encodes the objects of one image.

    Args:
        boxes_cxcywh: ``[M, 4]`` fractions of the image: centres in [0, 1], sizes in (0, 1].
        labels: ``[M]`` integers in [0, C).
        grid: `GridSpec`.
        on_collision: which object a cell keeps: ``"first"`` (keras_voc, Darknet), ``"last"``
            (tf2_person) or ``"largest"`` (by area; the first among equals).
        layout: ``"cells"``, what the loss takes; or a post's, see `to_layout`.
        neighbours: whether empty cells describe an object of a cell beside them, see
            `with_neighbours`.

    Returns:
        (targets float32 ``[S, S, C + 5]``, number of objects that found their cell taken). A cell
        holds the one-hot class, the flag 1, x and y in the cell, w and h of the image; an empty
        cell is all zero. In another layout they are as `to_layout` says.

    Raises:
        ValueError: a box, label or rule that is not as described.
    """
    boxes = np.asarray(boxes_cxcywh, np.float32).reshape(-1, 4)
    labels = _checked_labels(labels, len(boxes), grid)
    _check_boxes(boxes)
    count = len(boxes)
    scaled, cells = _places(boxes, grid)
    rows = np.zeros((count + 1, grid.target_channels), np.float32)  # the last row: an empty cell
    rows[np.arange(count), labels] = 1
    rows[:count, grid.target_object_channel] = 1
    rows[:count, grid.target_box_channels] = np.concatenate([scaled - cells, boxes[:, 2:]], axis=1)
    cell_index, keeper = assign_cells(boxes, grid, on_collision)
    winner = np.full(grid.cells, count)
    winner[cell_index] = keeper
    targets = rows[winner].reshape(grid.target_shape)
    if neighbours:
        targets = with_neighbours(targets, grid, np)
    return to_layout(targets, grid, layout), int((keeper != np.arange(count)).sum())


def assign_cells(boxes_cxcywh, grid, on_collision="first"):
    """Which cell each object of an image falls in, and which object that cell keeps.

    Args:
        boxes_cxcywh, grid, on_collision: as in `encode_targets`.

    Returns:
        (cells ``[M]``: row * S + col; keepers ``[M]``: the index of the object that the cell keeps:
        an object's own, or that of the one it is lost to).

    Raises:
        ValueError: an unknown rule.
    """
    check_collision(on_collision, "encode_targets")
    boxes = np.asarray(boxes_cxcywh, np.float32).reshape(-1, 4)
    count = len(boxes)
    if on_collision == "largest":
        order = np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")
    else:
        order = np.arange(count)[:: -1 if on_collision == "last" else 1]
    _, cells = _places(boxes, grid)
    cell_index = (cells[:, 1] * grid.S + cells[:, 0]).astype(np.int64)
    best = np.full(grid.cells, count)  # place in `order` of the object that a cell keeps
    np.minimum.at(best, cell_index[order], np.arange(count))
    return cell_index, order[best[cell_index]]


def encode_example(example, grid, on_collision="first"):
    """The targets ``[S, S, C + 5]`` of an `Example` as a training without augmentation has them:
    objects that are difficult are left out."""
    kept = ~example.difficult
    boxes, labels = example.boxes_cxcywh[kept], example.labels[kept]
    return encode_targets(boxes, labels, grid, on_collision)[0]


def _places(boxes, grid):
    """Centres in units of cells, and their cells (column, row), both ``[M, 2]``."""
    scaled = boxes[:, :2] * np.float32(grid.S)
    return scaled, np.clip(np.floor(scaled), 0, grid.S - 1)


def to_layout(targets, grid, layout):
    """Targets as a post has them; `from_layout` is the inverse.

    Args:
        targets: ``[..., S, S, C + 5]``, NumPy.
        layout: ``"cells"``: unchanged. ``"keras_voc"``: ``[..., S, S, C + 10]``, classes, box,
            object flag, and five channels that are always zero (7 x 7 x 30 with 20 classes).
            ``"tf2_person"``: ``[..., S, S, C + 5]`` with the axes exchanged: x first, then y.

    Raises:
        ValueError: an unknown layout, or another shape.
    """
    _check_layout(layout)
    _check_shape("to_layout", targets, grid.target_shape, layout)
    if layout == "keras_voc":
        classes, flag, box = np.split(targets, [grid.C, grid.C + 1], axis=-1)
        unused = np.zeros((*targets.shape[:-1], UNUSED), targets.dtype)
        return np.concatenate([classes, box, flag, unused], axis=-1)
    return np.swapaxes(targets, -3, -2) if layout == "tf2_person" else targets


def from_layout(targets, grid, layout):
    """A post's targets as the loss takes them, ``[..., S, S, C + 5]``; see `to_layout`."""
    _check_layout(layout)
    unused = UNUSED if layout == "keras_voc" else 0
    _check_shape("from_layout", targets, (grid.S, grid.S, grid.target_channels + unused), layout)
    if layout == "keras_voc":
        classes, box, flag, _ = np.split(targets, [grid.C, grid.C + 4, grid.C + 5], axis=-1)
        return np.concatenate([classes, flag, box], axis=-1)
    return np.swapaxes(targets, -3, -2) if layout == "tf2_person" else targets


# (row, column) from an object's cell to one beside it. Of equal distances the first counts.
BESIDE = ((0, 1), (0, -1), (1, 0), (-1, 0))


def with_neighbours(targets, grid, xp):
    """Targets in which an object is described by up to two more cells.

    An empty cell beside one with an object describes it too where the object's centre lies in that
    half of its cell which is nearer (a column's neighbour, a row's, or both), and its box reaches
    over the middle of the empty cell. Between several objects the nearest centre counts, by its
    distance from that middle. Such a row is the object's, with x and y from this cell's corner, in
    (-0.5, 1.5). (Ultralytics' YOLOv5 takes the same cells; the condition on the box is added.)

    Args:
        targets: float32 ``[..., S, S, C + 5]``.
        xp: NumPy or TensorFlow, whose array `targets` is.
    """
    S, C = grid.S, grid.C
    infinite = xp.ones_like(targets[..., C]) * np.float32("inf")
    best = xp.where(targets[..., C] > 0, xp.zeros_like(infinite), infinite)
    result = targets
    margins = [[0, 0]] * (len(targets.shape) - 3) + [[1, 1], [1, 1], [0, 0]]
    padded = xp.pad(targets, margins)
    for row, column in BESIDE:
        offset = np.float32([0] * C + [0, -column, -row, 0, 0])
        moved = padded[..., 1 - row : 1 - row + S, 1 - column : 1 - column + S, :] + offset
        dx, dy = moved[..., C + 1] - np.float32(0.5), moved[..., C + 2] - np.float32(0.5)
        seen = (moved[..., C] > 0) & (abs(dx) < 1) & (abs(dy) < 1)
        seen &= abs(dx) < moved[..., C + 3] * np.float32(S / 2)
        seen &= abs(dy) < moved[..., C + 4] * np.float32(S / 2)
        distance = xp.where(seen, dx * dx + dy * dy, infinite)
        result = xp.where((distance < best)[..., None], moved, result)
        best = xp.where(distance < best, distance, best)
    return result


def encode_targets_in_graph(
    boxes_cxcywh, labels, valid, grid, on_collision="first", *, neighbours=False
):
    """`encode_targets` of a batch as TensorFlow ops: the same bits, no checks.

    (TensorFlow flushes subnormal numbers to zero: a centre below 1e-38 counts as 0.)

    Args:
        boxes_cxcywh: float32 ``[N, M, 4]``.
        labels: int32 ``[N, M]``.
        valid: bool ``[N, M]``: which of the M are objects.
        grid, on_collision, neighbours: as of `encode_targets`.

    Returns:
        (targets float32 ``[N, S, S, C + 5]``, dropped int32 ``[N]``).
    """
    import tensorflow as tf

    check_collision(on_collision, "encode_targets")
    images, count = tf.unstack(tf.shape(labels))
    scaled = boxes_cxcywh[..., :2] * tf.constant(grid.S, tf.float32)
    # A NaN would be in no cell, and so in no loss: in the first one it makes the loss NaN.
    cells = tf.where(scaled > 0, tf.clip_by_value(tf.floor(scaled), 0, grid.S - 1), 0)
    flag = tf.ones([images, count, 1])
    rows = [tf.one_hot(labels, grid.C), flag, scaled - cells, boxes_cxcywh[..., 2:]]
    rows = tf.pad(tf.concat(rows, axis=2), [[0, 0], [0, 1], [0, 0]])
    order = tf.tile(tf.range(count)[None], [images, 1])
    if on_collision == "largest":
        area = boxes_cxcywh[..., 2] * boxes_cxcywh[..., 3]
        area = tf.where(tf.math.is_nan(area), float("inf"), area)
        order = tf.argsort(-area, axis=1, stable=True)
    elif on_collision == "last":
        order = tf.reverse(order, [1])
    places = tf.tile(tf.range(count)[None], [images, 1])
    # Cells of all images in one row; what is no object goes to one more cell at the end.
    cell_index = tf.cast(cells[..., 1] * grid.S + cells[..., 0], tf.int32)
    cell_index = tf.range(images)[:, None] * grid.cells + cell_index
    cell_index = tf.where(valid, cell_index, images * grid.cells)
    best = tf.math.unsorted_segment_min(
        places, tf.gather(cell_index, order, batch_dims=1), images * grid.cells + 1
    )
    best = tf.reshape(best[:-1], [images, grid.cells])
    taken = tf.minimum(best, count)  # the minimum of an empty segment is the largest integer
    winner = tf.gather(tf.concat([order, tf.fill([images, 1], count)], axis=1), taken, batch_dims=1)
    objects = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)
    dropped = objects - tf.reduce_sum(tf.cast(taken < count, tf.int32), axis=1)
    targets = tf.reshape(tf.gather(rows, winner, batch_dims=1), [images, *grid.target_shape])
    if neighbours:
        targets = with_neighbours(targets, grid, tf)
    return targets, dropped


def _check_layout(layout):
    if layout not in LAYOUTS:
        raise ValueError(
            f"encode_targets: layout must be one of {', '.join(map(repr, LAYOUTS))}, "
            f"got {layout!r}."
        )


def _check_shape(op, targets, expected, layout):
    if np.shape(targets)[-3:] != tuple(expected):
        raise ValueError(
            f"{op}: expected targets [..., {', '.join(map(str, expected))}] with the layout "
            f"{layout!r}, got the shape {list(np.shape(targets))}. Check S and C of the grid."
        )


def _checked_labels(labels, count, grid):
    labels = np.asarray(labels).reshape(-1)
    if len(labels) != count:
        raise ValueError(
            f"encode_targets: expected one label for each of the {count} boxes, got {len(labels)}."
        )
    if count and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"encode_targets: labels must be integers, got dtype {labels.dtype}.")
    wrong = (labels < 0) | (labels >= grid.C)
    if wrong.any():
        raise ValueError(
            f"encode_targets: labels must be in [0, {grid.C}) for GridSpec(C={grid.C}), got "
            f"{labels[wrong][0]}. Make C the number of classes of the data set."
        )
    return labels.astype(np.int64)


def _check_boxes(boxes):
    good = np.isfinite(boxes).all(axis=1)
    good &= (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, :2] <= 1).all(axis=1)
    good &= (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, 2:] <= 1).all(axis=1)
    if not good.all():
        k = int(np.argmin(good))
        raise ValueError(
            "encode_targets: boxes must be (cx, cy, w, h) as fractions of the image, centres in "
            f"[0, 1] and sizes in (0, 1]; box {k} is {boxes[k].tolist()}. Divide pixels by the "
            "image's size and leave out boxes without area."
        )
