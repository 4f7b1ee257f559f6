"""A run without anything, for the others to be held against."""

import pytest

from tests.training.test_loop import run

VALUES = {"epochs": 2, "eval_every": 1}


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "run"
    assert run(path, **VALUES)[0] == 0
    return path
