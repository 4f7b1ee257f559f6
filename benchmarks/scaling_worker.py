"""One process of `bench_scaling`: ``python -m benchmarks.scaling_worker JOB``, with a TF_CONFIG.

It prints a line of JSON: the seconds a step of each provider in each round, and the gradients'
bytes.
"""

import json
import sys
import time

import numpy as np
import tensorflow as tf

from yolov1.training import TrainConfig, strategies
from yolov1.training.run_directory import RunDirectory
from yolov1.training.state import new_state
from yolov1.training.step import make_step

PROVIDERS = ("alone", "together", "sum", "sum_half")
CLASSES = 20


def main(job):
    strategy = strategies.resolve_strategy("multi_worker")
    _, count = strategies.worker(strategy)
    meet = strategies.Agreement(strategy)
    config = TrainConfig(
        model=job["model"], image_size=job["image_size"], batch_size=job["batch_size"]
    )
    local = config.batch_size // count
    grid = config.grid(CLASSES)
    batch = inputs(grid, local)
    one = tf.distribute.get_strategy()
    own = TrainConfig(**config.to_dict() | {"batch_size": local})
    takers = {}
    for name, strategy_of, config_of in (("together", strategy, config), ("alone", one, own)):
        state = new_state(config_of, grid, 1000, RunDirectory("never-written"), strategy_of)
        step = make_step(config_of, grid, state)
        shapes = [variable.shape for variable in state.model.trainable_variables]
        bytes_of_gradients = 4 * sum(int(np.prod(shape)) for shape in shapes)
        takers[name] = taker(step, strategies.to_replicas(strategy_of, batch))
    for name, dtype in (("sum", tf.float32), ("sum_half", tf.bfloat16)):
        takers[name] = summer(strategy, shapes, dtype)
    seconds = {name: [] for name in job["providers"]}
    for turn in range(-1, job["rounds"]):  # the first does not count
        for name in job["providers"][:: 1 if turn % 2 else -1]:
            meet(False)  # all begin at the same time
            start = time.perf_counter()
            for _ in range(job["steps"]):
                takers[name]()
            if turn >= 0:
                seconds[name].append((time.perf_counter() - start) / job["steps"])
    print(json.dumps({"seconds": seconds, "gradient_bytes": bytes_of_gradients}))


def inputs(grid, images: int):
    """Images without pictures, and targets without objects: a step takes as long with them."""
    size = grid.image_size
    rng = np.random.default_rng(0)
    targets = np.zeros((images, grid.S, grid.S, 5 + grid.C), np.float32)
    return tf.constant(rng.random((images, size, size, 3), np.float32)), tf.constant(targets)


def taker(step, batch):
    def take():
        step(*batch)[1].numpy()

    return take


def summer(strategy, shapes, dtype):
    values = [tf.zeros(shape, dtype) for shape in shapes]

    def summed():
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)[0]

    @tf.function(autograph=False)
    def run():
        return strategy.run(summed)

    def take():
        strategy.experimental_local_results(run())[0].numpy()

    return take


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
