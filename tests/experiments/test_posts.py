"""The recipes of the two posts: their modes, and that a run shows what each defect does."""

import csv
import functools
import json

import keras
import numpy as np
import pytest
from absl import flags

from experiments.lib import flags as experiment_flags
from experiments.lib import posts
from tests.shared import ROOT, shared
from yolov1 import models, training
from yolov1.models.posts import AS_PUBLISHED
from yolov1.training import TrainConfig, load_run, parse_options

SMALL = (
    "--image_size=144",
    "--model_options=width=0.03",
    "--batch_size=4",
    "--dataset=shapes:count=16",
)


@pytest.fixture
def config_of(monkeypatch):
    """A function giving the configuration of a post's flags, each call in a flag table of its own.

    (absl has one table a process, which other tests' experiments fill.)
    """
    kinds = ("boolean", "integer", "float", "string", "enum", "list")
    own = {kind: getattr(flags, f"DEFINE_{kind}") for kind in kinds}

    def config(post, *arguments):
        table = flags.FlagValues()
        define = {k: functools.partial(f, flag_values=table) for k, f in own.items()}
        monkeypatch.setattr(flags, "FLAGS", table)
        for kind, function in define.items():
            monkeypatch.setattr(flags, f"DEFINE_{kind}", function)
        by_type = {bool: "boolean", int: "integer", float: "float", str: "string"}
        monkeypatch.setattr(
            experiment_flags, "_DEFINE", {t: define[kind] for t, kind in by_type.items()}
        )
        posts.define(post)
        table(["test", *arguments])
        return posts.config_from_flags(post)

    return config


def test_keras_voc_as_published(config_of):
    config = config_of("keras_voc", "--as_published")
    assert parse_options(config.model_options) == AS_PUBLISHED["keras_voc"]
    assert parse_options(config.semantics_options) == {"factor": 4}  # the sum over a batch of 4
    assert (config.semantics, config.optimizer, config.batch_size) == ("keras_voc", "adam", 4)
    assert config.learning_rates == "0:0.01,75:0.001,105:0.0001" and config.epochs == 135
    assert (config.S, config.B, config.image_size) == (7, 2, 448)
    assert (config.augment, config.weight_decay, config.ema, config.clip_norm) == ("none", 0, 0, 0)
    assert (config.monitor, config.on_collision) == ("val_loss", "first")


def test_tf2_person_as_published(config_of):
    config = config_of("tf2_person", "--as_published")
    assert parse_options(config.model_options) == AS_PUBLISHED["tf2_person"]
    assert config.loss_semantics() == TrainConfig(semantics="tf2_person").loss_semantics()
    assert config.val_targets == "empty"
    assert (config.batch_size, config.on_collision, config.activations) == (1, "last", "softmax")
    assert config.learning_rates == "0:0.01,75:0.001,105:0.0001"


@pytest.mark.parametrize("post", posts.POSTS)
def test_corrected_is_the_papers_loss_with_the_root_of_w_in_it(config_of, post):
    config = config_of(post)
    want = TrainConfig(
        semantics="paper", semantics_options="wh=sqrt_in_loss,no_overlap_fallback=rmse"
    )
    assert config.loss_semantics() == want.loss_semantics()
    assert parse_options(config.model_options) == {"batch_norm": True}
    assert config.learning_rates == "" and config.augment == "paper"


@pytest.mark.parametrize("post", posts.POSTS)
def test_each_defect_changes_something_by_itself(config_of, post):
    corrected, published = config_of(post), config_of(post, "--as_published")
    for name in posts.POSTS[post].defects:
        one = config_of(post, f"--defects={name}")
        if (post, name) != ("tf2_person", "batch_sum"):  # a batch of 16 there, of 1 here
            assert one != corrected, name
        assert one != published, name
    everything = config_of(post, f"--defects={','.join(posts.POSTS[post].defects)}")
    assert everything == published


