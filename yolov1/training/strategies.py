"""One device, several GPUs, several machines: which strategy, and the batches for each replica."""

import json
import os

import numpy as np
import tensorflow as tf

from yolov1.training import slurm
from yolov1.training.content import digest
from yolov1.training.run_directory import WrongRun

EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def cluster_task(name: str) -> tuple[int, int]:
    """``(index, count)`` of this process among its workers, read from TF_CONFIG alone, which a task
    of SLURM gets here where it is ``multi_worker`` and has none. An empty one is removed.

    It starts nothing of TensorFlow, so it can be asked before anything else.

    Raises:
        ValueError: ``multi_worker`` without TF_CONFIG; one that cannot be read, or does not say
            which of the workers this is; a cluster of other than workers.
    """
    if not os.environ.get("TF_CONFIG"):
        os.environ.pop("TF_CONFIG", None)  # TensorFlow's strategies cannot read an empty one
        if name == "multi_worker" and (of_slurm := slurm.tf_config()):
            os.environ["TF_CONFIG"] = of_slurm
    given = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(given)
        cluster = config.get("cluster", {})
        workers = cluster.get("worker", [])
        index = int(config.get("task", {}).get("index", -1))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG must be JSON such as {EXAMPLE}, got {given!r}.") from error
    if name == "multi_worker" and not workers:
        raise ValueError(
            "--strategy=multi_worker needs a task of SLURM's srun, or the environment variable "
            f"TF_CONFIG, for example {EXAMPLE}."
        )
    if name not in ("auto", "multi_worker") or not workers:
        return 0, 1
    if set(cluster) != {"worker"}:
        raise ValueError(
            f"TF_CONFIG: the cluster must consist of workers alone, got {', '.join(cluster)}. List "
            "every process under 'worker'; worker 0 writes the results."
        )
    if not 0 <= index < len(workers):
        raise ValueError(
            f"TF_CONFIG: task.index must be that of one of the {len(workers)} workers, from 0, as "
            f"in {EXAMPLE}; got {given!r}."
        )
    return index, len(workers)


def resolve_strategy(name: str) -> tf.distribute.Strategy:
    """``one``, ``mirrored``, ``multi_worker``, or ``auto``: what TF_CONFIG and the GPUs suggest.

    Must run before any other use of TensorFlow's devices for ``multi_worker``.

    Raises:
        ValueError: see `cluster_task`.
    """
    _, workers = cluster_task(name)
    if name == "auto":
        # Listing the GPUs would start TensorFlow's devices too early for multi_worker.
        if workers > 1:
            name = "multi_worker"
        else:
            name = "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    return tf.distribute.get_strategy()


def worker(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """``(index, count)`` of this process among those that train together."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return 0, 1
    return resolver.task_id, len(resolver.cluster_spec().as_dict()["worker"])


def to_replicas(strategy: tf.distribute.Strategy, batch):
    """This worker's batch, a tuple of tensors, cut into one consecutive piece for each replica."""
    replicas = strategy.num_replicas_in_sync // worker(strategy)[1]
    if strategy.num_replicas_in_sync == 1:
        return batch
    pieces = [tf.split(tensor, replicas) for tensor in batch]

    def piece(context, k):
        return pieces[k][context.replica_id_in_sync_group % replicas]

    return tuple(
        strategy.experimental_distribute_values_from_function(lambda c, k=k: piece(c, k))
        for k in range(len(pieces))
    )


class Agreement:
    """What one of the workers wants, all of them know between the same two steps.

    Signals and clocks are each worker's own; a worker that stopped or saved alone would leave the
    others waiting for it for ever.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.alone = worker(strategy)[1] == 1

        @tf.function(autograph=False)
        def counted(wishes):
            return strategy.reduce("SUM", strategy.run(tf.identity, (wishes,)), axis=None)

        self._counted = counted

    def __call__(self, *wishes: bool) -> list[bool]:
        """For each wish whether some worker has it; every worker must ask."""
        if self.alone:
            return [*wishes]
        counts = self._counted(tf.constant([float(wish) for wish in wishes])).numpy()
        return [bool(count > 0) for count in counts]


def smallest(strategy: tf.distribute.Strategy, value: int) -> int:
    """The smallest of the workers' values; every worker must ask."""
    if worker(strategy)[1] == 1:
        return value
    return int(_of_all(strategy, [value]).min())


def require_alike(strategy: tf.distribute.Strategy, found: dict[str, str]):
    """Raises `WrongRun` where workers that shall train together have not the same; every worker
    must ask, and all of them raise.

    Args:
        found: what must be alike -> what this worker has, of which digests are compared.
    """
    if worker(strategy)[1] == 1:
        return
    own = [int(digest(text.encode())[:15], 16) for text in found.values()]  # below 2^63
    rows = _of_all(strategy, own)
    others = {
        name: [k for k, row in enumerate(rows) if row[column] != rows[0, column]]
        for column, name in enumerate(found)
    }
    differ = {name: workers for name, workers in others.items() if workers}
    if differ:
        parts = [f"{name} (worker {', '.join(map(str, differ[name]))})" for name in differ]
        here = [f"{name} {found[name]:.80}" for name in differ]
        raise WrongRun(
            f"workers differ from worker 0 in {'; '.join(parts)}. Worker {worker(strategy)[0]} has "
            f"{'; '.join(here)}. Give all of them the same, and start them again."
        )


def _of_all(strategy, values: list[int]) -> np.ndarray:
    """The values of each worker, ``[workers, n]``; every worker must ask."""

    @tf.function(autograph=False)
    def gathered():
        return strategy.gather(strategy.run(lambda: tf.constant([values], tf.int64)), axis=0)

    replicas = strategy.num_replicas_in_sync // worker(strategy)[1]
    return gathered().numpy()[::replicas]
