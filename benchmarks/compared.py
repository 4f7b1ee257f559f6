"""What `benchmarks.compare` measures: the program of one fresh process, and what it can be asked.

It runs on the ``yolov1`` of another revision, so it calls nothing but public names. It makes the
benchmarks named on its command line, says which there are, then answers each line that names one
with the seconds of a call: the least of several bursts, each shorter than the time slices in which
a busy machine takes a core away.
"""

import gc
import json
import math
import os
import sys
import time

import numpy as np

BURST = 1e-3  # seconds of calls that are timed together, or one call
BURSTS = 6  # in an answer


def loss_arrays(images, objects=0.06, dtype="float32"):
    """Predictions ``[N, S, S, D]`` and targets ``[N, S, S, C + 5]`` of VOC's grid."""
    import ml_dtypes

    from yolov1.grid import GridSpec

    grid, generator = GridSpec(), np.random.default_rng(0)
    predictions = generator.random((images, *grid.prediction_shape), np.float32)
    targets = generator.random((images, *grid.target_shape), np.float32)
    targets[..., grid.target_object_channel] = 1
    targets *= generator.random((images, grid.S, grid.S, 1)) < objects
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return predictions.astype(dtype), targets.astype(dtype), grid


def box_arrays(groups, m, k):
    """Corner boxes ``[N, M, 4]`` and ``[N, K, 4]``, and an upstream gradient ``[N, M, K]``."""
    generator = np.random.default_rng(0)

    def boxes(count):
        low = generator.uniform(0, 0.7, (groups, count, 2))
        return np.concatenate([low, low + generator.uniform(0.05, 0.5, low.shape)], -1)

    arrays = boxes(m), boxes(k), generator.uniform(-1, 1, (groups, m, k))
    return [array.astype(np.float32) for array in arrays]


# ------------------------------------------------------------------------------------ NumPy module


def kernel_loss(*arguments, **options):
    from yolov1 import kernels

    predictions, targets, grid = loss_arrays(*arguments)
    return lambda: kernels.yolo_loss(predictions, targets, grid=grid, **options)


def kernel_iou(gradient):
    from yolov1 import kernels

    a, b, upstream = box_arrays(64, 98, 20)
    if gradient:
        return lambda: kernels.pairwise_iou_gradient(a, b, upstream)
    return lambda: kernels.pairwise_iou(a, b)


def kernel_nms():
    """Of four batches, one after another: a processor that sees one again and again learns it."""
    from benchmarks.nms_inputs import realistic
    from yolov1 import kernels

    batches = [realistic(8, seed) for seed in range(4)]
    return lambda: [kernels.non_max_suppression(*batch) for batch in batches]


# --------------------------------------------------------------------------------- TensorFlow's ops
# Eagerly and on one thread, that of the caller: how long it takes to wake another, as starting a
# graph does, is on a busy machine the machine's affair.


def op_loss(images):
    """With its gradient, by a tape."""
    tf = _tensorflow()
    from yolov1 import ops

    predictions, targets, grid = loss_arrays(images)

    def compute(p, t):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = ops.yolo_loss(p, t, grid=grid, reduction="mean", impl="fused").loss
        return loss, tape.gradient(loss, p)

    return _called(compute, predictions, targets)


def op_iou():
    tf = _tensorflow()
    from yolov1 import ops

    def compute(a, b, upstream):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            iou = ops.pairwise_iou(a, b, impl="fused")
        return iou, *tape.gradient(iou, (a, b), output_gradients=upstream)

    return _called(compute, *box_arrays(16, 98, 20))


def op_nms():
    _tensorflow()
    from benchmarks.nms_inputs import realistic
    from yolov1 import ops

    def compute(boxes, scores):
        return ops.non_max_suppression(boxes, scores, impl="fused")

    return _called(compute, *realistic(8, 0))


def _tensorflow():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def _called(compute, *arrays):
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    return lambda: compute(*tensors)


# {name: maker of the function to be timed}. The first part is the face.
BENCHMARKS = {
    "kernel loss 64": lambda: kernel_loss(64),
    "kernel loss 64, half objects": lambda: kernel_loss(64, 0.5),
    "kernel loss 64, bfloat16": lambda: kernel_loss(64, 0.06, "bfloat16"),
    "kernel loss 64, value": lambda: kernel_loss(64, gradient=False),
    "kernel loss 512": lambda: kernel_loss(512),
    "kernel iou": lambda: kernel_iou(False),
    "kernel iou gradient": lambda: kernel_iou(True),
    "kernel nms": kernel_nms,
    "op loss 64": lambda: op_loss(64),
    "op loss 1": lambda: op_loss(1),
    "op iou": op_iou,
    "op nms": op_nms,
}


# ----------------------------------------------------------------------------------- the process


def slowed(run, share):
    """`run`, and then nothing for `share` of its own time: a planted slowdown."""
    run()
    pause = min(_timed(run, 10) for _ in range(20)) * share

    def slow():
        run()
        end = time.perf_counter() + pause
        while time.perf_counter() < end:
            pass

    return slow


def _timed(run, calls):
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


class Asked:
    """A benchmark that is asked for its time."""

    def __init__(self, run):
        self._run = run
        for _ in range(3):
            run()
        least = min(_timed(run, 1) for _ in range(5))
        self._calls = max(1, math.ceil(BURST / least))

    def seconds(self):
        """Of a call: the least of some bursts, behind one that is not counted."""
        _timed(self._run, self._calls)
        return min(_timed(self._run, self._calls) for _ in range(BURSTS))


def main(names, slow_down):
    """Serves the benchmarks: a line of JSON for each line that is read, and one to begin with."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # nothing that a library prints is an answer
    import yolov1

    asked, missing = {}, {}
    for name in names:
        try:
            run = BENCHMARKS[name]()
            asked[name] = Asked(slowed(run, slow_down) if slow_down else run)
        except Exception as error:  # another revision may not have it
            missing[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    gc.collect()
    gc.disable()
    print(json.dumps({"from": yolov1.__file__, "missing": missing}), file=answers)
    for line in sys.stdin:
        print(json.dumps(asked[line.strip()].seconds()), file=answers)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), float(sys.argv[2]))
