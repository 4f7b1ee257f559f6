"""Objects of a data set, cut out into a tree of folders."""

import numpy as np
from PIL import Image

from yolov1.files import make_folder, safe_names

FATES = KEPT, DIFFICULT, SMALL = "written", "difficult", "small"
ROUNDING = 1e-2  # px: boxes are float32 fractions, of whole pixels mostly


def crop_all(dataset, folder, margin=0.1, min_side=32, image_side=0) -> dict:
    """Writes the objects of a data set, see the flags.

    Returns:
        {class: {"written": how many, "difficult": left out, "small": left out}}.
    """
    counts = {name: dict.fromkeys((KEPT, DIFFICULT, SMALL), 0) for name in dataset.classes}
    folder_of = class_folders(dataset.classes)
    for name in folder_of.values():  # one without objects too: splits have the same classes then
        make_folder(folder / name)
    stems = safe_names([example.image_id for example in dataset])
    for example, stem in zip(dataset, stems, strict=True):
        image = example.image if len(example.labels) else None
        for k, box in enumerate(example.boxes_cxcywh):
            name = dataset.classes[example.labels[k]]
            what = fate(box[2:] * example.size[::-1], example.difficult[k], min_side)
            if what == KEPT:
                path = folder / folder_of[name] / f"{stem}-{k}.jpg"
                shrunk(crop(image, box, margin), image_side).save(path, quality=95)
            counts[name][what] += 1
    return counts


def fate(sides_px, difficult, min_side) -> str:
    """What becomes of an object of this width and height."""
    if difficult:
        return DIFFICULT
    return KEPT if min(sides_px) >= min_side - ROUNDING else SMALL


def crop(image, box_cxcywh, margin) -> Image.Image:
    """The part of an image uint8 ``[H, W, 3]`` that a box touches, in whole pixels.

    Args:
        margin: share of the box's width or height that is added on each side, inside the image.
    """
    height, width = image.shape[:2]
    centre, half = box_cxcywh[:2], box_cxcywh[2:] * (0.5 + margin)
    size = np.array([width, height])
    low = np.floor((centre - half) * size + ROUNDING).astype(int)
    high = np.ceil((centre + half) * size - ROUNDING).astype(int)
    (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, size)
    return Image.fromarray(image[y0:y1, x0:x1])


def shrunk(picture, side) -> Image.Image:
    """The picture with its longer side at most `side`; as it is for 0."""
    if side:
        picture.thumbnail((side, side), Image.LANCZOS)
    return picture


def class_folders(classes) -> dict:
    """Class -> its folder, which is the name that `folders:` will read: the class's own, where a
    folder can have it and no other class's differs by case alone."""
    return dict(zip(classes, safe_names(classes), strict=True))
