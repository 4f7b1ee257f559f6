"""A run without anything, and one with all that is tracked."""

import importlib.util

import pytest

from tests.small_cfg import CFG
from tests.training.small_runs import run

HAS_MLFLOW = all(map(importlib.util.find_spec, ("mlflow", "sqlalchemy", "alembic")))


@pytest.fixture(scope="session")
def values(tmp_path_factory):
    """The flags of these runs."""
    path = tmp_path_factory.mktemp("cfg") / "small.cfg"
    path.write_text(CFG)
    return {"model": f"darknet:{path}", "model_options": "", "epochs": 2, "eval_every": 1}


@pytest.fixture(scope="session")
def plain(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "run"
    assert run(path, **values)[0] == 0
    return path


@pytest.fixture(scope="session")
def tracked(values, tmp_path_factory):
    """(folder of the run ``run [0]*`` and, where MLflow is installed, of its files; what was said):
    the run's name is a pattern."""
    folder = tmp_path_factory.mktemp("tracked")
    more = {"track": f"mlflow:{folder}"} if HAS_MLFLOW else {}
    code, said = run(folder / "run [0]*", histograms=True, **more, **values)
    assert code == 0 and "warning" not in said, said
    return folder, said
