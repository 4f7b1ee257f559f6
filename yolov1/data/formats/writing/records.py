"""TFRecord files, as `yolov1.data.formats.records` reads them."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from yolov1.data import images
from yolov1.data.formats.label_map import LABEL_MAP, label_map_text
from yolov1.data.formats.record_content import CORNERS
from yolov1.data.formats.record_index import write_index
from yolov1.files import read_text


def write_records(dataset, path, shards=1) -> list[Path]:
    """Writes a data set with its boxes as TFRecord files; beside them a label map and indexes.

    An image that is a file goes in as it is; a drawn one as PNG, so that no pixel changes. With its
    index a file need not be read to be opened, see `index_records`.

    Args:
        dataset: sequence of `Example` with `.classes`.
        path: the record file, as in ``records/train.tfrecord``.
        shards: into how many files the data set is cut, in order; with more than one they are
            ``records/train-00000-of-00004.tfrecord`` and so on.

    Returns:
        The files.

    Raises:
        FileExistsError: such files are there, or a label map of other classes.
        ValueError: more shards than images, or fewer than one.
    """
    import tensorflow as tf

    path = Path(path)
    if not 1 <= shards <= len(dataset):
        raise ValueError(
            f"write_records: shards must be from 1 to the number of images ({len(dataset)}), got "
            f"{shards}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    there = [path] if path.exists() else sorted(path.parent.glob(f"{path.stem}-*-of-*"))
    if there:
        raise FileExistsError(f"write_records: {there[0]} exists; remove it or write elsewhere.")
    label_map, text = path.parent / LABEL_MAP, label_map_text(dataset.classes)
    if label_map.exists() and read_text(label_map) != text:
        raise FileExistsError(
            f"write_records: {label_map} is of other classes than {', '.join(dataset.classes)}; "
            "write into another folder."
        )
    label_map.write_text(text, encoding="utf-8")
    files = [path]
    if shards > 1:
        names = [f"{path.stem}-{k:05d}-of-{shards:05d}{path.suffix}" for k in range(shards)]
        files = [path.with_name(name) for name in names]
    # They get their names once all are whole: a writer that was stopped leaves no data set.
    partial = [file.with_name(f".{file.name}.partial") for file in files]
    for k, file in enumerate(partial):
        first, last = (len(dataset) * j // shards for j in (k, k + 1))
        with tf.io.TFRecordWriter(str(file)) as writer:
            for index in range(first, last):
                writer.write(_serialized(dataset[index], dataset.classes))
    for written, file in zip(partial, files, strict=True):
        write_index(written, file)
        os.replace(written, file)
    return files


def _serialized(example, classes) -> bytes:
    from tensorflow import train

    encoded = example.encoded
    if encoded is None:
        file = io.BytesIO()
        Image.fromarray(example.image).save(file, "PNG")
        encoded = file.getvalue()
    with Image.open(io.BytesIO(encoded)) as image:
        kind = image.format.lower()
    height, width = example.size
    low = example.boxes_cxcywh[:, :2] - example.boxes_cxcywh[:, 2:] / 2
    corners = np.concatenate([low, low + example.boxes_cxcywh[:, 2:]], axis=1)
    suffix = example.path.suffix if example.path else f".{kind}"
    suffix = suffix if example.path or suffix in images.SUFFIXES else ".png"
    texts = {
        "encoded": [encoded],
        "format": [kind.encode()],
        # Names of files that are no UTF-8 come as lone surrogates, which no record may hold.
        "filename": [f"{example.image_id}{suffix}".encode(errors="backslashreplace")],
        "source_id": [example.image_id.encode(errors="backslashreplace")],
        "object/class/text": [classes[k].encode() for k in example.labels],
    }
    numbers = {
        "height": [height],
        "width": [width],
        "object/class/label": [int(k) + 1 for k in example.labels],
        "object/difficult": [int(flag) for flag in example.difficult],
    }
    fractions = {f"object/bbox/{n}": c.tolist() for n, c in zip(CORNERS, corners.T, strict=True)}
    feature = {
        **{k: train.Feature(bytes_list=train.BytesList(value=v)) for k, v in texts.items()},
        **{k: train.Feature(int64_list=train.Int64List(value=v)) for k, v in numbers.items()},
        **{k: train.Feature(float_list=train.FloatList(value=v)) for k, v in fractions.items()},
    }
    features = train.Features(feature={f"image/{name}": value for name, value in feature.items()})
    return train.Example(features=features).SerializeToString()


def write(splits, folder, options):
    """Writes a file a split; see `yolov1.data.write`. They hold the images, nothing is linked."""
    for split, dataset in splits.items():
        write_records(dataset, folder / f"{split or 'train'}.tfrecord")
    return []
