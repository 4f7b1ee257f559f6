"""``--recipe``: it is the long command; flags that are given, and files that they name, win."""

import json
import re
import shlex

import pytest
from absl import app
from absl import flags as absl_flags

from experiments.lib import flags as experiment_flags
from experiments.lib import recipes, replays, trials
from tests.shared import ROOT
from yolov1 import models
from yolov1.studies import parts, plan
from yolov1.training import TrainConfig, parse_options

SIZE = ("--image_size=32", "--S=2", "--batch_size=4", "--subdivisions=1", "--epochs=1")
WINDOW = "--augment_options=scale=0.3,min_visible=0.6"
TINY = (*SIZE, "--dataset=shapes:count=4", "--eval_every=0", "--warmup_epochs=0.5")


def test_a_recipe_is_its_long_command():
    """What docs/detectors.md came to, and the paper's section 2.2."""
    long = {
        "small_data": "--model=pyramid --image_size=320 --S=40 --B=1 "
        "--activations=softmax,xy=linear --neighbours --semantics_options=box=ciou,weight_xy=2.5,"
        "confidence_loss=cross_entropy,class_loss=cross_entropy --augment=dihedral "
        "--augment_options=min_visible=0.6 --suppression=linear --epochs=130 --warmup_epochs=8",
        "paper": "--model=paper --activations=linear --image_size=448 --batch_size=64 "
        "--epochs=135 --schedule=paper --warmup_epochs=5 --optimizer=sgd --learning_rate=1e-2 "
        "--weight_decay=5e-4 --clip_norm=0 --ema=0",
        "darknet": "--optimizer=darknet --batch_size=64 --subdivisions=8 --clip_norm=0 --ema=0",
        "laptop": "",
    }
    assert set(long) == set(recipes.RECIPES)
    for name, words in long.items():
        config = trials.config_of([f"--recipe={name}"])
        assert config == trials.config_of(words.split()), name
        assert json.dumps(config.to_dict()) == json.dumps(trials.config_of(words.split()).to_dict())
    assert trials.config_of(["--recipe=laptop"]) == TrainConfig()


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_a_configuration(name):
    recipe = recipes.RECIPES[name]
    config = TrainConfig(**recipe.flags)
    models.check_options(config.model, parse_options(config.model_options))
    for flag, value in recipe.flags.items():  # as a flag would be read
        assert type(value) is type(TrainConfig.__dataclass_fields__[flag].default), flag
        assert value != TrainConfig.__dataclass_fields__[flag].default, flag
    assert recipe.what.endswith(".")
    words = shlex.split(recipes.text(name)) if recipe.flags else []
    assert trials.config_of(words) == config


def test_the_page_has_the_table():
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (none|`--.*`) \|$", page, flags=re.MULTILINE))
    assert rows.keys() == recipes.RECIPES.keys()
    for name, words in rows.items():
        words = shlex.split(words.strip("`").replace("none", ""))
        config = TrainConfig(**recipes.RECIPES[name].flags)
        assert trials.config_of(words) == config and len(words) == len(recipes.RECIPES[name].flags)
    printed = f"    recipe small_data: {recipes.text('small_data')}\n"
    assert printed + "      in place of its own: --epochs=100\n" in page


def test_flags_that_are_given_win(tmp_path):
    config = trials.config_of(["--S=10", "--recipe=small_data", "--image_size=320", "--epochs=3"])
    expected = TrainConfig(**recipes.RECIPES["small_data"].flags | {"S": 10, "epochs": 3})
    assert config == expected
    values = trials.parse(["--S=10", "--recipe=small_data", "--image_size=320"])
    config = experiment_flags.config_from_flags(flag_values=values)
    left = recipes.RECIPES["small_data"].flags.keys() - {"S", "image_size"}
    assert recipes.given(config, values) == dict.fromkeys(left, "recipe")
    # A size for a try wins too, and is none of the recipe's.
    values = trials.parse(["--recipe=paper", "--debug"])
    config = experiment_flags.config_from_flags(flag_values=values)
    assert (config.epochs, config.image_size, config.optimizer) == (2, 64, "sgd")
    assert not {"epochs", "image_size"} & set(recipes.given(config, values))


