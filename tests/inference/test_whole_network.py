"""The paper's network, 1.1 GB of random weights, in each format: raw outputs and memory."""

import json
import subprocess
import sys

import pytest

from tests.shared import ROOT
from yolov1.inference import formats

# In a process of its own: its memory is given back, and its peak is this one's.
PROGRAM = """
import json, pathlib, resource, sys, time
import keras
import numpy as np
from yolov1 import inference, models
from yolov1.grid import GridSpec
from yolov1.inference import formats

name, path = sys.argv[1:]
keras.utils.set_random_seed(0)
grid = GridSpec(S=7, B=2, C=20, image_size=448)
model = models.build("paper", grid=grid)
detector = inference.Detector(model)
images = np.random.default_rng(0).random((2, 448, 448, 3), np.float32)
images[1] = images[1, ::8, ::8].repeat(8, 0).repeat(8, 1)
want = np.concatenate([model(images[k:k+1], training=False) for k in range(2)])
start = time.perf_counter()
inference.export(detector, path, format=name)
wrote = time.perf_counter() - start
exported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
run = formats.open_file(pathlib.Path(path)).run
seen = np.concatenate([run(images[k:k+1])["predictions"] for k in range(2)])
print(json.dumps({
    "deviation": float(np.abs(seen - want).max() / np.abs(want).max()),
    "largest": float(np.abs(want).max()),
    "between_images": float(np.abs(want[0] - want[1]).max() / np.abs(want).max()),
    "write_seconds": wrote,
    "peak_export": exported,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", formats.FORMATS)
def test_the_papers_whole_network(name, tmp_path):
    try:
        formats.require(name)
    except formats.MissingExtra as missing:
        pytest.skip(str(missing))
    path = tmp_path / formats.FORMATS[name].name_of("paper")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    print(name, measured)
    assert measured["between_images"] > 0.01, "the network gives the same for any image"
    assert measured["deviation"] < 1e-4
    assert measured["peak"] < 12e9
