"""One device, several GPUs, several machines: which strategy, and the batches for each replica."""

import json
import os

import tensorflow as tf


def cluster_task(name: str) -> tuple[int, int]:
    """``(index, count)`` of this process among its workers, read from TF_CONFIG alone.

    It starts nothing of TensorFlow, so it can be asked before anything else.

    Raises:
        ValueError: ``multi_worker`` without TF_CONFIG, or a cluster of other than workers.
    """
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    cluster = config.get("cluster", {})
    workers = cluster.get("worker", [])
    if name == "multi_worker" and not workers:
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, for example "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        )
    if name not in ("auto", "multi_worker") or not workers:
        return 0, 1
    if set(cluster) != {"worker"}:
        raise ValueError(
            f"TF_CONFIG: the cluster must consist of workers alone, got {', '.join(cluster)}. List "
            "every process under 'worker'; worker 0 writes the results."
        )
    return int(config["task"]["index"]), len(workers)


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


def smallest(strategy: tf.distribute.Strategy, value: int) -> int:
    """The smallest of the workers' values; every worker must ask."""
    if worker(strategy)[1] == 1:
        return value
    values = strategy.run(lambda: tf.constant([value], tf.int64))
    return int(tf.reduce_min(strategy.gather(values, axis=0)))
