"""How fast are Darknet's own networks here, and by Darknet's own C program?

    python -m benchmarks.bench_darknet --darknet=PATH/darknet --cfg=yolov1-tiny.cfg,yolov1.cfg
    python -m benchmarks.bench_darknet --cfg=yolov1.cfg --weights=yolov1.weights --threads=1

The C program is in no package of ours: --darknet says where it was built, several with commas
between them; the first is what the others are compared with. Without it ours is measured alone.
Weights that are not given are random. Both programs take the same file and the same cores, and
take turns, image after image; their first turns do not count. An image's time:

network   of the network alone, from the resized image to its outputs: the C program's own
          "Predicted in" (by the wall, also with OpenMP); here as Keras' predict, as a tf.function
          that was traced, the same by XLA, and as the Detector, with suppression in it besides
file      from the file to a picture with the boxes drawn
start     from the start of the program, with its network to load, to the end of the first image;
          and the most memory that a process takes which does no more than this

The boxes of the image are compared as the C program prints them, in whole per cent. Rows go to
``results/darknet.csv``; how many times faster ours is, is printed at the end: meant to be five
times as fast as the C program as it comes, which has one thread.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks import darknet_providers, harness, photos, runner, targets
from benchmarks.darknet_program import Program
from benchmarks.darknet_providers import PROVIDERS, Network
from yolov1 import darknet, models
from yolov1.grid import GridSpec

TARGET = 5
PROGRAM = "darknet:"  # how providers that are one begin
LINE = "  {part:9}{provider:20}N={images:<3}{median_us:12.0f} us ({q20_us:.0f} .. {q80_us:.0f})"


def measure(network, programs, image, config) -> dict:
    """{(part, provider, images): seconds an image, of each round}; and what was found."""
    answers = {name: [] for name in programs}
    times = {}
    calls = {
        ("file", name, 1): lambda name=name: answers[name].append(programs[name](image))
        for name in programs
    }
    for provider in config.providers:
        part = "file" if provider == "file" else "network"
        for copies in map(int, config.batches) if provider == "function" else (1,):
            key = part, provider, copies
            calls[key], times[key] = in_turns(
                PROVIDERS[provider](network, image, copies), config.turn_ms / 1000
            )
    seconds = harness.measure(
        calls, repeats=config.repeats, warm_up=2, budget_seconds=config.budget
    )
    for name, said in answers.items():
        rounds = len(seconds["file", name, 1])
        seconds["network", name, 1] = np.array([a.seconds for a in said[-rounds:]])
    found = {name: said[-1].boxes for name, said in answers.items()}
    return {key: s / key[2] / times.get(key, 1) for key, s in seconds.items()}, found


def in_turns(run, turn_seconds):
    """A function that calls `run` for about so long, as images come one after another: threads
    that have slept while another program had its turn are slow at first. And how often it does."""
    for _ in range(2):  # the first traces
        begin = time.perf_counter()
        run()
    times = max(1, round(turn_seconds / (time.perf_counter() - begin)))
    return lambda: [run() for _ in range(times)], times


def starts(files, programs, image, config):
    """Seconds of each start by provider, and the most memory of one, MB."""
    peak = {}

    def ours():
        command = [sys.executable, "-m", "benchmarks.darknet_providers"]
        command += [str(Path(file).resolve()) for file in (*files, image)]
        process = subprocess.Popen(
            [*command, str(config.score_threshold)],
            cwd=harness.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = process.stdout.readline()
        process.kill()
        process.communicate()
        if not said:
            raise RuntimeError(f"a start of ours ended without boxes: {' '.join(command)}")
        peak["ours"] = int(said) / 1e6

    def theirs(name, path):
        with contextlib.closing(start(path, files, config)) as program:
            program(image)
            peak[name] = program.peak_mb()

    calls = {name: lambda n=name, p=path: theirs(n, p) for name, path in programs.items()}
    calls |= {"ours": ours} if "file" in config.providers else {}
    return harness.measure(calls, repeats=config.starts, warm_up=0), peak


def start(path, files, config):
    return Program(path, *files, threads=config.threads, threshold=config.score_threshold)


def same(ours, theirs) -> int:
    """How many of the boxes are the same: of each class by falling score, within one per cent."""
    count = 0
    for name in {name for name, _ in ours}:
        mine, other = (sorted(p for n, p in rows if n == name)[::-1] for rows in (ours, theirs))
        count += sum(abs(a - b) <= 1 for a, b in zip(mine, other, strict=False))
    return count


def measure_network(files, image, paths, config) -> list[dict]:
    """Everything about one network; its rows."""
    name = Path(files[0]).stem
    print(f"\n{name}")
    check_grid(name, darknet.plan(darknet.read_cfg(files[0])).grid, paths)
    network = Network(*files, config.score_threshold)
    with contextlib.ExitStack() as stack:
        programs = {
            key: stack.enter_context(contextlib.closing(start(path, files, config)))
            for key, path in paths.items()
        }
        seconds, found = measure(network, programs, image, config)
    found["file"] = network.boxes(PROVIDERS["file"](network, image, 1)())
    starting, peaks = starts(files, paths, image, config)
    seconds |= {("start", key, 1): values for key, values in starting.items()}
    first, rows, environment = next(iter(paths), None), [], harness.environment()
    for (part, provider, images), values in seconds.items():
        baseline = seconds.get((part, first, 1))
        ratios = [] if baseline is None else baseline / values
        row = {
            "benchmark": "darknet",
            "part": part,
            "provider": provider,
            "network": name,
            "images": images,
            "threads": config.threads,
            **harness.summary(values),
            "times_faster": round(float(np.median(ratios)), 3) if len(ratios) else "",
            "peak_mb": round(peaks[provider], 1) if part == "start" else "",
            "boxes": len(found[provider]) if part == "file" else "",
            "same_boxes": same(found[provider], found[first]) if first and part == "file" else "",
            **environment,
        }
        rows.append(row)
        tail = f", {row['times_faster']} times as fast as {first}" if len(ratios) else ""
        tail += f", at most {row['peak_mb']:.0f} MB" if part == "start" else ""
        print(LINE.format(**row) + tail, flush=True)
    for provider, boxes in found.items():
        text = f", {same(boxes, found[first])} of them as {first}" if first else ""
        print(f"  {provider}: {len(boxes)} boxes{text}")
    return rows


def check_grid(name, grid, paths):
    """Raises SystemExit for a network that does not find boxes, or that the program cannot draw."""
    if grid is None:
        raise SystemExit(f"error: {name} is a classifier; give networks that find boxes.")
    if paths and grid.C != len(darknet_providers.VOC_CLASSES):
        raise SystemExit(
            f"error: {name} has {grid.C} classes; `darknet yolo test` shows the twenty of VOC, "
            "whatever a network has. Give one with twenty, or leave --darknet out."
        )


def given_or_made(config, folder):
    """(cfg, weights) of each network, what is missing written into the folder."""
    cfgs, given = list(config.cfg), dict(enumerate(config.weights))
    if len(given) > len(cfgs):
        raise SystemExit(f"error: {len(given)} --weights for {len(cfgs)} --cfg; give one for each.")
    if not cfgs:
        cfgs = [str(folder / "fast.cfg")]
        model = models.build("fast", grid=GridSpec())
        Path(cfgs[0]).write_text(darknet.cfg_of(model).text())
    for k, cfg in enumerate(cfgs):
        weights = given.get(k) or folder / f"{k}.weights"
        if not given.get(k):
            darknet_providers.random_weights(weights, cfg)
        yield cfg, weights


def run(config) -> list[dict]:
    """All networks; the rows."""
    paths = {f"{PROGRAM}{Path(path).resolve().parent.name}": path for path in config.darknet}
    if len(paths) < len(config.darknet):
        raise SystemExit("error: each --darknet must be in a folder of another name.")
    if not paths:
        print("Without --darknet=PATH there is no baseline: ours alone.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: config.threads])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        image = config.image or Path(folder) / "photo.png"
        if not config.image:
            Image.fromarray(photos.make_photo(np.random.default_rng(0))).save(image)
        for files in given_or_made(config, Path(folder)):
            rows += measure_network(files, image, paths, config)
    return rows


def verdicts(rows):
    """Lines of `benchmarks.targets.table`: the target is the first program's."""
    rules = []
    for row in rows:
        theirs = row["provider"].startswith(PROGRAM)
        if row["times_faster"] and row["images"] == 1 and not theirs:
            case = "{network}, {part}: {provider}".format(**row)
            goal = TARGET if row["part"] == "network" else None
            rules.append((case, row["times_faster"], "at least", goal))
    return targets.table(rules)


