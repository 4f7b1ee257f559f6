"""What does the fused YOLO loss save against plain TensorFlow: loss and gradient of one batch?

    python -m benchmarks.bench_yolo_loss
    python -m benchmarks.bench_yolo_loss --batches=1,64,1024 --mode=forward

Eager, `tf.function` and XLA forms of the reference, and the fused op in the first two. Calling a
`tf.function` costs some hundred microseconds by itself: the variant "floor" is a function that does
nothing. Rows go to ``results/yolo_loss.csv``.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import harness
from yolov1 import kernels, ops
from yolov1.grid import GridSpec

GRID = GridSpec()
flags.DEFINE_list("batches", ["64"], "Batch sizes.")
flags.DEFINE_enum("mode", "full", ("full", "forward"), "With or without the gradient.")
flags.DEFINE_float("objects", 0.06, "Share of the cells that hold an object.", 0, 1)
flags.DEFINE_string("semantics", "paper", "Preset of the loss.")
flags.DEFINE_integer("repeats", 100, "Timed rounds.")
flags.DEFINE_string("output", str(harness.RESULTS / "yolo_loss.csv"), "CSV file for the rows.")


def make_batch(images, objects):
    generator = np.random.default_rng(0)
    predictions = generator.uniform(0, 1, (images, *GRID.prediction_shape))
    targets = generator.uniform(0, 1, (images, *GRID.target_shape))
    has_object = generator.random((images, GRID.S, GRID.S)) < objects
    targets[..., GRID.target_object_channel] = 1
    return predictions.astype(np.float32), (targets * has_object[..., None]).astype(np.float32)


def variants(images, mode, objects, semantics):
    """``{name: function}``, each of which computes the batch once and waits for the result."""
    arrays = make_batch(images, objects)
    predictions, targets = map(tf.constant, arrays)

    def compute(impl):
        def run(p, t):
            if mode == "forward":
                return ops.yolo_loss(p, t, grid=GRID, semantics=semantics, impl=impl).loss
            with tf.GradientTape() as tape:
                tape.watch(p)
                loss = ops.yolo_loss(p, t, grid=GRID, semantics=semantics, impl=impl).loss
            return loss, tape.gradient(loss, p)

        return run

    functions = {
        "eager reference": compute("reference"),
        "eager fused": compute("fused"),
        "graph reference": tf.function(compute("reference")),
        "graph fused": tf.function(compute("fused")),
        "xla reference": tf.function(compute("reference"), jit_compile=True),
        "floor": tf.function(lambda p, t: (tf.identity(p[0, 0, 0, 0]), tf.identity(t[0, 0, 0, 0]))),
    }

    def call(function):
        def run():
            result = function(predictions, targets)
            tf.test.experimental.sync_devices()
            return result

        return run

    def numpy_kernel():
        kernels.yolo_loss(*arrays, grid=GRID, semantics=semantics, gradient=mode == "full")

    calls = {name: call(function) for name, function in functions.items()}
    return calls | {"numpy, one thread": numpy_kernel}


def main(argv):
    del argv
    config, rows = flags.FLAGS, []
    for images in map(int, config.batches):
        cases = variants(images, config.mode, config.objects, config.semantics)
        for name, seconds in harness.measure(cases, repeats=config.repeats).items():
            result = harness.summary(seconds)
            rows.append(
                {
                    "benchmark": "yolo_loss",
                    "mode": config.mode,
                    "variant": name,
                    "images": images,
                    "objects": config.objects,
                    "semantics": config.semantics,
                    **result,
                    **harness.environment(),
                }
            )
            print(
                f"{config.mode} N={images:<5} {name:<20} {result['median_us']:>10.1f} us   "
                f"({result['q20_us']:.1f} .. {result['q80_us']:.1f})"
            )
    harness.write_rows(Path(config.output), rows)


if __name__ == "__main__":
    app.run(main)
