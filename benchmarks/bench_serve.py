"""What does it cost to ask a server, and not the detector itself?

    python -m benchmarks.bench_serve --checkpoint=runs/shapes
    python -m benchmarks.bench_serve --connections=64 --memory_requests=5000

Without --checkpoint it is an untrained `laptop` network for 112 pixels. The pictures are photo-like
JPEG files of 500 x 375, or those of --images; each must have other boxes. Providers take turns, a
round of --requests each, in images a second:

bare       one loop in this process: a batch of files is decoded, then `Detector.detect`
overlapped the same, but two threads decode the next batches meanwhile
decoded    `Detector.detect` alone, of what was decoded before
served     experiments.serve in a process of its own; a third process asks over --connections
           connections that stay open, and holds each answer against what `bare` found

All on the same cores, so that the program that asks takes time of its own from the server (the
column client_cpu: its share of the time of one core). Rows go to ``results/serve.csv`` with the
quantiles of the answers' times; then the server's memory over --memory_requests further ones.
"""

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import harness, photos, runner, targets
from benchmarks.serve_client import same
from yolov1 import data, inference

TARGET = 0.8  # of the bare detector's images/s
THRESHOLD = 0.05
BATCHES = ("yolov1_batch_images_sum", "yolov1_batch_images_count")
LINE = "  {provider:12}{connections:>3} {images_per_second:8.1f} images/s  {of_bare:5.2f} of bare"
SAID = ("p50_ms", "p99_ms", "mean_batch", "cpu_seconds", "seconds")  # of which three are columns
SERVED_LINE = ", {p50_ms:.1f} ms (p99 {p99_ms:.1f}), {mean_batch:.1f} a batch"


# -------------------------------------------------------------------------- without a server


def bare(detector, encoded, config):
    found = []
    for start in range(0, len(encoded), config.batch_size):
        batch = [data.images.decode(e, upright=True) for e in encoded[start:][: config.batch_size]]
        found += detector.detect(batch, config.batch_size)
    return found


def overlapped(detector, encoded, config):
    found, size = [], config.batch_size
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        coming = [pool.submit(data.images.decode, e, upright=True) for e in encoded]
        for start in range(0, len(encoded), size):
            found += detector.detect([f.result() for f in coming[start : start + size]], size)
    return found


def decoded(detector, pixels, config):
    return detector.detect(pixels, config.batch_size)


# --------------------------------------------------------------------------------- a server


