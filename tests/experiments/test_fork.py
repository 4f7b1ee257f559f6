"""Checkpoints that stay, digests, and runs that go on from a step of another run."""

import json
import shutil

import pytest

from tests.training.small_runs import assert_same_bits, final_state, rows
from yolov1.training import RunDirectory, WrongRun, read_digests
from yolov1.training.digests import digest_of_weights


def names(folder):
    return sorted(path.name for path in folder.glob("*.index"))


def digests(run):
    return read_digests(RunDirectory(run))


def flags_of(run, model):
    """The flags with which a run is trained again, without what looks at it."""
    values = json.loads((run / "config.json").read_text())["config"] | {"model": model}
    left = ("keep_every", "digests", "output_dir", "resume", "task")
    return [f"--{name}={value}" for name, value in values.items() if name not in left]


@pytest.fixture(scope="module")
def fork(no_report, call_experiment, kept_run, tmp_path_factory):
    """Forks the run at step 4, and expects it to end well."""

    def call(*arguments, at=4):
        path = tmp_path_factory.mktemp("fork") / "run"
        done = call_experiment(
            "train", f"--fork={kept_run}@{at}", f"--output_dir={path}", *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return path, done.stdout

    return call


@pytest.mark.slow
def test_what_is_kept_changes_no_bit_and_says_all(
    no_report, kept_run, small_network, call_experiment, tmp_path
):
    assert names(kept_run / "checkpoints" / "kept") == ["ckpt-4.index", "ckpt-8.index"]
    found = digests(kept_run)
    assert [row["step"] for row in found] == ["0", "3", "6", "9", "10"]
    assert len({row["weights"] for row in found}) == 5 and found[-1]["loss"] == ""
    plain = call_experiment(
        "train", *flags_of(kept_run, small_network), f"--output_dir={tmp_path / 'plain'}"
    )
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert_same_bits(final_state(kept_run), final_state(tmp_path / "plain"))
    assert rows(kept_run) == rows(tmp_path / "plain")
    assert not (tmp_path / "plain" / "checkpoints" / "kept").exists()
    assert not (tmp_path / "plain" / "digests.csv").exists()


def test_the_loss_of_a_row_is_exact(kept_run):
    """The mean of the rows of an epoch's steps is what metrics.csv has: here of one step alone."""
    last = digests(kept_run)[3]
    terms = [float(last[name]) for name in ("xy", "wh", "object", "no_object", "class")]
    assert float(last["loss"]) == pytest.approx(sum(terms), rel=1e-6)
    assert all(repr(float(text)) == text for text in list(last.values())[2:])


def test_a_fork_without_a_change_is_the_run(kept_run, fork):
    """Also where a supervisor (or a study) always says --resume."""
    path, output = fork("--resume")
    assert "--fork:" not in output
    assert_same_bits(final_state(kept_run), final_state(path))
    assert rows(kept_run) == rows(path)
    assert digests(kept_run) == digests(path)
    assert names(path / "checkpoints" / "kept") == ["ckpt-4.index", "ckpt-8.index"]
    assert (path / "summary.json").exists() and (path / "checkpoints" / "best").exists()
    config = json.loads((path / "config.json").read_text())
    assert config["forked"] == {"run": str(kept_run), "step": 4, "changed": {}}


@pytest.mark.slow
def test_a_fork_with_a_change(kept_run, fork, call_experiment):
    """It is the run up to the step, has another loss from there on, and can be resumed."""
    path, output = fork("--semantics_options=weight_no_object=2", "--digests=1", "--epochs=3")
    before = json.loads((kept_run / "config.json").read_text())["config"]["semantics_options"]
    assert f"--fork: semantics_options {before!r} -> 'weight_no_object=2'\n" in output
    assert "--fork: epochs 4 -> 3\n" in output
    config = json.loads((path / "config.json").read_text())
    changed = {"semantics_options": [before, "weight_no_object=2"], "epochs": [4, 3]}
    changed |= {"digests": [3, 1]}
    assert config["forked"]["changed"] == changed
    assert rows(path)[0] == rows(kept_run)[0]
    own, forked = digests(kept_run), {row["step"]: row for row in digests(path)}
    assert own[0] == forked["0"] and own[1] == forked["3"] and "1" not in forked
    assert forked["6"]["weights"] != own[2]["weights"]
    resume = call_experiment(  # all flags again, as a supervisor does
        *("train", f"--output_dir={path}", "--resume", "--epochs=4", f"--fork={kept_run}@4"),
        *("--semantics_options=weight_no_object=2", "--digests=1"),
    )
    assert resume.returncode == 0, resume.stdout + resume.stderr
    config = json.loads((path / "config.json").read_text())
    assert config["forked"]["changed"] == changed and config["resumed"][-1]["step"] == 8
    assert [RunDirectory(path).config_at(step).epochs for step in (7, 8)] == [3, 4]


@pytest.mark.parametrize(
    ("flags", "step", "says"),
    [
        ((), 5, "has no checkpoint of step 5, expected one of 4, 8, 10"),
        (("--batch_size=4",), 4, "--fork goes on with the other run's --batch_size=8, got 4"),
        (("--seed=1",), 4, "the other run's --seed=0, got 1"),
        (("--model=fast",), 4, "the other run's --model=darknet:network.cfg, got 'fast'"),
        (("--ema=0",), 4, "the other run's --ema=0.9, got 0.0"),
        (("--optimizer=sgd",), 4, "the other run's --optimizer=adamw, got 'sgd'"),
        (("--dataset=shapes:count=21",), 4, "--fork: the train data is not what the run started"),
        (("--epochs=1",), 4, "has done 4 steps, and --epochs=1 would be 2"),
        # Of the other run, whose outputs are linear: neighbours go with that, a cross-entropy not.
        (("--neighbours", "--epochs=1"), 4, "has done 4 steps, and --epochs=1 would be 2"),
        (("--semantics_options=class_loss=cross_entropy",), 4, "by a softmax of classes with"),
        (("--learning_rate=-1",), 4, "--learning_rate must be positive"),
        (("--fork=nowhere",), 4, "--fork must be RUN@STEP"),
        (("--fork=nowhere@3",), 4, "nowhere holds no run"),
        (("--init=elsewhere",), 4, "goes on with the weights of its checkpoint: leave --init out"),
    ],
)
def test_what_a_fork_refuses(call_experiment, kept_run, tmp_path, flags, step, says):
    done = call_experiment(
        "train", f"--fork={kept_run}@{step}", f"--output_dir={tmp_path / 'run'}", *flags
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert says in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_was_not_trained_here_cannot_be_forked(call_experiment, kept_run, tmp_path):
    """Weights alone, as of step 0: the training would begin with others."""
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(kept_run / "config.json", tmp_path)
    (tmp_path / "darknet.json").write_text("{}")
    done = call_experiment("train", f"--fork={tmp_path}@0", f"--output_dir={tmp_path / 'run'}")
    assert done.returncode == 1 and f"with --init={tmp_path}" in done.stderr


def back_at_step_4(kept_run, path):
    """A copy of the run whose newest checkpoint is that of step 4."""
    shutil.copytree(kept_run, path)
    last = path / "checkpoints" / "last"
    shutil.rmtree(last)
    shutil.copytree(path / "checkpoints" / "kept", last)
    for file in last.glob("ckpt-8.*"):
        file.unlink()
    (last / "checkpoint").write_text('model_checkpoint_path: "ckpt-4"\n')
    return path


@pytest.mark.slow
def test_a_resumed_run_drops_what_it_does_again(call_experiment, kept_run, tmp_path):
    path = back_at_step_4(kept_run, tmp_path / "run")
    done = call_experiment("train", f"--output_dir={path}", "--resume", "--epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(path / "checkpoints" / "kept") == ["ckpt-4.index"]
    assert [row["step"] for row in digests(path)] == ["0", "3", "5"]
    model = RunDirectory(path)
    assert digests(path)[1] == digests(kept_run)[1] and model.steps == 5


def test_a_resumed_run_ends_with_the_same_bits(no_report, call_experiment, kept_run, tmp_path):
    path = back_at_step_4(kept_run, tmp_path / "run")
    done = call_experiment("train", f"--output_dir={path}", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(path / "checkpoints" / "kept") == ["ckpt-4.index", "ckpt-8.index"]
    assert [row["step"] for row in digests(path)] == ["0", "3", "6", "9", "10"]
    assert digests(path) == digests(kept_run) and RunDirectory(path).steps == 10
    assert_same_bits(final_state(kept_run), final_state(path))
    assert rows(kept_run) == rows(path)


def test_a_row_that_was_cut_is_no_row(kept_run, tmp_path):
    file, whole = tmp_path / "digests.csv", (kept_run / "digests.csv").read_bytes()
    file.write_bytes(whole[:-5])
    assert digests(tmp_path) == digests(kept_run)[:-1]
    file.write_bytes(whole.replace(b"\r\n6,", b"\r\n"))
    with pytest.raises(WrongRun, match="Take it away"):
        digests(tmp_path)


def test_the_digest_is_of_every_variable():
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()]
        + [keras.layers.Dropout(0.5)]
    )
    before = digest_of_weights(model)
    assert digest_of_weights(model) == before
    for variable in model.variables:
        kept = variable.numpy()
        variable.assign(kept + 1)
        assert digest_of_weights(model) != before, variable.path
        variable.assign(kept)
    assert digest_of_weights(model) == before and len(model.variables) == 7
