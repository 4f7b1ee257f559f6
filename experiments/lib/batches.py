"""``experiments.detect --on=ray``: many pictures, on many processes and machines (extra ``ray``).

The pictures are cut into parts of `PART` in their order. A part is one task of Ray Data, whose pool
of actors each hold a detector; what an actor finds is written as one file, whole or not at all. A
task that is lost with its actor is done again, and a part whose file is there is not.
"""

import importlib
import json
import os
import time
from pathlib import Path

from absl import app, flags

from yolov1 import streaming, training
from yolov1.extras import needed
from yolov1.files import make_folder, replacing, user_path
from yolov1.training.content import digest

from . import cluster, detectors, pictures
from .flags import UserError

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

PART = 500  # pictures: seconds of work, so that little is lost with an actor
PROGRESS = 10.0  # seconds from one line on the console to the next


def define():
    """Defines the flags of many pictures."""
    cluster.define()
    flags.DEFINE_integer("workers", 2, "Of --on=ray: detectors at once.", 1)


def detect(paths, output) -> int:
    """Looks at pictures and writes ``parts/part-N.jsonl``, ``detections.jsonl`` and
    ``summary.json``; gives the exit status.

    Raises:
        UserError: the folder holds parts of other pictures, or of another detector.
    """
    if flags.FLAGS["save"].present:
        raise app.UsageError("--save is not of --on=ray, which writes detections.jsonl.")
    folder = make_folder(output / "parts")
    parts = [paths[k : k + PART] for k in range(0, len(paths), PART)]
    _require_same(folder, {"pictures": _state_of(paths), "weights": _state_of(_weights())})
    jobs = [
        {"file": str(_file(folder, k)), "paths": json.dumps([os.path.abspath(p) for p in part])}
        for k, part in enumerate(parts)
        if not _file(folder, k).exists()
    ]
    done = len(parts) - len(jobs)
    print(f"{len(paths)} pictures in {len(parts)} parts, {done} of them done", flush=True)
    start = time.perf_counter()
    images = _run(jobs, start) if jobs else 0
    seconds = time.perf_counter() - start
    counts = _join([_file(folder, k) for k in range(len(parts))], output / "detections.jsonl")
    rate = {"seconds": seconds, "images_per_second": images / seconds}
    places = {"parts": len(parts), "parts_done_before": done, "workers": flags.FLAGS.workers}
    training.write_json(output / "summary.json", counts | rate | places)
    print(
        f"{counts['images']} pictures, {counts['detections']} boxes, {counts['unreadable']} "
        f"unreadable, {images / seconds:.1f} images/s; written to {output}"
    )
    return 0 if counts["images"] else 1


def _run(jobs, start) -> int:
    """Does what is not done yet; gives how many pictures that were."""
    config, images, said = flags.FLAGS, 0, time.monotonic()
    with cluster.connected(config.address, "--on=ray", config.workers):
        ray_data = needed("ray", "ray.data", what="--on=ray")
        ray_data.DataContext.get_current().enable_progress_bars = False
        found = ray_data.from_items(jobs, override_num_blocks=len(jobs)).map(
            Worker,
            fn_constructor_args=(_words(), os.getcwd()),
            compute=ray_data.ActorPoolStrategy(size=config.workers),
            num_cpus=1,
            num_gpus=config.gpus_per_worker or None,
        )
        for row in found.iter_rows():
            images += row["images"]
            if time.monotonic() > said + PROGRESS:
                said = time.monotonic()
                rate = images / (time.perf_counter() - start)
                print(f"{images} pictures, {rate:.1f} images/s", flush=True)
    return images


def _join(parts, target) -> dict:
    """Writes the lines of all parts into one file, and counts them."""
    counts = {"images": 0, "detections": 0, "unreadable": 0}
    with replacing(target) as whole:
        for part in parts:
            with part.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    counts["unreadable" if "unreadable" in row else "images"] += 1
                    counts["detections"] += len(row.get("detections", ()))
                    whole.write(line)
    return counts


class Worker:
    """An actor: a detector, and what it does with a part."""

    def __init__(self, words, cwd):
        importlib.import_module("..detect", __package__)  # which defines the flags

        os.chdir(cwd)
        flags.FLAGS(["detect", *words])
        self.detector, self.at_once = detectors.load_named(), detectors.at_once()

    def __call__(self, job: dict) -> dict:
        """Looks at a part, writes its file, and says how many pictures it has seen."""
        images, unreadable, classes = 0, [], self.detector.classes
        paths = [Path(path) for path in json.loads(job["paths"])]
        source = streaming.pictures(paths, report=unreadable.append)
        with replacing(job["file"]) as file:
            for result in streaming.run(self.detector, source, self.at_once):
                size = result.frame.image.shape[:2]
                row = pictures.describe(result.frame.name, size, result.detections, classes)
                file.write(json.dumps(row) + "\n")
                images += 1
            for entry in unreadable:
                row = {"file": entry["file"], "unreadable": entry["reason"]}
                file.write(json.dumps(row) + "\n")
        return {"images": images}


def _file(folder, number: int) -> Path:
    return folder / f"part-{number:06d}.jsonl"


def _words() -> list[str]:
    """The flags that say which detector it is, as they were given."""
    names = ("checkpoint", "batch_size", *detectors.FLAGS)
    given = [flags.FLAGS[name] for name in names if flags.FLAGS[name].present]
    return ["--images=.", *(f"--{flag.name}={flag.value}" for flag in given)]


def _weights() -> list[Path]:
    """The files that hold what the detector has learnt."""
    place = user_path(flags.FLAGS.checkpoint)
    inside = place / "checkpoints" if (place / "checkpoints").is_dir() else place
    return sorted(p for p in inside.rglob("*") if p.is_file()) if inside.is_dir() else [place]


def _state_of(paths) -> str:
    """A digest of files by their places, sizes and times; a link that leads nowhere is its own."""

    def state(path):
        return os.stat(path) if os.path.exists(path) else os.lstat(path)

    states = ((os.path.abspath(path), state(path)) for path in paths)
    lines = [f"{path}\t{of.st_size}\t{of.st_mtime_ns}" for path, of in states]
    return digest("\n".join(lines).encode(errors="surrogateescape"))


def _require_same(folder, found: dict):
    """Parts that are there must be of the same pictures and the same detector."""
    found = found | {"detector": _words()[1:]}
    of = folder / "of.json"
    if of.exists() and (before := json.loads(of.read_text(encoding="utf-8"))) != found:
        other = ", ".join(name for name in found if before.get(name) != found[name])
        raise UserError(
            f"{folder} holds parts of another {other}. Give another --output_dir, or remove it."
        )
    training.write_json(of, found)
