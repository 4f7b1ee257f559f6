"""One program per question: ``python -m experiments.NAME --help``."""

import os

# Before TensorFlow is imported, which would begin with lines about its own CPU features.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
