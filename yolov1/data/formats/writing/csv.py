"""A table of boxes: ``annotations.csv``, or ``annotations_<split>.csv`` for each split.

A row a box: ``image,label,xmin,ymin,xmax,ymax,score,difficult,width,height``, in pixels of the
picture upright; an image without boxes has a row with an empty label. Images are called by their
whole path.
"""

import csv

from yolov1.data.formats.writing import labelled
from yolov1.files import replacing

HEADER = "image,label,xmin,ymin,xmax,ymax,score,difficult,width,height".split(",")


def write(splits, folder, options):
    """Writes the splits; see `yolov1.data.write`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = labelled.files_of(splits, folder, options, "data.write")
    for split, dataset, stem in labelled.named(splits, "annotations"):
        # A file may have a name that is no UTF-8: its bytes are written as they are.
        with replacing(folder / f"{stem}.csv", errors="surrogateescape") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(HEADER)
            for file, example in zip(files[split], dataset, strict=True):
                table.writerows(_rows(file, example, dataset.classes))
    return labelled.turned(splits, "boxes are those of the picture upright")


def _rows(file, example, classes):
    boxes, size = labelled.as_seen(example)
    height, width = size
    boxes = labelled.in_pixels(boxes, size)
    for box, label, hard, score in labelled.rows(boxes, example):
        score = "" if score is None else score
        yield [file, classes[label], *box, score, int(hard), width, height]
    if not boxes:
        yield [file, *[""] * 7, width, height]