def test_flags_that_are_given_win(config_of):
    config = config_of(
        "keras_voc", "--as_published", "--batch_size=2", "--model_options=width=0.5,l2=0",
        "--learning_rates=0:1",
    )  # fmt: skip
    assert parse_options(config.semantics_options)["factor"] == 2
    options = parse_options(config.model_options)
    assert options["l2"] == 0 and options["width"] == 0.5 and options["activate_twice"] is True
    assert config.learning_rates == "0:1"
    config = config_of("keras_voc", "--as_published", "--learning_rate=0.5")
    assert (config.learning_rate, config.learning_rates) == (0.5, "")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--root=x", "--defects=abs"], "--defects: no 'abs'; there are activate_twice"),
        (["--root=x", "--as_published", "--defects=rates"], "give it or --defects, not both"),
        ([], "Give --root (see experiments.prepare_voc) or --dataset"),
        (["--root=x", "--dataset=voc:y"], "Give --root"),
        (["--root=x", "--dataset=voc:y", "--resume"], "Give --root"),
        (
            ["--root=x", "--model=laptop", "--as_published"],
            "The defect 'activate_twice' is of the network keras_voc, got --model=laptop",
        ),
        (["--root=x", "--model_options=widht=2"], "'keras_voc' has no option 'widht'"),
        (["--root=x", "--model_options=width=x"], "width of 'keras_voc' must be a number"),
        (["--dataset=shapes:count=4", "--image_size=64"], "image_size must be at least 144, got"),
    ],
)
def test_flags_that_do_not_go_together(call_experiment, tmp_path, arguments, message):
    done = call_experiment("reproduce_keras_voc", "--debug", f"--output_dir={tmp_path}", *arguments)
    assert done.returncode != 0 and message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_another_network_does_not_have_is_not_asked_of_it(config_of):
    config = config_of("tf2_person", "--model=laptop", "--defects=abs_overlap")
    assert config.model_options == "" and config.loss_semantics().iou_overlap == "abs"


def test_the_size_of_debug_is_beside_the_options_that_are_given(config_of):
    config = config_of("tf2_person", "--debug", "--model_options=dropout=0")
    options = parse_options(config.model_options)
    assert options == {"width": 0.05, "batch_norm": True, "dropout": 0}
    config = config_of("tf2_person", "--debug", "--model_options=width=0.1")
    assert parse_options(config.model_options)["width"] == 0.1


