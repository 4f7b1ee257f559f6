"""Images of a data set as files of another: names for them, and their bytes unchanged.

They become hard links where the file system has them, else copies. A JPEG inside of another file is
written as it is; other images there, and drawn ones, become PNG. A file takes its place only once
it is whole, and the file that makes the folder a data set (``labels.json``, ``classes.txt``) comes
last.
"""

import os
import shutil
from collections import Counter

from PIL import Image

from yolov1.data.images import SUFFIXES
from yolov1.files import safe_name, safe_names

STEM_BYTES = 235  # with a suffix and ".partial" behind it a name has at most 255


def file_names(dataset, op):
    """File names of the images, different also without their suffixes and without regard to case.

    A ``/`` in an id becomes ``_``; what is longer than a name may be, or would be another's, ends
    in a hash of the id.

    Raises:
        ValueError: two images have one id.
    """
    ids = distinct_ids(dataset, op)
    plain = [safe_name(one.replace("/", "_").replace("\\", "_"), STEM_BYTES) for one in ids]
    counts = Counter(name.casefold() for name in plain)
    names = []
    for example, name, other in zip(dataset, plain, safe_names(ids, STEM_BYTES), strict=True):
        suffix = "" if example.path is None else example.path.suffix
        if suffix.lower() not in SUFFIXES:  # the content decides; the suffix makes it findable
            suffix = ".jpg" if example.jpeg else ".png"
        names.append((name if counts[name.casefold()] == 1 else other) + suffix)
    return names


def distinct_ids(dataset, op):
    """The ids of the images.

    Raises:
        ValueError: two images have one.
    """
    ids = [example.image_id for example in dataset]
    if len(set(ids)) != len(ids):
        twice = next(one for one, times in Counter(ids).items() if times > 1)
        raise ValueError(f"{op}: two images have the id {twice!r}; ids become file names.")
    return ids


def place_image(example, target, link):
    target.parent.mkdir(parents=True, exist_ok=True)
    if example.path is not None and target.exists() and target.samefile(example.path):
        return
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    if example.path is None and example.jpeg:
        partial.write_bytes(example.encoded)
    elif example.path is None:
        Image.fromarray(example.image).save(partial, format="PNG")
    elif not (link and _linked(example.path, partial)):
        shutil.copyfile(example.path, partial)
    os.replace(partial, target)


def _linked(source, target):
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system, or one without links
        return False
    return True
