"""The boxes of a data set as tensors; which of its images cannot be read."""

import contextlib

import numpy as np
import tensorflow as tf

from yolov1.data import images as image_files
from yolov1.data.example import BadExampleError


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
            source = example.path or example.encoded
            if source is None:
                example.image  # noqa: B018 (drawn)
                continue
            header = image_files.read_header(source)
            image_files.verify(source, header)
            if header.size != tuple(example.size):
                raise ValueError(f"its size was {example.size} (height, width), is {header.size}")
        except (OSError, ValueError) as reason:
            raise BadExampleError(
                f"image {example.image_id!r} cannot be read: {reason}. Was it changed after "
                "the data set was opened? Open it with verify=True and bad_examples='skip' to "
                "leave such files out."
            ) from error


def box_table(dataset, difficult=False):
    """The boxes of a data set as `yolov1.ops.encode_targets` takes them: tensors boxes_cxcywh
    ``[K, 4]``, labels ``[K]`` and splits ``[N + 1]``.

    Args:
        difficult: whether with the difficult ones.
    """
    kept = [np.full(len(e.labels), True) if difficult else ~e.difficult for e in dataset]
    boxes = np.concatenate([e.boxes_cxcywh[k] for e, k in zip(dataset, kept, strict=True)])
    labels = np.concatenate([e.labels[k] for e, k in zip(dataset, kept, strict=True)])
    splits = np.cumsum([0, *(k.sum() for k in kept)])
    with tf.device("CPU:0"):
        return tf.constant(boxes), tf.constant(labels), tf.constant(splits, tf.int64)
