"""What `benchmarks/detectors_peer.py` does with an interpreter of its own, without a network.

It finds what the label files beside the images say, every second object of an image left out, and
takes CPU time in a process of its own for each epoch.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

assert sys.argv[1] == "-I" and Path(sys.argv[2]).name == "detectors_peer.py"
do, *rest = sys.argv[3:]
# A little more than the 0.15 that tests ask for: the start of a process takes more or less.
BURN = "import time\nwhile time.process_time() < 0.17: pass"


def train(job):
    folder = Path(job["folder"])
    options = job["options"]
    assert Path(options["data"]).is_file() and options["pretrained"] is False
    for _ in range(options["epochs"]):
        subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        (folder / "weights" / "last.pt").write_text("weights")
        if os.environ.get("FAKE_PEER_FAILS"):
            sys.exit("the fake one fails")
    (folder / "summary.json").write_text(json.dumps({"job": job}))


def find(path):
    label = Path(path.replace("/images/", "/labels/")).with_suffix(".txt")
    side, found = SIDE, []
    for line in label.read_text().splitlines()[::2]:
        k, cx, cy, w, h = map(float, line.split())
        box = [(cx - w / 2) * side, (cy - h / 2) * side, (cx + w / 2) * side, (cy + h / 2) * side]
        found.append([*box, 0.9, k])
    return found


def answer(do, images=(), image=None, threshold=None):
    if do == "describe":
        counts = {"parameters": 3000000, "multiply_adds": 123000000}
        return counts | {"input": [SIDE, SIDE], "program": "fake 1.0"}
    if do == "detect":
        return {"found": [find(path) for path in images]}
    time.sleep(0.001)
    return {"seconds": [0.002] * len(images), "said": [0.001] * len(images)}


if do == "train":
    train(json.loads(Path(rest[0]).read_text()))
else:
    weights, side, threads, settings = rest
    assert Path(weights).read_text() == "weights" and int(threads) >= 1 and Path(settings).is_dir()
    SIDE = int(side)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
