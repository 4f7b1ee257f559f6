"""What TF_CONFIG says, and what it is told when it says nothing."""

import json

import pytest

from yolov1.training import cluster_task

TWO = {"cluster": {"worker": ["a:1", "b:1"]}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{'cluster'", "TF_CONFIG must be JSON such as .*got \"{'cluster'\""),
        ("[1]", "TF_CONFIG must be JSON such as"),
        (json.dumps(TWO), "task.index must be that of one of the 2 workers, from 0"),
        (json.dumps(TWO | {"task": {"index": 2}}), "one of the 2 workers.*got .*2"),
        (json.dumps(TWO | {"task": {"index": "first"}}), "TF_CONFIG must be JSON such as"),
        (
            json.dumps({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"index": 0}}),
            "must consist of workers alone, got chief, worker",
        ),
    ],
)
def test_what_says_not_which_worker_this_is(monkeypatch, given, message):
    monkeypatch.setenv("TF_CONFIG", given)
    for name in ("auto", "multi_worker"):
        with pytest.raises(ValueError, match=message):
            cluster_task(name)


def test_an_index_may_be_text(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO | {"task": {"type": "worker", "index": "1"}}))
    assert cluster_task("auto") == (1, 2) and cluster_task("one") == (0, 1)