@contextlib.contextmanager
def server(checkpoint, config):
    """(process, host, port) of experiments.serve."""
    command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={checkpoint}", "--port=0"]
    command += [f"--batch_size={config.batch_size}", f"--score_threshold={THRESHOLD}"]
    process = subprocess.Popen(command, cwd=harness.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if "http://" not in line:
            raise SystemExit("error: experiments.serve did not start; its words are above.")
        host, port = line.split("http://")[1].split(";")[0].rsplit(":", 1)
        yield process, host, int(port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def served(place, job, folder, connections, requests) -> dict:
    """What `benchmarks.serve_client` says of so many requests, and pictures a batch."""
    before = [metric(place, name) for name in BATCHES]
    job = job | {"host": place[0], "port": place[1], "connections": connections}
    file = folder / "job.json"
    file.write_text(json.dumps(job | {"requests": requests}))
    command = [sys.executable, "-m", "benchmarks.serve_client", str(file)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: an answer did not come:\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout)
    bad = {key: said[key] for key in ("wrong", "refused", "unanswered") if said[key]}
    if bad:
        raise SystemExit(f"error: of {requests} requests: {bad}")
    images, batches = (metric(place, n) - b for n, b in zip(BATCHES, before, strict=True))
    if images != requests:
        raise SystemExit(f"error: {requests} requests, and {images:.0f} pictures looked at")
    return said | {"mean_batch": images / batches}


def metric(place, name) -> float:
    """A figure of /metrics."""
    with urllib.request.urlopen("http://{}:{}/metrics".format(*place)) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


# ---------------------------------------------------------------------------------- the rows


def measure(detector, files, place, folder, config):
    """{(provider, connections): [seconds an image]} and what the client said, of each round."""
    encoded = [file.read_bytes() for file in files]
    encoded = [encoded[k % len(encoded)] for k in range(config.requests)]
    pixels = [data.images.decode(e, upright=True) for e in encoded[: len(files)]]
    pixels = [pixels[k % len(files)] for k in range(config.requests)]
    right = answers(bare(detector, encoded[: len(files)], config), pixels)
    if any(same(a, b) for k, a in enumerate(right) for b in right[:k]):
        raise SystemExit(
            "error: two pictures have the same boxes, so that an answer would prove nothing. Give "
            "--images in which the network finds something."
        )
    job = {"pictures": [str(file) for file in files], "answers": right}
    alone = {
        "bare": lambda: bare(detector, encoded, config),
        "overlapped": lambda: overlapped(detector, encoded, config),
        "decoded": lambda: decoded(detector, pixels, config),
    }
    seconds, said = {}, {}
    turns = [(name, 0) for name in alone if name in config.providers]
    turns += [("served", int(n)) for n in config.connections if "served" in config.providers]
    for key in turns:
        seconds[key], said[key] = [], []
    for turn in range(-1, config.repeats):  # the first does not count
        for name, connections in turns if turn % 2 else turns[::-1]:
            begin = time.perf_counter()
            if name == "served":
                told = served(place, job, folder, connections, config.requests)
                spent = told["seconds"]
            else:
                told = {}
                alone[name]()
                spent = time.perf_counter() - begin
            if turn >= 0:
                seconds[name, connections].append(spent / config.requests)
                said[name, connections].append(told)
    return seconds, said, job


def answers(found, pixels):
    """The COCO results of detections, as the server gives them."""
    from yolov1.serving import schema

    return [
        schema.results(1, detections, image.shape[:2], THRESHOLD)
        for detections, image in zip(found, pixels, strict=False)
    ]


def rows_of(seconds, said, config):
    environment = harness.environment()
    first = np.array(seconds.get(("bare", 0), []))
    for (provider, connections), values in seconds.items():
        told = {
            name: float(np.median([one[name] for one in said[provider, connections]]))
            for name in (SAID if provider == "served" else ())
        }
        row = {
            "benchmark": "serve",
            "provider": provider,
            "connections": connections or "",
            "checkpoint": Path(config.checkpoint).name or "untrained",
            "batch_size": config.batch_size,
            "requests": config.requests,
            **harness.summary(np.array(values)),
            "images_per_second": round(1 / float(np.median(values)), 1),
            "of_bare": round(float(np.median(first / values)), 3) if len(first) else "",
            **{name: round(told[name], 3) if told else "" for name in SAID[:3]},
            "client_cpu": round(told["cpu_seconds"] / told["seconds"], 3) if told else "",
            **environment,
        }
        line = LINE.format(**row | {"of_bare": row["of_bare"] or float("nan")})
        print(line + (SERVED_LINE.format(**row) if told else ""), flush=True)
        yield row


def memory(place, job, folder, config):
    """Prints how the server's memory grows over further requests."""
    step = max(1, config.memory_requests // 10)
    sizes = []
    for _ in range(10):
        served(place, job, folder, max(map(int, config.connections)), step)
        sizes.append(metric(place, "process_resident_memory_bytes") / 1e6)
    print(
        f"\nmemory of the server after each {step} requests: "
        f"{', '.join(f'{size:.1f}' for size in sizes)} MB"
    )


def made_run(folder) -> Path:
    """A run whose untrained network sees other boxes in every picture."""
    import tensorflow as tf

    from yolov1 import training
    from yolov1.training.checkpoints import build_model

    options = {"dataset": "shapes:count=8", "model": "laptop", "image_size": 112, "ema": 0.0}
    config = training.TrainConfig(**options, activations="linear")
    run = training.RunDirectory(folder / "untrained")
    run.create(resume=False)
    classes = [f"class {k}" for k in range(6)]
    grid = config.grid(len(classes))
    run.write_config(config, grid, classes)
    model = build_model(config, grid)
    head = [layer for layer in model.layers if layer.get_weights()][-1]
    kernel, bias = head.get_weights()
    outputs = np.zeros(grid.channels, np.float32)
    outputs[grid.class_channels] = 0.4
    outputs[grid.confidence_channels] = outputs[grid.box_channels] = 0.5
    rng = np.random.default_rng(0)
    noise = rng.normal(size=kernel.shape).astype(np.float32) / np.sqrt(kernel.shape[-2])
    head.set_weights([0.1 * noise, np.resize(outputs, bias.shape)])
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, str(run / "checkpoints" / "last"), max_to_keep=1).save()
    return run.path


def run(config) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if not config.images:
            photos.write_photos(folder, config.pictures)
        images = Path(config.images or folder / "JPEGImages")
        files = sorted(images.glob("*.jpg"))[: config.pictures]
        if not files:
            raise SystemExit(
                f"error: --images={images} holds no *.jpg; give a folder of JPEG files."
            )
        checkpoint = config.checkpoint or made_run(folder)
        detector = inference.load(checkpoint, score_threshold=THRESHOLD)
        with server(checkpoint, config) as (_, *place):
            seconds, said, job = measure(detector, files, place, folder, config)
            rows = list(rows_of(seconds, said, config))
            if config.memory_requests:
                memory(place, job, folder, config)
    return rows


def verdicts(rows):
    """The target is that of the largest number of connections."""
    found = [row for row in rows if row["provider"] == "served"]
    rules = [
        (
            f"served, {row['connections']} connections, of bare",
            row["of_bare"] or None,
            "at least",
            TARGET if row is found[-1] else None,
        )
        for row in found
    ]
    return targets.table(rules)


def main(argv):
    del argv
    rows = run(flags.FLAGS)
    harness.write_rows(Path(flags.FLAGS.output), rows)
    print()
    targets.show(verdicts(rows))


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", "", "Run directory; empty: an untrained small network.")
    flags.DEFINE_integer("batch_size", 16, "Images at once, at most; of all providers.", 1)
    flags.DEFINE_list("connections", ["1", "4", "32"], "Of the program that asks.")
    flags.DEFINE_string("images", "", "Folder of JPEG files, in place of the photo-like ones.")
    flags.DEFINE_integer("pictures", 32, "Different ones.", 2)
    flags.DEFINE_integer("requests", 512, "Pictures of a round.", 1)
    flags.DEFINE_integer("repeats", 5, "Rounds.", 1)
    flags.DEFINE_integer("memory_requests", 0, "Further ones, over which memory is watched.", 0)
    names = ["bare", "overlapped", "decoded", "served"]
    runner.define_some("providers", names, "What to measure.")
    flags.DEFINE_string("output", str(harness.RESULTS / "serve.csv"), "CSV for the rows.")
    app.run(main)
