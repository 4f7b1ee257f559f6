"""What several tests of the trainer start from."""

import pytest

from tests.training.small_runs import run


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    code, output = run(path)
    assert code == 0, output
    return path, output
