"""The TF_CONFIG of a task that SLURM has started."""

import json
import os

import tensorflow as tf

# Of the first task of a machine. Jobs that share one must not meet, nor the system's own ports,
# from 32768 on with Linux: so many ports for a job, and so many jobs until they begin again.
FIRST_PORT, TASKS, JOBS = 20000, 16, 750


def tf_config() -> str | None:
    """What ``srun`` says of its tasks, as TF_CONFIG has it; None where it started none.

    Names of machines and tasks are read by TensorFlow's `SlurmClusterResolver`. It takes the
    machines in the order of the alphabet (n10 before n2), and their ranks in SLURM's; so a task
    looks for itself by name, and does not believe its rank.

    Raises:
        ValueError: the task is not among those that SLURM lists.
    """
    if "SLURM_STEP_NODELIST" not in os.environ:
        return None
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % JOBS * TASKS,
        # It counts tasks by GPUs, of which there may be none; who has which is SLURM's business.
        gpus_per_node=int(os.environ["SLURM_STEP_NUM_TASKS"]),
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    workers = resolver.cluster_spec().as_dict()["worker"]
    here, place = os.environ["SLURMD_NODENAME"], int(os.environ["SLURM_LOCALID"])
    own = [k for k, address in enumerate(workers) if address.rpartition(":")[0] == here]
    if place >= len(own):
        raise ValueError(
            f"SLURM: task {place} of {here} is not among {workers}. Give --ntasks-per-node, the "
            "same for each machine."
        )
    task = {"type": "worker", "index": own[place]}
    return json.dumps({"cluster": {"worker": workers}, "task": task})
