"""One program per question: ``python -m experiments.NAME --help``."""

import sys

from .lib import console

# While Python looks for the program of ``python -m experiments.NAME``, this is its name. No later
# place would do: the program's imports bring TensorFlow, and its lines with it.
if sys.argv[:1] == ["-m"]:
    console.hold()