def test_a_file_that_a_flag_names_wins(small_network):
    """As the flag itself does: nobody has to take the recipe's values back."""
    words = ["--recipe=small_data", f"--model={small_network}"]
    values = trials.parse(words)
    config = experiment_flags.config_from_flags(flag_values=values)
    assert (config.S, config.B, config.image_size, config.activations) == (2, 2, 32, "linear")
    assert (config.semantics, config.augment, config.epochs) == ("darknet", "dihedral", 130)
    assert "cross_entropy" not in config.semantics_options
    own = {"neighbours", "augment", "augment_options", "suppression", "epochs", "warmup_epochs"}
    assert set(recipes.given(config, values)) == own
    config = trials.config_of(["--recipe=paper", f"--schedule={small_network}"])
    assert (config.learning_rate, config.warmup_epochs, config.optimizer) == (0.001, 0.0, "sgd")
    # By hand it is refused as ever.
    with pytest.raises(app.UsageError, match="--S must be 2, as the cfg file says, got 40"):
        trials.config_of([*words, "--S=40"])
    # The documents' command for a cfg file.
    files = [f"--{name}={small_network}" for name in ("model", "schedule", "augment")]
    long = "--optimizer=darknet --batch_size=64 --subdivisions=8 --clip_norm=0 --ema=0".split()
    assert trials.config_of(["--recipe=darknet", *files]) == trials.config_of([*long, *files])


def test_an_unknown_recipe_is_refused_with_the_list(call_experiment, tmp_path):
    done = call_experiment("train", "--recipe=pepper", f"--output_dir={tmp_path / 'run'}")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert f"--recipe=pepper: value should be one of <{'|'.join(recipes.RECIPES)}>" in said
    assert not (tmp_path / "run").exists()


def test_help_says_what_each_is_for(call_experiment):
    said = " ".join(call_experiment("train", "--help").stdout.split())
    for name, recipe in recipes.RECIPES.items():
        assert f"{name}: {recipe.what}" in said


