"""Programs that measure: ``python -m benchmarks.NAME --help``."""

import os
import sys

if sys.argv[:1] == ["-m"]:  # as of the experiments, see experiments/__init__.py
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
