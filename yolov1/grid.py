"""The geometry of a YOLOv1 grid: the one home of every shape and channel number.

The letters, used by docstrings and kernel arguments everywhere in the project:

====  =====================================================================
N     images in a batch
S     grid side; a grid has ``L = S * S`` cells, cell ``i = row * S + col``
B     boxes that a cell predicts
C     classes
D     channels of a prediction cell, ``C + 5 * B``
M     ground-truth boxes of an image (padded to the longest in a batch)
====  =====================================================================
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GridSpec:
    """Grid, boxes, classes and input size of one detector (paper, section 2).

    A prediction cell holds, in this order, ``C`` class values, ``B`` confidences and ``B`` boxes
    of (x, y, w, h); a target cell holds ``C`` class values, the object flag and one box.

    Attributes:
        S: cells along each side of the grid, at least 1.
        B: boxes predicted by a cell, at least 1.
        C: classes, at least 1.
        image_size: side of the square network input in pixels; need not be a multiple of S.

    Raises:
        ValueError: a field is not a positive integer.
    """

    S: int = 7
    B: int = 2
    C: int = 20
    image_size: int = 448

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"GridSpec: {field.name} must be an integer of at least 1, got {value!r}."
                )

    @property
    def cells(self) -> int:
        """L, the number of cells."""
        return self.S * self.S

    @property
    def channels(self) -> int:
        """D, the channels of a prediction cell."""
        return self.C + 5 * self.B

    @property
    def target_channels(self) -> int:
        """Channels of a target cell."""
        return self.C + 5

    @property
    def predicted_boxes(self) -> int:
        """Boxes predicted for an image."""
        return self.cells * self.B

    @property
    def prediction_shape(self) -> tuple[int, int, int]:
        """Shape of one image's predictions in the ``cells`` layout."""
        return (self.S, self.S, self.channels)

    @property
    def target_shape(self) -> tuple[int, int, int]:
        """Shape of one image's targets."""
        return (self.S, self.S, self.target_channels)

    @property
    def flat_size(self) -> int:
        """Length of one image's predictions in the ``planes`` layout."""
        return self.cells * self.channels

    # Channel blocks of a prediction cell.

    @property
    def class_channels(self) -> slice:
        return slice(0, self.C)

    @property
    def confidence_channels(self) -> slice:
        return slice(self.C, self.C + self.B)

    @property
    def box_channels(self) -> slice:
        """The ``4 * B`` box channels; box j is at ``4 * j`` inside the block."""
        return slice(self.C + self.B, self.channels)

    # Channel blocks of a target cell.

    @property
    def target_object_channel(self) -> int:
        return self.C

    @property
    def target_box_channels(self) -> slice:
        return slice(self.C + 1, self.C + 5)
