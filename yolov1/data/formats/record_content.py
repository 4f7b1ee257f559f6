"""What one record says: the features of a ``tf.train.Example``, as `records` names them."""

from typing import NamedTuple

import numpy as np

from yolov1.data.example import BadExampleError
from yolov1.data.formats.values import flag

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Content(NamedTuple):
    """One parsed record."""

    filename: str
    encoded: bytes
    boxes_xyxy: np.ndarray  # float64 [M, 4], fractions
    texts: list[str]  # M, empty where the record has numbers only
    labels: list[int | None]  # M, None where the record has texts only
    difficult: list[bool]
    whole: bool  # one class for the image


def parse_record(data) -> Content:
    """Reads the bytes of a ``tf.train.Example``.

    Raises:
        BadExampleError: something else, or features that are missing or do not go together.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        raise BadExampleError("not a tf.train.Example") from None

    def values(name, kind):
        there = features[name].WhichOneof("kind") if name in features else None
        found = list(getattr(features[name], there).value) if there else []
        if found and there != kind:
            raise BadExampleError(f"{name} must be a {kind}, got a {there}")
        return found

    def texts_of(name):
        try:
            return [value.decode("utf-8").strip() for value in values(name, "bytes_list")]
        except UnicodeDecodeError:
            raise BadExampleError(f"{name} is not UTF-8") from None

    def counted(name, found):
        if len(found) not in (0, count):
            raise BadExampleError(f"{name} must have {count} values, got {len(found)}")
        return found

    whole = not any(f"image/object/class/{kind}" in features for kind in ("text", "label"))
    if not whole:
        corners = [values(f"image/object/bbox/{corner}", "float_list") for corner in CORNERS]
        if len(set(map(len, corners))) != 1:
            counts = ", ".join(f"{len(c)} {name}" for c, name in zip(corners, CORNERS, strict=True))
            raise BadExampleError(f"image/object/bbox must have as many of each, got {counts}")
        boxes, prefix = np.array(corners, np.float64).T, "image/object/class"
        if (np.abs(boxes) > 2).any():
            raise BadExampleError(
                "image/object/bbox must be fractions of the image, not pixels; got up to "
                f"{np.abs(boxes).max():g}"
            )
    else:
        boxes, prefix = np.array([[0.0, 0.0, 1.0, 1.0]]), "image/class"
    count = len(boxes)
    texts = counted(f"{prefix}/text", texts_of(f"{prefix}/text"))
    labels = counted(f"{prefix}/label", values(f"{prefix}/label", "int64_list"))
    if count and not texts and not labels:
        raise BadExampleError(
            "no class: expected image/object/class/text or image/object/class/label with boxes, "
            "or image/class/text or image/class/label of the whole image (an image without objects "
            "has image/object/class/label and no value in it)"
        )
    flags = [
        [flag(value, name) for value in counted(name, values(name, "int64_list"))] or [0] * count
        for name in ("image/object/difficult", "image/object/is_crowd")
    ]
    return Content(
        filename="".join(texts_of("image/filename")[:1])
        or "".join(texts_of("image/source_id")[:1]),
        encoded=b"".join(values("image/encoded", "bytes_list")[:1]),
        boxes_xyxy=boxes,
        texts=texts or [""] * count,
        labels=labels or [None] * count,
        difficult=[any(pair) for pair in zip(*flags, strict=True)],
        whole=whole,
    )
