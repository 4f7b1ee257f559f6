"""Several processes that train together, on loopback."""

import json
import os
import signal
import time

import numpy as np
import pytest

from tests.training.small_runs import TINY, final_state, finish, rows, start
from yolov1.training import RunDirectory, read_workload

pytestmark = pytest.mark.slow
FLAGS = {"model_options": "width=0.34,synchronized=true", "eval_every": 0, "epochs": 2}


def free_ports(count):
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_together(path, count, of_worker=(), **values):
    """Workers that are given the same flags, but for those of `of_worker`, by its index."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(count)]
    cluster = {"cluster": {"worker": workers}}
    return [
        start(
            path,
            env={"TF_CONFIG": json.dumps(cluster | {"task": {"type": "worker", "index": k}})},
            strategy="multi_worker",
            **values | dict(of_worker).get(k, {}),
        )
        for k in range(count)
    ]


def ended(processes) -> list[tuple[int, str]]:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [(p.returncode, output) for p, output in zip(processes, outputs, strict=True)]


def wait_for_step(path, step):
    while RunDirectory(path).steps < step:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A run of one process."""
    path = tmp_path_factory.mktemp("one") / "run"
    finish(start(path, **FLAGS))
    return path


def assert_close(path, other):
    """But for the order of sums over the images of a step."""
    a, b = rows(path), rows(other)
    losses = [[float(row["loss"]) for row in found] for found in (a, b)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_tasks_of_slurm_equal_one(one, tmp_path):
    """Two tasks as srun starts them, on one machine."""
    of_step = {
        **{"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2"},
        **{"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": "2"},
        **{"SLURMD_NODENAME": "localhost", "TF_CONFIG": ""},
    }
    ranks = [{"SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)} for k in range(2)]
    flags = FLAGS | {"strategy": "multi_worker"}
    for process in [start(tmp_path, env=of_step | rank, **flags) for rank in ranks]:
        finish(process)
    assert_close(one, tmp_path)
    assert (tmp_path / "checkpoints" / "worker1").exists()


def test_two_processes_equal_one(one, tmp_path):
    together = start_together(tmp_path, 2, **FLAGS, capture=tmp_path / "c.npz", capture_steps="1")
    for process in together:
        finish(process)
    ((predictions, targets),) = read_workload(tmp_path / "c.npz").steps.values()
    assert len(predictions) == len(targets) == TINY["batch_size"] // 2  # the first worker's
    assert_close(one, tmp_path)
    # What any of them wrote is what all have.
    first, second = (final_state(tmp_path, f"checkpoints/{name}last") for name in ("", "worker1/"))
    for name in (n for n in first if "best" not in n):  # the first one evaluates
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("told", [0, 1])
def test_sigterm_of_one_stops_all_and_more_or_fewer_go_on(tmp_path, told):
    """Both end after the same step; four and then one finish what they began."""
    path = tmp_path / "run"
    flags = FLAGS | {"epochs": 40}
    together = start_together(path, 2, **flags, checkpoint_minutes=0)
    wait_for_step(path, 3)
    together[told].send_signal(signal.SIGTERM)
    for code, output in ended(together):
        assert code == 143 and "Terminated. Go on with" in output, output
    steps = RunDirectory(path).steps
    assert 3 <= steps < 100
    states = [final_state(path, f"checkpoints/{name}last") for name in ("", "worker1/")]
    assert states[0]["progress/step/.ATTRIBUTES/VARIABLE_VALUE"] == steps
    assert states[1]["progress/step/.ATTRIBUTES/VARIABLE_VALUE"] == steps
    together = start_together(path, 4, **flags, checkpoint_minutes=0, resume="true")
    wait_for_step(path, steps + 3)
    together[told].send_signal(signal.SIGTERM)
    assert [code for code, _ in ended(together)] == [143] * 4
    finish(start(path, **flags, strategy="one", resume="true"))
    straight = tmp_path / "straight"
    finish(start(straight, **flags))
    assert_close(path, straight)


def test_workers_that_differ_are_refused_before_the_first_step(tmp_path):
    of_worker = {1: {"learning_rate": 0.5, "dataset": "shapes:count=24"}}
    for code, output in ended(start_together(tmp_path, 2, of_worker, **FLAGS)):
        assert code == 1, output
        assert "workers differ from worker 0 in the configuration (worker 1)" in output
        assert "the data (worker 1)" in output and "the program" not in output
    assert not RunDirectory(tmp_path).has_checkpoint


def test_a_worker_that_is_not_reached_ends_the_other_and_both_go_on(tmp_path):
    """Stopped, it is what a network is that is cut: TensorFlow waits ten seconds for it."""
    path, straight = tmp_path / "run", tmp_path / "straight"
    flags = FLAGS | {"epochs": 8, "checkpoint_minutes": 0}
    together = start_together(path, 2, **flags)
    wait_for_step(path, 3)
    together[1].send_signal(signal.SIGSTOP)
    output = together[0].communicate(timeout=120)[0]
    assert together[0].returncode == 1 and "stopped sending heartbeats" in output
    together[1].kill()
    together[1].communicate()
    assert 3 <= RunDirectory(path).steps < 20
    for process in start_together(path, 2, **flags, resume="true"):
        finish(process)
    finish(start(straight, **flags))
    assert_close(path, straight)
