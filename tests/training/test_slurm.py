"""What a task of SLURM makes of its environment."""

import json
import os

import pytest

from yolov1.training import cluster_task, slurm

# Ranks in SLURM's order: 0 and 1 on n2, 2 and 3 on n10, which the alphabet has first.
JOB = {
    **{"SLURM_JOB_ID": "751", "SLURM_STEP_NUM_TASKS": "4"},
    **{"SLURM_STEP_NODELIST": "n[2,10]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
}


def set_task(monkeypatch, rank: int):
    task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % 2)}
    task["SLURMD_NODENAME"] = "n2" if rank < 2 else "n10"
    for name, value in (JOB | task).items():
        monkeypatch.setenv(name, value)


def test_each_task_finds_its_own_address(monkeypatch):
    found = []
    for rank in range(4):
        set_task(monkeypatch, rank)
        config = json.loads(slurm.tf_config())
        workers, task = config["cluster"]["worker"], config["task"]
        assert sorted(workers) == ["n10:20016", "n10:20017", "n2:20016", "n2:20017"]
        assert workers[task["index"]] == f"{'n2' if rank < 2 else 'n10'}:{20016 + rank % 2}"
        found.append(task["index"])
    assert sorted(found) == [0, 1, 2, 3]


def test_only_where_it_is_asked_for(monkeypatch):
    set_task(monkeypatch, 2)
    monkeypatch.setenv("TF_CONFIG", "")
    assert cluster_task("one") == (0, 1) and cluster_task("auto") == (0, 1)
    assert cluster_task("multi_worker")[1] == 4
    # A TF_CONFIG that is given is the one.
    given = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(given))
    assert cluster_task("multi_worker") == (1, 2)


def test_a_task_that_is_not_listed(monkeypatch):
    set_task(monkeypatch, 1)
    monkeypatch.setenv("SLURMD_NODENAME", "n3")
    with pytest.raises(ValueError, match="task 1 of n3 is not among"):
        slurm.tf_config()


def test_without_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    monkeypatch.setenv("TF_CONFIG", "")
    assert slurm.tf_config() is None
    with pytest.raises(ValueError, match="needs a task of SLURM's srun, or the environment"):
        cluster_task("multi_worker")
    assert "TF_CONFIG" not in os.environ, "TensorFlow's strategies cannot read an empty one"
