"""The boxes of a data set as the targets of a batch of windows, in plain TensorFlow."""

import tensorflow as tf

from yolov1.data.augmentation import Draw, move_boxes
from yolov1.data.targets import encode_targets_in_graph
from yolov1.ops.reference.load_images import whole_pixels


def encode_targets(
    boxes_cxcywh, labels, splits, indices, sizes, draws, grid, on_collision, min_visible, neighbours
):
    """Of checked tensors; `yolov1.ops.encode_targets` has them."""
    boxes = tf.RaggedTensor.from_row_splits(boxes_cxcywh, splits, validate=False)
    labels = tf.RaggedTensor.from_row_splits(labels, splits, validate=False)
    boxes, labels = (tf.gather(part, indices) for part in (boxes, labels))
    valid = tf.sequence_mask(labels.row_lengths())
    boxes, labels = boxes.to_tensor(shape=[None, None, 4]), labels.to_tensor()
    sides = tf.reverse(sizes, [1])
    low, high = whole_pixels(draws.window, sides)
    window = tf.cast(tf.concat([low / sides, high / sides], axis=1), tf.float32)
    seen = Draw(window, draws.flips, draws.transpose, draws.colour)
    boxes, valid = move_boxes(boxes, valid, seen, min_visible)
    targets, _ = encode_targets_in_graph(
        boxes, labels, valid, grid, on_collision, neighbours=neighbours
    )
    return targets