def test_a_root_in_the_home_folder_has_the_same_splits(call_experiment, tmp_path, monkeypatch):
    """A shell leaves the ~ of --root=~/voc as it is; VOC of both years would be trained on."""
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / "VOC2007" / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = call_experiment("reproduce_keras_voc", "--root=~/voc", f"--output_dir={tmp_path / 'a'}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"voc:{tmp_path / 'voc'}: no split 'VOC2007/train'" in done.stderr


def metrics(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def voc_runs(call_experiment, tmp_path_factory):
    """mode -> run directory of keras_voc on real images, S=7 and B=2."""
    runs = {}
    for mode in ("published", "corrected"):
        runs[mode] = tmp_path_factory.mktemp("voc") / mode
        done = call_experiment(
            "reproduce_keras_voc", f"--root={shared('data', 'voc2012mini')}", "--epochs=3",
            "--as_published" if mode == "published" else "--noas_published", "--image_size=144",
            "--model_options=width=0.05", f"--output_dir={runs[mode]}",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["published", "corrected"])
def test_keras_voc_to_the_end(voc_runs, mode):
    """The published mode cannot pass the floor of 49 for four images."""
    run = voc_runs[mode]
    rows = metrics(run)
    losses = [float(row["loss"]) for row in rows]
    if mode == "published":
        assert all(loss > 49 for loss in losses) and all(float(r["regularization"]) for r in rows)
    else:
        assert 4 * losses[-1] < 49 and "regularization" not in rows[0]
    assert all(float(row["val_loss"]) > 0 for row in rows)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best_val_loss"] == min(float(row["val_loss"]) for row in rows)
    assert len(summary["ap_per_class"]) == 20
    model, _ = load_run(run, "best")
    loaded = keras.models.load_model(run / "model.keras")
    assert model.count_params() == loaded.count_params()
    assert models.grid_of(loaded).S == 7 and models.grid_of(loaded).B == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["--as_published", pytest.param("--noas_published", marks=pytest.mark.slow)]
)
def test_tf2_person_to_the_end(call_experiment, tmp_path, mode):
    run = tmp_path / "run"
    done = call_experiment(
        "reproduce_tf2_person", f"--dataset=voc:{shared('data', 'voc2012small')}",
        "--classes=person", "--eval_split=val", mode, "--image_size=64", "--batch_size=8",
        "--model_options=width=0.05", "--epochs=2", f"--output_dir={run}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(train): 240 of 480 images have an object" in done.stdout
    rows = metrics(run)
    kept = {path.name for path in (run / "checkpoints").glob("model_*.keras")}
    assert f"model_01-{float(rows[0]['val_loss']):.2f}.keras" in kept
    # The last one written holds the weights that were measured, averaged where there is an average.
    if float(rows[1]["val_loss"]) < float(rows[0]["val_loss"]):
        name = f"model_02-{float(rows[1]['val_loss']):.2f}.keras"
        saved = keras.models.load_model(run / "checkpoints" / name)
        for mine, measured in zip(saved.weights, load_run(run)[0].weights, strict=True):
            np.testing.assert_array_equal(mine, measured)
    assert list(json.loads((run / "summary.json").read_text())["ap_per_class"]) == ["person"]
    if mode == "--as_published":
        # Validated as if the images were empty: half of the squared confidences of 98 boxes.
        model, _ = load_run(run)
        assert float(rows[-1]["class"]) == 0  # softmax over one class
        assert float(rows[-1]["val_loss"]) >= 12.25
        assert model.get_layer("dropout") is model.layers[-2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, places",
    [("reproduce_keras_voc", ("--train_split=train",)), ("reproduce_tf2_person", ())],
)
def test_a_run_goes_on_in_its_own_mode(call_experiment, tmp_path, name, places):
    """With no other flag than the directory; and not in the other mode."""
    run = tmp_path / "run"
    first = call_experiment(
        name, *SMALL, *places, "--as_published", "--epochs=1", f"--output_dir={run}"
    )
    assert first.returncode == 0, first.stdout + first.stderr
    before = json.loads((run / "config.json").read_text())["config"]
    # More than one class, whatever the post.
    assert len(json.loads((run / "summary.json").read_text())["ap_per_class"]) == 6
    done = call_experiment(name, f"--output_dir={run}", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((run / "config.json").read_text())["config"] == before | {"resume": True}
    other = call_experiment(name, f"--output_dir={run}", "--resume", "--defects=activate_twice")
    assert other.returncode != 0 and "--resume goes on with the run's own" in (
        other.stdout + other.stderr
    )
    assert "Leave --defects out" in other.stdout + other.stderr
    other = call_experiment(name, f"--output_dir={run}", "--resume", "--root=elsewhere")
    assert other.returncode != 0
    assert "elsewhere" in other.stderr and "--dataset=KIND:NEW_PATH" in other.stderr


@pytest.mark.slow
def test_files_of_a_start_that_cannot_be_resumed_are_none_of_the_runs(call_experiment, tmp_path):
    """Their val_loss, of another mode perhaps, must not keep the run's own from being written."""
    run = training.RunDirectory(tmp_path / "run")
    run.create(resume=False)
    run.write_metrics([{"epoch": 1, "val_loss": 0.01}])
    stale = run / "checkpoints" / "model_01-0.01.keras"
    stale.parent.mkdir()
    stale.touch()
    done = call_experiment("reproduce_tf2_person", *SMALL, "--epochs=1", f"--output_dir={run.path}")
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (path.name for path in stale.parent.glob("model_*.keras"))
    assert kept == f"model_01-{float(metrics(run.path)[0]['val_loss']):.2f}.keras" != stale.name


@pytest.mark.slow
def test_compare_runs(voc_runs, call_experiment, tmp_path):
    """A loss summed over a batch of 4 and a mean stand on one scale."""
    paths = f"--runs={voc_runs['published']},{voc_runs['corrected']}"
    done = call_experiment(
        "compare_runs", paths, "--images=4", "--floors=49", "--labels=published,other",
        f"--output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "summary.json").read_text())["runs"]
    for column in ("loss", "val_loss"):
        last = {mode: float(metrics(run)[-1][column]) for mode, run in voc_runs.items()}
        assert rows["published"][column] == pytest.approx(last["published"])
        assert rows["other"][column] == pytest.approx(4 * last["corrected"])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    for arguments, message in (
        ((paths, "--labels=x"), "--labels must be 2 names"),
        ((paths, "--labels=x,x"), "--labels must tell the runs apart"),
    ):
        done = call_experiment("compare_runs", *arguments)
        assert done.returncode != 0 and message in done.stdout + done.stderr


def test_the_page_names_every_defect():
    page = (ROOT / "docs" / "reproducing-the-posts.md").read_text()
    for post in posts.POSTS.values():
        for name in post.defects:
            assert f"`{name}`" in page, name


def test_loss_of_the_published_mode_is_the_posts_sum():
    """Four images through `factor=4` and the mean: the golden sum of the post."""
    from yolov1 import ops
    from yolov1.data.targets import from_layout
    from yolov1.grid import GridSpec

    file = np.load(shared("golden", "keras_voc", "seedA_wide.npz"))
    count = len(file["y_true"])
    config = TrainConfig(semantics="keras_voc", semantics_options=f"factor={count}")
    got = ops.yolo_loss(
        file["y_pred"].astype(np.float32),
        from_layout(file["y_true"], GridSpec(), "keras_voc").astype(np.float32),
        grid=GridSpec(),
        semantics=config.loss_semantics(),
        reduction="mean",
    ).loss
    assert float(got) == pytest.approx(float(file["loss"]), rel=2e-5)
