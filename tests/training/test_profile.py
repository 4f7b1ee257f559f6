"""--profile: files for TensorBoard, and a run that is none the wiser."""

import json
import shutil

import pytest

from tests.training.small_runs import assert_same_bits, final_state, run

pytestmark = pytest.mark.usefixtures("no_report")

CONSTANT = {"epochs": 2, "schedule": "constant", "eval_every": 0}  # 5 steps


def profiles(output_dir):
    return sorted((output_dir / "tensorboard" / "plugins" / "profile").glob("*/*.xplane.pb"))


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """What `whole` is, with a profile, in a folder whose name is a pattern."""
    folder = tmp_path_factory.mktemp("profiled")
    code, said = run(folder / "run [0]*", profile="1,3")
    assert code == 0, said
    return folder, said


def test_the_profile_has_the_steps_and_is_named(profiled):
    folder, said = profiled
    (path,) = profiles(folder / "run [0]*")
    # The markers of TensorBoard's overview; the rest of the file is TensorFlow's own.
    content = path.read_bytes()
    assert b"train" in content and b"step_num" in content and b"YoloLoss" in content
    assert f"profile of the steps 1 to 3: {folder / 'run [0]*' / 'tensorboard'}" in said


@pytest.mark.slow
def test_a_run_with_a_profile_ends_with_the_same_bits(profiled, whole):
    folder, _ = profiled
    copy = folder / "copy"  # `tf.train.latest_checkpoint` takes the name for a pattern
    shutil.copytree(folder / "run [0]*", copy)
    assert_same_bits(final_state(whole[0]), final_state(copy))
    assert not (whole[0] / "tensorboard" / "plugins").exists()


@pytest.mark.slow
def test_a_resumed_run_may_have_another(tmp_path):
    path = tmp_path / "run"
    assert run(path, profile="0,1", **CONSTANT)[0] == 0
    code, said = run(path, resume=True, profile="0,1", **CONSTANT | {"epochs": 3})
    assert code == 0 and len(profiles(path)) == 1
    assert "--profile=0,1: the run goes on at step 5; they are done already." in said
    code, said = run(path, resume=True, profile="6,9", **CONSTANT | {"epochs": 4})
    assert code == 0 and "profile of the steps 8 to 9" in said
    assert len(profiles(path)) == 2
    config = json.loads((path / "config.json").read_text())
    assert config["config"]["profile"] == "6,9"
    assert config["resumed"][-1]["changed"]["profile"] == ["0,1", "6,9"]


def test_steps_that_the_run_does_not_have_are_refused(tmp_path):
    code, said = run(tmp_path / "run", profile="5,9", **CONSTANT)
    assert code != 0 and "Traceback" not in said
    assert "--profile=5,9: the run has the steps 0 to 4; give some of them." in said


def test_a_run_that_ends_before_its_steps_says_so(tmp_path, capsys):
    import keras

    from yolov1 import data
    from yolov1.training import RunDirectory, TrainConfig, train

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    config = TrainConfig(
        image_size=32, S=2, batch_size=4, epochs=2, model_options="width=0.34,depth=0", profile="3"
    )
    dataset = data.open("shapes:count=8", image_size=32)
    train(config, dataset, RunDirectory(tmp_path), callbacks=[Stop()])
    assert "--profile=3: the run ended before them; there is no profile." in capsys.readouterr().out
    assert not profiles(tmp_path)


@pytest.mark.slow
def test_a_profile_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
    import tensorflow as tf

    def full():
        raise tf.errors.ResourceExhaustedError(None, None, "no space left on device")

    stop = tf.profiler.experimental.stop
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: (stop(save=False), full()))
    code, said = run(tmp_path / "run", profile="0", **CONSTANT)
    assert code == 0, said
    assert "no profile could be written to" in said and "no space left on device" in said
    assert (tmp_path / "run" / "summary.json").exists()
