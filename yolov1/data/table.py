"""Boxes and sizes of a data set inside a TensorFlow graph, looked up by index."""

import contextlib

import numpy as np
import tensorflow as tf

from yolov1.data import images as image_files
from yolov1.data.example import BadExampleError
from yolov1.ops import reference


@contextlib.contextmanager
def reading(dataset):
    """Inside, the images of a data set are read by TensorFlow, which does not say whose file it is
    that cannot be.

    Raises:
        BadExampleError: in the place of TensorFlow's error; names the first image that fails.
    """
    try:
        yield
    except tf.errors.OpError as error:
        name_unreadable(dataset, error)
        raise


def name_unreadable(dataset, error):
    """Raises `BadExampleError` for the first image that cannot be read, where there is one."""
    for example in dataset:
        try:
            image_files.verify(example.path) if example.path else example.image
        except (OSError, ValueError) as reason:
            raise BadExampleError(
                f"image {example.image_id!r} cannot be read: {reason}. Was it changed after "
                "the data set was opened? Open it with verify=True and bad_examples='skip' to "
                "leave such files out."
            ) from error


class BoxTable:
    """The boxes of a data set, and the sizes of its images.

    Args:
        dataset: sequence of `Example` with `.classes`.
        shrunk: int ``[count, 2]``: (height, width) of the images as windows are cut from them.
        difficult: whether `boxes` has the difficult ones too.
    """

    def __init__(self, dataset, shrunk, difficult=False):
        with tf.device("CPU:0"):
            self._sides = tf.constant(np.flip(shrunk, axis=1), tf.int32)
            self._boxes, self._labels = _ragged_boxes(list(dataset), difficult)

    def boxes(self, indices):
        """(boxes_cxcywh ``[N, M, 4]``, labels ``[N, M]``, valid ``[N, M]``) of N images."""
        boxes, labels = (tf.gather(part, indices) for part in (self._boxes, self._labels))
        valid = tf.sequence_mask(labels.row_lengths())
        return boxes.to_tensor(shape=[None, None, 4]), labels.to_tensor(), valid

    def seen(self, indices, windows):
        """Windows ``[N, 4]`` as the image ops see them: with their corners on whole pixels."""
        sides = tf.gather(self._sides, indices)
        low, high = reference.whole_pixels(windows, sides)
        return tf.cast(tf.concat([low / sides, high / sides], axis=1), tf.float32)


def _ragged_boxes(examples, difficult):
    """(boxes, labels) of all images, each a row of a ragged tensor."""
    kept = [np.full(len(e.labels), True) if difficult else ~e.difficult for e in examples]
    boxes = np.concatenate([e.boxes_cxcywh[k] for e, k in zip(examples, kept, strict=True)])
    labels = np.concatenate([e.labels[k] for e, k in zip(examples, kept, strict=True)])
    lengths = [int(k.sum()) for k in kept]
    return tuple(tf.RaggedTensor.from_row_lengths(part, lengths) for part in (boxes, labels))
