"""``detect --on=ray``: what it refuses; and, slowly, what it survives (extra ``ray``)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.lib import batches
from tests.shared import ROOT

MANY = 100_000
DRAWN = 500  # different ones among them
ALONE_PICTURES = 10_000


def test_what_it_is_not_for_is_refused(known_run, tmp_path, call_experiment):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    given = (f"--checkpoint={known_run}", f"--output_dir={tmp_path / 'out'}", "--on=ray")
    done = call_experiment("detect", *given, "--images=camera:0")
    assert done.returncode != 0 and "--on=ray looks at pictures, got a stream" in done.stderr
    done = call_experiment("detect", *given, f"--images={tmp_path}", "--save=coco")
    assert done.returncode != 0 and "--save is not of --on=ray" in done.stderr


def test_a_link_that_leads_nowhere_is_a_picture_like_others(tmp_path):
    """Its part says that it cannot be read; and what it becomes is another state."""
    (tmp_path / "a.png").symlink_to(tmp_path / "gone")
    before = batches._state_of([tmp_path / "a.png"])
    assert batches._state_of([tmp_path / "a.png"]) == before
    (tmp_path / "gone").write_text("there")
    assert batches._state_of([tmp_path / "a.png"]) != before


# ------------------------------------------------------------------ slow: with Ray


# What an actor does with parts, in a process without Ray; the first one warms up.
ALONE = """
import json, os, sys, time
from experiments.lib import batches
checkpoint, output, *paths = sys.argv[1:]
worker = batches.Worker([f"--checkpoint={checkpoint}", "--images=."], os.getcwd())
half = len(paths) // 2
for part in (paths[:half], paths[half:]):
    start = time.perf_counter()
    worker({"file": output, "paths": json.dumps(part)})
print(len(part) / (time.perf_counter() - start))
"""
ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def start(checkpoint, images, output, *flags):
    pytest.importorskip("ray", reason="of the extra ray")
    given = [f"--checkpoint={checkpoint}", f"--output_dir={output}", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.detect", f"--images={images}", *given],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process) -> str:
    output = process.communicate(timeout=1800)[0]
    assert process.returncode == 0, output
    return output


def lines(output) -> list[dict]:
    return [json.loads(line) for line in (output / "detections.jsonl").open(encoding="utf-8")]


def memory(pid: int) -> int:
    """Resident bytes; 0 of a process that has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def actors() -> list[int]:
    """The processes of Ray Data that hold a detector."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::") and b"MapWorker" in words:
            found.append(int(entry))
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Small pictures, of which some are alike, and two that are none."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    files = []
    for k in range(DRAWN):
        size = (*rng.integers(24, 64, 2), 3)
        files.append(folder / f"{k:06d}.jpg")
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(files[-1])
    for k in range(DRAWN, MANY - 2):
        os.link(files[k % DRAWN], folder / f"{k:06d}.jpg")
    (folder / "cut.jpg").write_bytes(files[0].read_bytes()[:300])
    (folder / "text.jpg").write_text("no picture")
    return folder


def parts_of(output) -> list[Path]:
    return sorted((output / "parts").glob("part-*.jsonl"))


@pytest.mark.slow
def test_many_pictures_with_an_actor_and_the_driver_killed(known_run, many, tmp_path, capsys):
    several = tmp_path / "several"
    some = [str(many / f"{k:06d}.jpg") for k in range(ALONE_PICTURES)]
    command = [sys.executable, "-c", ALONE, known_run, tmp_path / "part.jsonl", *some]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    alone = float(done.stdout)

    flags = ("--on=ray", "--workers=2")
    process = start(known_run, many, several, *flags)
    while len(parts_of(several)) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.kill()  # the driver, and with it all that Ray had started
    process.communicate()
    while actors():
        time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in parts_of(several)}
    assert 3 <= len(done) < MANY / 500

    process = start(known_run, many, several, *flags)
    sizes, killed = [], None
    while process.poll() is None:
        time.sleep(1)
        working = actors()
        count = len(parts_of(several))
        if killed is None and working and count > len(done) + 10:
            killed = working[0]
            os.kill(killed, signal.SIGKILL)
        if count > 40:  # all have begun
            sizes.append(memory(process.pid) + sum(map(memory, working)))
    said = end(process)
    assert killed and f"{len(done)} of them done" in said
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())

    found = lines(several)
    names = [Path(row["file"]).name for row in found]
    assert len(names) == len(set(names)) == MANY
    assert {row["file"] for row in found if "unreadable" in row} == {
        str(many / "cut.jpg"),
        str(many / "text.jpg"),
    }
    seen = {row["file"]: row["detections"] for row in found if "unreadable" not in row}
    assert len(seen) == MANY - 2 and all(len(boxes) == 4 for boxes in seen.values())
    # Flat: what is seen between is not kept.
    half = len(sizes) // 2
    early, late = max(sizes[:half]), max(sizes[half:])
    rate = json.loads((several / "summary.json").read_text())["images_per_second"]
    with capsys.disabled():
        print(f"\nimages/s: one process {alone:.0f}, two actors (one killed) {rate:.0f}; ")
        print(f"memory of driver and actors: {early / 1e6:.0f} MB, then {late / 1e6:.0f} MB")
    assert late < 1.1 * early
    # Other pictures, or another detector, do not go on from it.
    for change in (("--score_threshold=0.5",), ("--debug",)):
        refused = start(known_run, many, several, *flags, *change)
        assert "holds parts of another" in refused.communicate()[0] and refused.returncode
