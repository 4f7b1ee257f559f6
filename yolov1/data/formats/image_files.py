"""Images of a data set as files of another: names for them, and their bytes unchanged.

They become hard links where the file system has them, else copies. Drawn images become PNG. A file
takes its place only once it is whole, and the file that makes the folder a data set
(``labels.json``, ``classes.txt``) comes last.
"""

import os
import shutil
from pathlib import Path

from PIL import Image

from yolov1.data.images import SUFFIXES


def file_names(dataset, op):
    """File names of the images, different also without their suffixes."""
    names = []
    for example in dataset:
        suffix = ".png" if example.path is None else example.path.suffix
        if suffix.lower() not in SUFFIXES:  # the content decides; the suffix makes it findable
            suffix = ".jpg" if example.jpeg else ".png"
        names.append(example.image_id.replace("/", "_").replace("\\", "_") + suffix)
    stems = [Path(name).stem for name in names]
    if len(set(stems)) != len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ValueError(f"{op}: two images have the id {twice!r}; ids become file names.")
    return names


def place_image(example, target, link):
    target.parent.mkdir(parents=True, exist_ok=True)
    if example.path is not None and target.exists() and target.samefile(example.path):
        return
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    if example.path is None:
        Image.fromarray(example.draw()).save(partial, format="PNG")
    elif not (link and _linked(example.path, partial)):
        shutil.copyfile(example.path, partial)
    os.replace(partial, target)


def _linked(source, target):
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system, or one without links
        return False
    return True
