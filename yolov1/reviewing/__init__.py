"""Faults among labels: found with a detector, shown, decided on and repaired. NumPy.

`suspects` says which labels a detector contradicts, `page` and `proposals` show them to people and
to tools, `decisions` and `corrections` take back what was decided there; `planting` measures how
many faults are found. See docs/review.md.
"""

from yolov1.reviewing.planting import FAULTS, measure, plant
from yolov1.reviewing.proposals import proposed
from yolov1.reviewing.suspects import FLOOR, KINDS, Suspect, suspects

__all__ = ["FAULTS", "FLOOR", "KINDS", "Suspect", "measure", "plant", "proposed", "suspects"]
