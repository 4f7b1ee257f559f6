"""Files on disk -> `Example` -> targets -> `tf.data` batches.

`open` gives a data set, `write` puts it into another format, `encode_targets` gives the target
tensor of one image, `training_batches` and `evaluation_batches` what a network eats. TensorFlow is
loaded by the last two only (and by `open`, to check a JPEG).
"""

from yolov1.data.annotations import read_annotation, to_table
from yolov1.data.augmentation import Augmentation
from yolov1.data.example import BadExampleError, Dataset, Example
from yolov1.data.formats.records import index_records
from yolov1.data.formats.writing import write
from yolov1.data.formats.writing.fiftyone import write_fiftyone
from yolov1.data.formats.writing.records import write_records
from yolov1.data.formats.writing.yolo import write_yolo
from yolov1.data.images import decode as read_image
from yolov1.data.sources import open_dataset as open  # noqa: A004 (data.open is the public name)
from yolov1.data.splits import splits
from yolov1.data.statistics import statistics
from yolov1.data.targets import (
    assign_cells,
    encode_example,
    encode_targets,
    from_layout,
    to_layout,
)

__all__ = [
    "Augmentation",
    "BadExampleError",
    "Dataset",
    "Example",
    "assign_cells",
    "encode_example",
    "encode_targets",
    "evaluation_batches",
    "from_layout",
    "index_records",
    "open",
    "read_annotation",
    "read_image",
    "reading",
    "splits",
    "statistics",
    "to_layout",
    "to_table",
    "training_batches",
    "write",
    "write_fiftyone",
    "write_records",
    "write_yolo",
]


def __getattr__(name):
    if name in ("training_batches", "evaluation_batches"):
        from yolov1.data import pipeline

        return getattr(pipeline, name)
    if name == "reading":
        from yolov1.data import table

        return table.reading
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
