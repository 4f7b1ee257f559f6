"""What a run learns from, by content: data that was moved is known again, other data is refused."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

DIGITS = 16  # of a SHA-256 in hexadecimal: 64 bits tell a file that was changed by accident


def fingerprint(dataset, drawn: str = "") -> dict:
    """The classes of a data set, and a line of its digests and its id for each image, in order.

    No path is in it, so that it is the same on another machine. Of an image that is a file every
    byte counts.

    Args:
        dataset: sequence of `Example` with `.classes`.
        drawn: what images without a file are a function of, besides their id; empty: their pixels
            are digested.

    Returns:
        ``{"classes": [...], "images": ["<boxes> <pixels> <image_id>", ...]}``.
    """

    def line(example):
        boxes = digest(
            np.array(example.size, "<i8"),
            example.boxes_cxcywh.astype("<f4"),
            example.labels.astype("<i4"),
            example.difficult,
        )
        if example.path:
            pixels = digest(example.path.read_bytes())
        else:
            pixels = digest(drawn.encode() or example.image)
        return f"{boxes} {pixels} {example.image_id}"

    with ThreadPoolExecutor(max_workers=4) as pool:  # reading and hashing release the lock
        return {"classes": list(dataset.classes), "images": list(pool.map(line, dataset))}


def digest(*parts) -> str:
    """Of bytes and arrays, one after another: `DIGITS` hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes) else np.ascontiguousarray(part))
    return total.hexdigest()[:DIGITS]


def difference(before: dict, now: dict) -> str:
    """How the data of two fingerprints differs, in a clause; empty where it does not."""
    if before["classes"] != now["classes"]:
        return f"the classes were {', '.join(before['classes'])}, are {', '.join(now['classes'])}"
    old, new = ([line.split(" ", 2) for line in found["images"]] for found in (before, now))
    if len(old) != len(new):
        return f"there were {len(old)} images, there are {len(new)}"
    ids = [[line[2] for line in lines] for lines in (old, new)]
    if ids[0] != ids[1]:
        if sorted(ids[0]) == sorted(ids[1]):
            return "the images are the same ones in another order"
        k = next(k for k, pair in enumerate(zip(*ids, strict=True)) if pair[0] != pair[1])
        return f"image {k + 1} was {ids[0][k]!r}, is {ids[1][k]!r}"
    for part, what in enumerate(("boxes or another size", "pixels")):
        other = [a[2] for a, b in zip(old, new, strict=True) if a[part] != b[part]]
        if other:
            more = f", and {len(other) - 1} more have" if len(other) > 1 else ""
            return f"image {other[0]!r} has other {what}{more}"
    return ""
