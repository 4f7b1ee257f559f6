"""How fast do images reach the network: this project's pipeline against the posts' and others'?

    python -m benchmarks.bench_input_pipeline
    python -m benchmarks.bench_input_pipeline --cases=448 --providers=posts_cv2,decoding,ours_paper

Makes photo-like JPEG files of 500 x 375 and about 65 KB, and measures images per second to the
network's input of 448 pixels, and of 112, where decoding at a fraction of the size is enough. Every
provider in turn, round after round, so that a busy machine slows them all alike; ratios are taken
within a round. A turn starts the provider anew, lets it settle, and takes batches for a second: no
start of a pipeline is counted, as none is noticed in training. CPU time is that of all threads and
child processes.

Providers are in `input_pipeline_providers`; one whose package is not installed is left out.
"decoding" is the upper bound of whatever decodes whole images: TensorFlow does that and nothing
else, with the flags of our pipeline. The posts' way is the faster of OpenCV and Pillow on one
thread; it does not augment. Rows go to ``results/input_pipeline.csv``; the targets are printed at
the end.
"""

import itertools
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import harness, input_pipeline_targets, runner
from benchmarks import input_pipeline_providers as providers
from benchmarks.input_pipeline_providers import POSTS, PROVIDERS, Work
from benchmarks.photos import HEIGHT, WIDTH, write_photos
from benchmarks.providers import Unavailable
from yolov1 import data
from yolov1.grid import GridSpec

CASES = ["448", "112"]
SETTLED = 4  # batches that a turn takes before its clock starts
LINE = "{image_size:4} {provider:28}{images_per_second:7.0f} images/s ({q20:.0f} .. {q80:.0f})"
LINE += "{cpu_ms_per_image:8.2f} ms CPU an image"
RATIOS = {"against_posts": " x the posts", "against_decoding": " x decoding"}


def _cpu_seconds():
    """Of all threads, and of the child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _turn(batches, batch_size, seconds):
    """(wall, CPU) seconds an image of a provider that was started and has settled."""
    made = batches()
    try:
        for _ in range(SETTLED):
            next(made)
        wall, cpu = time.perf_counter(), _cpu_seconds()
        for count in itertools.count(1):
            next(made)
            if count > 1 and time.perf_counter() - wall > seconds:
                break
        spent = time.perf_counter() - wall, _cpu_seconds() - cpu
    finally:
        made.close()
    return np.array(spent) / (count * batch_size)


def _measure(config, dataset, size):
    """{provider: (wall, CPU) seconds an image, ``[2, rounds]``}."""
    grid = GridSpec(image_size=size, C=len(dataset.classes))
    work = Work(dataset, grid, config.batch_size)
    made, turns = {}, {}
    for name in config.providers:
        try:
            made[name], turns[name] = providers.make(name, work), []
        except Unavailable as error:
            print(f"left out: {error}", flush=True)
    start, names = time.perf_counter(), list(made)
    for k in range(-1, config.rounds):  # the first is not counted: tracing, caches, clocks
        if k > 0 and time.perf_counter() - start > config.budget:
            break
        for name in names[k:] + names[:k]:
            turn = _turn(made[name], config.batch_size, config.turn if k >= 0 else 0)
            if k >= 0:
                turns[name].append(turn)
    return {name: np.transpose(turns[name]) for name in names}


def _rows(wall, cpu, what):
    """A row for each provider; `what` are the columns that say what was measured."""
    baselines = {"against_decoding": wall.get("decoding")}
    posts = [wall[name] for name in POSTS if name in wall]
    baselines["against_posts"] = np.min(posts, axis=0) if posts else None
    environment = harness.environment()
    for name, seconds in wall.items():
        q20, median, q80 = np.quantile(1 / seconds, (0.2, 0.5, 0.8))
        numbers = {"images_per_second": median, "q20": q20, "q80": q80}
        numbers["cpu_ms_per_image"] = np.median(cpu[name]) * 1000
        for column in RATIOS:
            baseline = baselines[column]
            numbers[column] = "" if baseline is None else np.median(baseline / seconds)
        yield {
            "benchmark": "input_pipeline",
            "provider": name,
            **{key: value if value == "" else round(value, 2) for key, value in numbers.items()},
            "repeats": len(seconds),
            "settled": SETTLED,
            **what,
            "packages": providers.packages(name),
            **environment,
        }


def run(config, measured) -> list[dict]:
    """All cases that were asked for; the rows. Adds (wall, CPU) by image size to `measured`."""
    rows = []
    if config.files < config.batch_size:
        raise app.UsageError(
            f"--files must be at least --batch_size={config.batch_size}, got {config.files}: a "
            "batch is made of different files."
        )
    with tempfile.TemporaryDirectory() as folder:
        files = config.files - config.files % config.batch_size
        kilobytes = np.mean(write_photos(Path(folder), files)) / 1000
        dataset = data.open(f"voc:{folder}")
        for size in map(int, config.cases):
            seconds = _measure(config, dataset, size)
            wall, cpu = ({name: s[k] for name, s in seconds.items()} for k in (0, 1))
            measured[size] = wall, cpu
            what = {
                "image": f"{WIDTH}x{HEIGHT} JPEG {kilobytes:.0f} KB",
                "image_size": size,
                "batch_size": config.batch_size,
            }
            for row in _rows(wall, cpu, what):
                ratios = [f"{row[c]:8.2f}{text}" for c, text in RATIOS.items() if row[c] != ""]
                print(LINE.format(**row), *ratios, flush=True)
                rows.append(row)
    return rows


def main(argv):
    del argv
    measured = {}

    def table(rows):
        del rows  # which hold medians: ratios are taken within a round
        wall, cpu = ({size: m[k] for size, m in measured.items()} for k in (0, 1))
        return input_pipeline_targets.table(wall, cpu)

    runner.report(lambda config: run(config, measured), table)


if __name__ == "__main__":
    runner.define_some("cases", CASES, "Sides of the network's input, pixels.")
    runner.define_some("providers", list(PROVIDERS), "Providers to measure.")
    flags.DEFINE_integer("files", 96, "JPEG files to make.", 1)
    flags.DEFINE_integer("rounds", 5, "Rounds, at most; the median counts.", 1)
    flags.DEFINE_float("turn", 1, "Seconds that a provider is measured in a round.")
    flags.DEFINE_float("budget", 80, "No further round of a case starts after so many seconds.")
    flags.DEFINE_integer("batch_size", 16, "Images of a batch.", 1)
    flags.DEFINE_string("output", str(harness.RESULTS / "input_pipeline.csv"), "CSV for the rows.")
    app.run(main)
