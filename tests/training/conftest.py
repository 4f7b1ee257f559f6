"""What several tests of the trainer start from."""

import pytest

from tests.training.small_runs import run
from yolov1.reporting.report import write_report


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run that was never interrupted; with its report, also among tests that draw none."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolov1.reporting.write_report", write_report)
        code, output = run(path)
    assert code == 0, output
    return path, output
