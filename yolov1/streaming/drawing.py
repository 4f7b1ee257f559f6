"""Pictures of results: drawn, and in files."""

from pathlib import Path

from PIL import Image

from yolov1 import inference
from yolov1.files import safe_name


def draw(result, classes, min_side=0):
    """The frame of a `Result` with its boxes, uint8 ``[H, W, 3]``; see `inference.draw`."""
    return inference.draw(result.frame.image, result.detections, classes, min_side=min_side)


def picture_name(index, name) -> str:
    """Numbered, because two folders may hold files of one name."""
    return f"pictures/{index:04d}-{safe_name(Path(name).stem)}.jpg"


def save(picture, path):
    """Writes a picture as a JPEG, into a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=90)
