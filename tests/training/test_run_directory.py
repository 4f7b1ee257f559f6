import json
import math

import pytest

from yolov1.grid import GridSpec
from yolov1.training import RunDirectory, TrainConfig, WrongRun, write_json


def test_create_refuses_to_overwrite_and_resumes_only_what_is_there(tmp_path):
    run = RunDirectory(tmp_path / "a" / "run")
    assert run.create(resume=True) is False
    run.write_config(TrainConfig(), GridSpec(C=2), ("a", "b"))
    run.write_metrics([{"epoch": 1, "loss": 2.5}])
    (run / "tensorboard").mkdir()
    (run / "checkpoints" / "best").mkdir(parents=True)
    # Stopped before its first checkpoint: nothing can go on from it, and its figures are not ours.
    assert run.create(resume=False) is False
    assert run.read_metrics() == [] and not (run / "tensorboard").exists()
    assert not (run / "checkpoints").exists()
    run.write_metrics([{"epoch": 1, "loss": 2.5}])
    (run / "checkpoints" / "last").mkdir(parents=True)
    (run / "checkpoints" / "last" / "checkpoint").touch()
    with pytest.raises(FileExistsError, match="already holds a run. Give --resume"):
        run.create(resume=False)
    assert run.create(resume=True) is True and len(run.read_metrics()) == 1


def test_a_resume_adds_its_environment_and_keeps_the_first(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_config(TrainConfig(), GridSpec(C=2), ("a", "b"))
    first = json.loads((tmp_path / "config.json").read_text())
    assert first["resumed"] == [] and first["environment"]["build"]["compiler"]
    resumed = TrainConfig(resume=True, output_dir=str(tmp_path))
    run.write_config(resumed, GridSpec(C=2), ("a", "b"))
    second = json.loads((tmp_path / "config.json").read_text())
    assert second["environment"] == first["environment"] and len(second["resumed"]) == 1


def test_the_configuration_of_a_step_before_a_resume_of_an_earlier_version(tmp_path):
    """Which had a field that is no more, and a switch where there is a choice now."""
    run = RunDirectory(tmp_path)
    run.write_config(TrainConfig(epochs=5), GridSpec(C=2), ("a", "b"))
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    changed = {"epochs": [3, 5], "cache": [False, True], "dropped_later": [1, 2]}
    values["resumed"] = [{"step": 8, "changed": changed}]
    path.write_text(json.dumps(values))
    assert run.config_at(7) == TrainConfig(epochs=3, cache="off")
    assert run.config_at(8) == TrainConfig(epochs=5)


def test_config_round_trip(tmp_path):
    run = RunDirectory(tmp_path)
    config = TrainConfig(S=5, epochs=7, classes="x,y")
    run.write_config(config, GridSpec(S=5, C=2, image_size=96), ("x", "y"), skipped=[("f", "why")])
    assert run.read_config() == (config, GridSpec(S=5, C=2, image_size=96), ("x", "y"))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["skipped"] == [["f", "why"]]
    assert {"tensorflow", "keras", "git_revision", "ops"} <= set(written["environment"])
    assert written["environment"]["onednn"]  # as tests/conftest.py and the experiments ask for


@pytest.mark.parametrize("content", ["", '{"config": {"S"', "[1]", '{"config": {}}', "\0"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WrongRun, match=r"config\.json cannot be used: .*Was it cut"):
        RunDirectory(tmp_path).read_config()


def test_what_is_left_of_a_run_is_not_started_over(tmp_path):
    """Neither the record of the last checkpoint nor its own files alone pass for no run."""
    for k, name in enumerate(("checkpoint", "ckpt-5.index")):
        run = RunDirectory(tmp_path / str(k))
        (run / "checkpoints" / "last").mkdir(parents=True)
        run.write_metrics([{"epoch": 1}])
        (run / "checkpoints" / "last" / name).touch()
        assert run.create(resume=True) and len(run.read_metrics()) == 1


def test_paths_of_people(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/runs/a").path == tmp_path / "runs" / "a"
    (tmp_path / "file").touch()
    for path in ("file", "file/a"):
        with pytest.raises(FileExistsError, match=f"{path} cannot be a folder: it, or .*is a file"):
            RunDirectory(tmp_path / path).create(resume=False)


def test_directory_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run: config.json is missing"):
        RunDirectory(tmp_path).read_config()


def test_metrics_rows_may_differ_in_columns(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_metrics([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5, "map_voc07": 0.5}])
    assert run.read_metrics() == [
        {"epoch": "1", "loss": "2.5", "map_voc07": ""},
        {"epoch": "2", "loss": "1.5", "map_voc07": "0.5"},
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"map": 0.5})
    with pytest.raises(ValueError):
        write_json(path, {"map": math.nan})
    assert json.loads(path.read_text()) == {"map": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_default_name_says_data_and_model():
    run = RunDirectory.for_config(TrainConfig(dataset="voc:/data/blood cells", model="fast"))
    assert run.path.parent.name == "runs"
    assert run.path.name.startswith("blood cells-fast-20")
    run = RunDirectory.for_config(TrainConfig(model="darknet:some/folder/yolov1-tiny.cfg"))
    assert run.path.name.startswith("shapes-darknet-yolov1-tiny-")
    assert run.path.parent.name == "runs"
    run = RunDirectory.for_config(TrainConfig(dataset="voc:/data/" + "猫" * 80 + ":?"))
    assert len(run.path.name.encode()) < 200 and run.path.name.startswith("猫猫")
