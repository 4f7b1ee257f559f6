"""What the loss sees in single images, cell by cell: over a training, and of a network as it is.

`Record` is the file in which a run keeps what it saw of the images it watches, `churn` and `fits`
what that says. `explain` takes one image apart, and `pictures` draws it. docs/microscope.md says
what each number means.
"""

from yolov1.microscope.explain import Explanation, explain
from yolov1.microscope.measures import churn, churn_of_all, fits, image_terms, lost_objects
from yolov1.microscope.record import Record, RecordError, describe, look, read_record
from yolov1.microscope.suppression import trace_suppression

__all__ = [
    "Explanation",
    "Record",
    "RecordError",
    "churn",
    "churn_of_all",
    "describe",
    "explain",
    "fits",
    "image_terms",
    "look",
    "lost_objects",
    "read_record",
    "trace_suppression",
]
