"""Stands in for `experiments.train` where a test is about what a study does with its trials: takes
its flags, leaves its files, and takes a tenth of a second. No TensorFlow.

Its map_area after epoch e of E is ``1 - |log10(learning_rate) + 3| / 10 + seed / 1000``, times
e / E; a learning rate above 1 is an error, ``--clip_norm=7`` one that the file ``mended`` in the
current folder of the run's study repairs, and ``--warmup_epochs`` is the seconds of an epoch.
"""

import ast
import json
import math
import os
import sys
import time
from pathlib import Path

# ``python -c STUDY FLAGS``: experiments.study, whose trials are of this module.
STUDY = """
import runpy, sys
from experiments.lib import trials
trials.TRAIN = "tests.experiments.fake_train"
runpy.run_module("experiments.study", run_name="__main__", alter_sys=True)
"""


def value_of(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main():
    words = [word.removeprefix("--").partition("=") for word in sys.argv[1:]]
    config = {name: value_of(text) if sign else True for name, sign, text in words}
    run, epochs = Path(config["output_dir"]), config.get("epochs", 30)
    rate, seed = config.get("learning_rate", 2e-3), config["seed"]
    (run / "checkpoints" / "last").mkdir(parents=True, exist_ok=True)
    if rate > 1:
        sys.exit("error: The loss is not finite at step 3.")
    if config.get("clip_norm") == 7 and not (run.parents[1] / "mended").exists():
        sys.exit("error: the disk is full.")
    grid = {"S": 7, "B": 2, "C": 1, "image_size": 112}
    cores = sorted(os.sched_getaffinity(0))
    environment = {"git_revision": "abc", "cores": cores, "pid": os.getpid()}
    value = {"config": config, "grid": grid, "classes": ["a"], "environment": environment}
    (run / "config.json").write_text(json.dumps(value))
    metrics = run / "metrics.csv"
    rows = metrics.read_text().splitlines()[1:] if metrics.exists() else []
    print(f"begins after {len(rows)} epochs", flush=True)
    figure = 1 - abs(math.log10(rate) + 3) / 10 + seed / 1000
    for epoch in range(len(rows) + 1, epochs + 1):
        time.sleep(config.get("warmup_epochs", 0.0))
        rows.append(f"{epoch},{figure * epoch / epochs}")
        metrics.with_suffix(".partial").write_text("\n".join(["epoch,map_area", *rows]))
        metrics.with_suffix(".partial").rename(metrics)
        (run / "checkpoints" / "last" / "checkpoint").touch()
    summary = {"map_area": figure, "seconds": 1.5, "epochs": epochs, "ap_per_class": {"a": 0.5}}
    (run / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
