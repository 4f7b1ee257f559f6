"""One program per question: ``python -m experiments.NAME --help``."""

import os
import sys

from .lib import console

# While Python looks for the program of ``python -m experiments.NAME``, this is its name. No later
# place would do: the program's imports bring TensorFlow, and its lines with it.
if sys.argv[:1] == ["-m"]:
    console.hold()
    # On processors without AVX-512 VNNI TensorFlow leaves oneDNN's convolutions out, with which a
    # step takes 0.64 of the time there (docs/runs.md). TF_ENABLE_ONEDNN_OPTS=0 wins.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
