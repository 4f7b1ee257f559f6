"""How fast do images reach the network: this project's pipeline against the posts' way?

    python -m benchmarks.bench_input_pipeline

Makes photo-like JPEG files of 500 x 375 and about 65 KB, and measures images per second at 448
pixels, every way in turn, round after round, so that a busy machine slows them all alike; ratios
are taken within a round. A round starts from nothing and ends with its last batch. The posts' way
is a Keras Sequence that reads, resizes and divides by 255 in Python, without augmentation;
"workers" gives it the four threads that the post's `fit_generator` asks for. Rows go to
``results/input_pipeline.csv``.
"""

import importlib.util
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from benchmarks import harness
from benchmarks.photos import HEIGHT, WIDTH, write_photos
from yolov1 import data
from yolov1.grid import GridSpec

GRID = GridSpec()
flags.DEFINE_integer("files", 96, "JPEG files to make.")
flags.DEFINE_integer("passes", 6, "Times that a round reads them all.")
flags.DEFINE_integer("rounds", 5, "Rounds; the median counts.")
flags.DEFINE_integer("batch_size", 16, "Images of a batch.")
flags.DEFINE_string(
    "output", str(harness.RESULTS / "input_pipeline.csv"), "CSV file that the rows are added to."
)


def posts_way(dataset, batch_size, read):
    """A function from batch number to (images, targets), as the posts' Sequence makes it."""

    def batch(k):
        examples = dataset[k * batch_size : (k + 1) * batch_size]
        images = [read(str(e.path)) / 255.0 for e in examples]
        targets = [data.encode_targets(e.boxes_cxcywh, e.labels, GRID)[0] for e in examples]
        return np.stack(images), np.stack(targets)

    return batch


def read_cv2(path):
    import cv2  # an optional package; after the first call this takes a microsecond

    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (GRID.image_size, GRID.image_size))


def read_pil(path):
    return np.asarray(Image.open(path).resize((GRID.image_size, GRID.image_size)))


def ways(dataset, batch_size, passes):
    """{name: a function that produces every image `passes` times}."""
    steps = len(dataset) // batch_size
    tables = {"cv2": read_cv2, "PIL": read_pil}
    posts = {name: posts_way(dataset, batch_size, read) for name, read in tables.items()}

    def one_thread(name):
        for k in range(steps * passes):
            posts[name](k % steps)

    def workers():
        with ThreadPoolExecutor(4) as pool:
            waiting = deque()
            for k in range(steps * passes):
                waiting.append(pool.submit(posts["cv2"], k % steps))
                if len(waiting) == 10:  # the queue of `fit_generator`
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()

    def ours(augmentation, cache):
        batches = data.training_batches(
            dataset,
            GRID,
            batch_size,
            seed=0,
            steps=steps * passes,
            augmentation=augmentation,
            cache=cache,
        )

        def run():
            for images, _, _ in batches:
                images.numpy()

        return run

    return {
        "posts_cv2": lambda: one_thread("cv2"),
        "posts_pil": lambda: one_thread("PIL"),
        "posts_cv2_workers": workers,
        "ours_paper": ours("paper", cache=False),
        "ours_paper_cached": ours("paper", cache=True),
        "ours_none_cached": ours("none", cache=True),
    }


def with_cpu_clock(run, seconds):
    """`run`, with the CPU time of each call (all threads) added to a list."""

    def clocked():
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)

    return clocked


def measure(folder, files, passes, rounds, batch_size):
    """A row for each way: speed, CPU time, and the ratio to the posts' way."""
    files -= files % batch_size
    images = files * passes
    file_bytes = np.mean(write_photos(folder, files))
    table = ways(data.open(f"voc:{folder}"), batch_size, passes)
    cpu = {name: [] for name in table}
    clocked = {name: with_cpu_clock(run, cpu[name]) for name, run in table.items()}
    wall = harness.measure(clocked, repeats=rounds, warm_up=1)
    # The faster of the two libraries in each round, on one thread.
    posts = np.minimum(wall["posts_cv2"], wall["posts_pil"])
    environment = harness.environment()
    rows = []
    for name, seconds in wall.items():
        q20, median, q80 = np.quantile(images / seconds, (0.2, 0.5, 0.8))
        numbers = {
            "images_per_second": median,
            "q20": q20,
            "q80": q80,
            "repeats": rounds,
            "cpu_ms_per_image": np.median(cpu[name][1:]) / images * 1000,
            "against_posts": np.median(posts / seconds),
        }
        rows.append(
            {
                "benchmark": "input_pipeline",
                "variant": name,
                **{key: round(float(value), 2) for key, value in numbers.items()},
                "image": f"{WIDTH}x{HEIGHT} JPEG {file_bytes / 1000:.0f} KB",
                "image_size": GRID.image_size,
                "batch_size": batch_size,
                **environment,
            }
        )
    return rows


def main(argv):
    del argv
    if importlib.util.find_spec("cv2") is None:
        sys.exit("error: the posts read images with OpenCV; run: pip install 'yolov1[bench]'")
    f = flags.FLAGS
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), f.files, f.passes, f.rounds, f.batch_size)
    for row in rows:
        print(
            "{variant:20}{images_per_second:8.0f} images/s{cpu_ms_per_image:8.2f} ms CPU an image"
            "{against_posts:8.2f} x the posts' way".format(**row)
        )
    harness.write_rows(Path(f.output), rows)


if __name__ == "__main__":
    app.run(main)
