"""What was found in pictures as a data set, for everything that takes one."""

from pathlib import Path

import numpy as np

from yolov1.data import Dataset, Example, images
from yolov1.data.formats.paths import unique_ids


def as_dataset(paths, detections, classes, name="detections") -> Dataset:
    """Detections with their pictures, for `yolov1.data.write`.

    Boxes are clipped to the picture; what then has no area is left out, with a note.

    Args:
        paths: files of pictures.
        detections: `Detections` of each, in fractions of the picture upright, as `detect` gives
            them for `data.read_image(path, upright=True)`.
        classes: names by label.

    Returns:
        `Dataset` whose examples have `scores`. Their boxes are those of the stored pixels, as
        everywhere in a data set.
    """
    paths = [Path(path).absolute() for path in paths]
    dataset = Dataset([], classes, name=name)
    for path, image_id, found in zip(paths, unique_ids(paths), detections, strict=True):
        header = images.read_header(path)
        corners = found.clipped().boxes_xyxy.astype(np.float64)
        kept = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        for k in np.flatnonzero(~kept):
            where = ", ".join(f"{v:g}" for v in found.boxes_xyxy[k])
            what = f"box {k + 1} ({classes[found.labels[k]]}) [{where}]"
            reason = f"{what} has no area inside the image; the box is left out"
            dataset.notes.append((str(path), reason))
        low, high = np.split(images.turn_boxes_back(corners[kept], header.orientation), 2, axis=1)
        example = Example(
            image_id=image_id,
            boxes_cxcywh=np.concatenate([(low + high) / 2, high - low], axis=1),
            labels=found.labels[kept],
            difficult=np.zeros(kept.sum(), bool),
            size=header.size,
            path=path,
            jpeg=header.jpeg,
            orientation=header.orientation,
            scores=found.scores[kept],
        )
        dataset.examples.append(example)
    return dataset
