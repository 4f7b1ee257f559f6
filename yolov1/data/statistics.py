"""Numbers that describe a data set before anything is trained on it."""

import numpy as np

from yolov1.data.targets import encode_targets
from yolov1.grid import GridSpec

SIDES = (7, 9, 11, 14)
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


def statistics(dataset, sides=SIDES, image_size=448) -> dict:
    """Counts, sizes, class balance, and objects lost to cell collisions.

    Args:
        dataset: sequence of `Example` with `.classes`.
        sides: grid sides S to try.
        image_size: side of the network's input, for box sizes in its pixels.

    Returns:
        A dict for JSON: ``name``, ``images``, ``images_without_boxes``, ``boxes``, ``difficult``,
        ``classes`` {name: {boxes, images, difficult, share}}, ``boxes_per_image``, ``image_width``,
        ``image_height``, ``box_width_px``, ``box_height_px`` and ``box_area_share`` as quantiles
        {min, p10, median, p90, max, mean}, ``collisions`` {S: {lost, share}} over the boxes
        that are not difficult (those that training uses), ``skipped`` and ``notes`` as
        [file, reason].
    """
    examples = list(dataset)
    boxes = np.concatenate([e.boxes_cxcywh for e in examples] or [np.zeros((0, 4))])
    labels = np.concatenate([e.labels for e in examples] or [np.zeros(0, int)])
    difficult = np.concatenate([e.difficult for e in examples] or [np.zeros(0, bool)])
    return {
        "name": getattr(dataset, "name", ""),
        "images": len(examples),
        "images_without_boxes": sum(not len(e.labels) for e in examples),
        "boxes": len(labels),
        "difficult": int(difficult.sum()),
        "classes": {
            name: {
                "boxes": int((labels == k).sum()),
                "images": sum(bool((e.labels == k).any()) for e in examples),
                "difficult": int(difficult[labels == k].sum()),
                "share": float((labels == k).mean()) if len(labels) else 0.0,
            }
            for k, name in enumerate(dataset.classes)
        },
        "boxes_per_image": _spread([len(e.labels) for e in examples]),
        "image_width": _spread([e.size[1] for e in examples]),
        "image_height": _spread([e.size[0] for e in examples]),
        "box_width_px": _spread(boxes[:, 2] * image_size),
        "box_height_px": _spread(boxes[:, 3] * image_size),
        "box_area_share": _spread(boxes[:, 2] * boxes[:, 3]),
        "collisions": {str(side): _collisions(examples, dataset.classes, side) for side in sides},
        "skipped": [list(entry) for entry in getattr(dataset, "skipped", ())],
        "notes": [list(entry) for entry in getattr(dataset, "notes", ())],
    }


def _spread(values):
    if not len(values):
        return None
    names = ("min", "p10", "median", "p90", "max")
    points = np.quantile(np.asarray(values, np.float64), QUANTILES)
    return {**dict(zip(names, map(float, points), strict=True)), "mean": float(np.mean(values))}


def _collisions(examples, classes, side):
    grid = GridSpec(S=side, C=len(classes))
    lost = total = 0
    for e in examples:
        usual = ~e.difficult
        lost += encode_targets(e.boxes_cxcywh[usual], e.labels[usual], grid)[1]
        total += int(usual.sum())
    return {"lost": lost, "share": lost / total if total else 0.0}
