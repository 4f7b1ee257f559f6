"""The grids and semantics that the loss is tested with; needs no TensorFlow."""

import dataclasses

from yolov1.grid import GridSpec
from yolov1.semantics import CHOICES, PRESETS

GRIDS = {
    "paper": GridSpec(),
    "smallest": GridSpec(S=1, B=1, C=1, image_size=8),
    "odd": GridSpec(S=3, B=1, C=1, image_size=100),
    "many boxes": GridSpec(S=5, B=4, C=7, image_size=320),
    "vector tail": GridSpec(S=2, B=3, C=19, image_size=64),
}
# Each value of each choice, one at a time, beside the presets.
VARIANTS = {
    f"{field}={value}": dataclasses.replace(PRESETS["paper"], **{field: value})
    for field, values in CHOICES.items()
    for value in values
} | PRESETS
