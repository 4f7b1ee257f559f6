"""A file of a detector that has been opened, and what several formats do alike."""

import dataclasses
import functools
import zipfile
from collections.abc import Callable

import numpy as np

from yolov1 import extras
from yolov1.inference.metadata import FILE, Metadata, missing

needed = functools.partial(extras.needed, what="this format")


@dataclasses.dataclass(frozen=True)
class Session:
    """Attributes:
    metadata: the file's `Metadata`.
    run: float32 ``[n, image_size, image_size, 3]`` in [0, 1], any n, to the file's outputs by
        name, NumPy arrays; see `yolov1.inference.graph.look_at`.
    model: the Keras model, where the file holds one.
    """

    metadata: Metadata
    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    model: object = None


def as_input(images, metadata):
    """Images in [0, 1] as the file takes them.

    Raises:
        ValueError: another shape than ``[n, image_size, image_size, 3]``.
    """
    images = np.asarray(images, np.float32)
    side = metadata.grid.image_size
    if images.shape[1:] != (side, side, 3):
        raise ValueError(
            f"this file looks at images [n, {side}, {side}, 3], got {list(images.shape)}; detect "
            "takes them of any size."
        )
    if metadata.input_dtype == "uint8":
        return np.rint(images * 255).clip(0, 255).astype(np.uint8)
    return images


def put_into_zip(path, text: str):
    """Adds the metadata to a zip archive, or as one behind the content of another file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, text)


def metadata_from_zip(path) -> Metadata:
    """What `put_into_zip` wrote.

    Raises:
        WrongFile: there is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(FILE)
    except (zipfile.BadZipFile, KeyError) as error:
        raise missing(path) from error
    return Metadata.from_json(text, path)