@pytest.fixture(scope="module")
def started(call_experiment, tmp_path_factory):
    """A run of the recipe for small data, in sizes of a test, that keeps a checkpoint; numbers of
    its augmentation are changed."""
    path = tmp_path_factory.mktemp("started") / "run"
    done = call_experiment(
        *("train", "--recipe=small_data", f"--output_dir={path}", *TINY, "--keep_every=1"),
        *(WINDOW, "--digests=1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path, done.stdout


@pytest.mark.slow
def test_it_is_printed_and_kept(started):
    path, said = started
    assert said.startswith(
        f"recipe small_data: {recipes.text('small_data')}\n"
        "  in place of its own: --image_size=32 --S=2 --augment_options=scale=0.3,min_visible=0.6 "
        "--epochs=1 --warmup_epochs=0.5\n"
    )
    kept = json.loads((path / "config.json").read_text())
    assert kept["recipe"] == "small_data" and "recipe" not in kept["config"]
    assert kept["config"]["model"] == "pyramid" and kept["config"]["epochs"] == 1
    assert "small_data" in (path / "report.html").read_text()


@pytest.mark.slow
def test_the_flags_of_a_run_stand(started, call_experiment):
    """A resumed one takes the same command again, and no other recipe."""
    path, _ = started
    again = ("train", f"--output_dir={path}", "--resume")
    done = call_experiment(*again, "--recipe=small_data", *TINY, WINDOW)
    assert done.returncode == 0, done.stdout + done.stderr
    before = json.loads((path / "config.json").read_text())
    done = call_experiment(*again, "--recipe=paper", *TINY, WINDOW)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--resume goes on with the run's own --model=pyramid, got 'paper'" in done.stderr
    assert "Leave --recipe out" in done.stderr
    assert json.loads((path / "config.json").read_text()) == before
    assert call_experiment(*again).returncode == 0
    assert json.loads((path / "config.json").read_text())["recipe"] == "small_data"


@pytest.mark.slow
def test_a_fork_changes_what_it_may(started, tmp_path):
    path, _ = started
    said = []
    values = trials.parse([f"--fork={path}@1", "--recipe=small_data", "--augment=none"])
    # The sizes of the test are other than the recipe's.
    config = experiment_flags.config_from_flags(flag_values=values)
    own = recipes.given(config, values)
    assert {"S", "epochs"} <= set(own)
    with pytest.raises(experiment_flags.UserError, match="Leave --recipe out, or start a run"):
        experiment_flags.forked_config(config, own, say=said.append)
    with pytest.raises(experiment_flags.UserError, match="other run's --S=2, got 40"):
        trials.config_of([f"--fork={path}@1", "--recipe=small_data", "--image_size=32"])
    words = [f"--fork={path}@1", "--recipe=small_data", "--image_size=32", "--S=2"]
    assert trials.config_of(words).epochs == 130 and trials.config_of(words).augment == "dihedral"


@pytest.mark.slow
def test_a_fork_changes_numbers_of_the_augmentation(started, call_experiment, tmp_path):
    path, _ = started
    fork = ("train", f"--fork={path}@1", f"--output_dir={tmp_path / 'fork'}")
    for options, says in (
        ("scale=high", "--augment_options: scale must be a number, got 'high'"),
        ("jitter=0.1", "Augmentation: jitter must be 0 beside scale=0.2 and translate=0.2"),
    ):
        done = call_experiment(*fork, f"--augment_options={options}")
        assert done.returncode == 1 and says in done.stdout + done.stderr
        assert not (tmp_path / "fork").exists()
    done = call_experiment(*fork, "--augment_options=scale=0.1", "--epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    before = "scale=0.3,min_visible=0.6"
    assert f"--fork: augment_options {before!r} -> 'scale=0.1'\n" in done.stdout
    kept = json.loads((tmp_path / "fork" / "config.json").read_text())
    assert kept["forked"]["changed"]["augment_options"] == [before, "scale=0.1"]
    resume = ("train", f"--output_dir={tmp_path / 'fork'}", "--resume")
    done = call_experiment(*resume, "--augment_options=scale=0.4")
    assert done.returncode == 1 and "own --augment_options=scale=0.1, got 'scale=0.4" in done.stderr
    # Where they part is told, and which flag it is.
    origin = json.loads((path / "config.json").read_text())
    found = replays.changes(origin, kept)
    assert f"--augment_options: {before!r} in A, 'scale=0.1' in B" in found


@pytest.mark.slow
def test_a_replay_has_the_numbers_of_the_run(started, call_experiment, tmp_path):
    path, _ = started
    done = call_experiment(
        *("replay", f"--checkpoint={path}", "--step=0", f"--output_dir={tmp_path}", "--pictures=0")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["proof"]["equal"]
    assert "This is the run's step, to the bit" in done.stdout


def test_a_run_from_before_a_flag_does_not_differ_by_it():
    one, other = ({"config": TrainConfig().to_dict(), "environment": {}} for _ in range(2))
    del one["config"]["augment_options"], other["config"]["semantics_options"]
    same = ["Their flags and their environments are the same."]
    assert replays.changes(one, other) == replays.changes(other, one) == same


@pytest.mark.slow
def test_every_recipe_starts(call_experiment, tmp_path):
    """The smallest sizes, and for the paper's network a thin one."""
    for name, more in {
        "laptop": (),
        "darknet": (),
        "paper": ("--image_size=64", "--S=1", "--model_options=width=0.02"),
    }.items():
        path = tmp_path / name
        done = call_experiment(
            "train", f"--recipe={name}", *TINY, *more, f"--output_dir={path}", "--clip_norm=1"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(f"recipe {name}: {recipes.text(name)}\n")
        config = json.loads((path / "config.json").read_text())["config"]
        for flag, value in recipes.RECIPES[name].flags.items():
            given = any(word.startswith(f"--{flag}=") for word in (*TINY, *more, "--clip_norm=1"))
            assert given or config[flag] == value, flag


@pytest.mark.slow
def test_ten_images_by_heart_take_the_network_of_a_recipe(call_experiment, tmp_path):
    done = call_experiment(
        *("overfit_one_batch", "--recipe=paper", "--model=laptop", "--image_size=32", "--S=2"),
        *("--dataset=shapes:count=4", "--images=2", "--steps=2", f"--output_dir={tmp_path}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in place of its own: --model=laptop --image_size=32\n" in done.stdout
    assert "not of this program: --batch_size --epochs --schedule --warmup_epochs" in done.stdout


def test_a_rate_is_one_of_its_optimizer():
    """A program that chooses the optimizer itself has its own; one without the flag, no recipe."""
    values = absl_flags.FlagValues()
    experiment_flags.define(names=("model", "activations", "learning_rate"), flag_values=values)
    values(["program"])
    assert recipes.named(values) is None and recipes.chosen(values) == {}
    recipes.define(values)
    values(["program", "--recipe=paper"])
    assert recipes.chosen(values) == {"model": "paper", "activations": "linear"}


SMALLER = [word for word in TINY if "warmup" not in word] + ["--model_options=width=0.34"]


def test_trials_of_a_study_differ_by_what_their_recipes_do(tmp_path):
    found = plan.parse_vary("recipe=laptop,small_data")
    jobs = [trials.make_job(tmp_path, v, 0, SMALLER) for v in plan.with_folders(plan.grid(found))]
    trials.require_different(jobs)
    one, other = (job.config.to_dict() for job in jobs)
    differ = {name for name in one if one[name] != other[name]}
    own = recipes.RECIPES["small_data"].flags.keys() - {"S", "image_size", "epochs"}
    assert differ == {*own, "output_dir"}
    stand_for = {name: recipes.text(name) for name in ("laptop", "small_data")}
    rows = [job.trial for job in jobs]
    assert trials.recipes_of(rows, SMALLER) == stand_for
    assert trials.recipes_of([], ["--recipe=paper"]) == {"paper": recipes.text("paper")}
    page = str(parts.environment({"environment": {}, "command": "", "recipes": stand_for}))
    assert "recipe small_data: --model=pyramid" in page
    jobs = [trials.make_job(tmp_path, plan.Variant((), "a"), 0, ["--recipe=small_data"])]
    assert jobs[0].config.epochs == 130 and "--recipe=small_data" in jobs[0].command


@pytest.mark.slow
def test_recipes_of_a_study(call_experiment, tmp_path):
    pytest.importorskip("scipy", reason="the extra study is not installed")
    study = ("study", "--vary=recipe=laptop,small_data", "--seeds=0", f"--output_dir={tmp_path}")
    done = call_experiment(*study, "--", *SMALLER)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["varied"] == ["recipe"] and found["own_losses"]  # small_data has others
    assert [*found["variants"]] == ["recipe=laptop", "recipe=small_data"]
    assert found["recipes"] == {name: recipes.text(name) for name in ("laptop", "small_data")}
    assert recipes.text("small_data") in (tmp_path / "study.html").read_text()
    kept = [tmp_path / name / "seed-0" / "config.json" for name in found["variants"]]
    assert [json.loads(path.read_text())["recipe"] for path in kept] == ["laptop", "small_data"]
    again = call_experiment(*study, "--", *SMALLER)
    assert again.returncode == 0 and "2 trials, 2 of them done" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words", "message"),
    [
        (("--vary=recipe=laptop,x",), (), "value should be one of <laptop|"),
        (("--vary=recipe=laptop,paper",), ("--recipe=paper",), "--recipe is varied, and given"),
        (("--variant=", "--variant=recipe=laptop"), (), "are the same configuration"),
        (("--vary=augment_options=|scale=0.2",), (), "are the same configuration"),
        (("--vary=augment_options=|scale=x",), (), "scale must be a number"),
        (("--vary=augment_options=|scale=2",), (), "scale must be in [0, 1), got 2"),
    ],
)
def test_what_a_study_refuses(call_experiment, tmp_path, arguments, words, message):
    pytest.importorskip("scipy", reason="the extra study is not installed")
    done = call_experiment("study", *arguments, f"--output_dir={tmp_path}", "--", *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert message in done.stdout + done.stderr and not list(tmp_path.glob("**/*.log"))
