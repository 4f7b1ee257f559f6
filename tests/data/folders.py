"""Small data sets on disk, written for one test."""

import numpy as np
from PIL import Image

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_image(path, size=(40, 60), seed=0, **options):
    """A smooth picture of (height, width); smooth, so that decoders agree on its JPEG."""
    height, width = size
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 4, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(small).resize((width, height), Image.BICUBIC)
    image.save(path, quality=95, **options) if path.suffix == ".jpg" else image.save(
        path, **options
    )


def voc_xml(objects=(), size=(40, 60), filename=None):
    """The text of an annotation. objects: (name, (xmin, ymin, xmax, ymax), difficult)."""
    parts = [f"<filename>{filename}</filename>"] if filename else []
    if size is not None:
        parts.append(f"<size><width>{size[1]}</width><height>{size[0]}</height></size>")
    for name, box, difficult in objects:
        corners = "".join(f"<{t}>{v}</{t}>" for t, v in zip(CORNERS, box, strict=True))
        parts.append(
            f"<object><name>{name}</name><difficult>{int(difficult)}</difficult>"
            f"<bndbox>{corners}</bndbox></object>"
        )
    return f"<annotation>{''.join(parts)}</annotation>"


def write_voc(root, annotations, classes=("cat", "dog"), size=(40, 60), split="train"):
    """annotations: {image id: objects, or the XML itself}. Returns root."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for k, (image_id, objects) in enumerate(annotations.items()):
        xml = objects if isinstance(objects, str) else voc_xml(objects, size)
        (root / "Annotations" / f"{image_id}.xml").write_text(xml)
        write_image(root / "JPEGImages" / f"{image_id}.jpg", size, seed=k)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(annotations))
    if classes:
        (root / "classes.txt").write_text("\n".join(classes))
    return root


def corners(example):
    """The boxes of an example in pixels, float64 ``[M, 4]``."""
    boxes = example.boxes_cxcywh.astype(float)
    height, width = example.size
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.concatenate([low, high], axis=1) * (width, height, width, height)