def main(argv):
    del argv
    try:
        rows = run(flags.FLAGS)
    except (darknet.DarknetError, OSError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from error
    harness.write_rows(Path(flags.FLAGS.output), rows)
    print()
    targets.show(verdicts(rows))


if __name__ == "__main__":
    flags.DEFINE_list("cfg", [], "Networks; none: our own `fast`, as its cfg says it.")
    flags.DEFINE_list("weights", [], "Of each --cfg, in its order; one that is missing is random.")
    flags.DEFINE_list("darknet", [], "Darknet's program, or some, each in a folder of its own.")
    flags.DEFINE_string("image", "", "What is looked at; by default a photo-like PNG, 500 x 375.")
    flags.DEFINE_integer("threads", len(os.sched_getaffinity(0)), "Cores that both may use.", 1)
    flags.DEFINE_float("score_threshold", 0.2, "Least score of a box; that many are drawn.")
    flags.DEFINE_list("batches", ["1", "8"], "Images at once, of the function.")
    runner.define_some("providers", list(PROVIDERS), "What of ours to measure.")
    flags.DEFINE_float("turn_ms", 400, "Ours is called for this long in a round, at least once.")
    flags.DEFINE_integer("repeats", 20, "Rounds, at most.", 1)
    flags.DEFINE_integer("starts", 3, "How often each program is started.", 1)
    flags.DEFINE_float("budget", 120, "Seconds for the rounds of a network; at least three.")
    flags.DEFINE_string("output", str(harness.RESULTS / "darknet.csv"), "CSV for the rows.")
    app.run(main)
