"""Record files, written for one test."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

BOXES = {"xmin": [0.1, 0.0], "ymin": [0.1, 0.0], "xmax": [0.5, 1.0], "ymax": [0.6, 1.0]}


NAMED = {"object/class/text": ["dog", "cat"], "object/difficult": [0, 1]}


def jpeg(seed=0, size=(40, 60)):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    file = io.BytesIO()
    small.resize(size[::-1], Image.BICUBIC).save(file, "JPEG", quality=95)
    return file.getvalue()


def record(boxes=BOXES, **features):
    """A serialized example; a feature is named without ``image/``, None leaves it out."""
    features = {"encoded": jpeg(), "filename": "a.jpg"} | features
    features |= {f"object/bbox/{corner}": values for corner, values in (boxes or {}).items()}

    def feature(values):
        values = values if isinstance(values, list) else [values]
        if not values or isinstance(values[0], str | bytes):
            texts = [v.encode() if isinstance(v, str) else v for v in values]
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    kept = {f"image/{k}": feature(v) for k, v in features.items() if v is not None}
    example = tf.train.Example(features=tf.train.Features(feature=kept))
    return example.SerializeToString()


def detection(**features):
    return record(**(NAMED | features))


def classified(label=None, text=None, **features):
    return record(None, **{"class/label": label, "class/text": text} | features)


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in records:
            writer.write(content)
    return path
