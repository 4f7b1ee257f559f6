"""A step once more, to the bit; a loss that is not finite; and where two runs part."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.experiments.test_fork import flags_of
from yolov1 import data
from yolov1.cell_loss import cell_loss
from yolov1.training import (
    RunDirectory,
    TrainConfig,
    read_digests,
    read_step,
)
from yolov1.training.content import digest
from yolov1.training.tasks import TASKS


def contents(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def replayed(kept_run, call_experiment, tmp_path_factory):
    """Step 5 of the run: (folder with the results, what was said); the run is left as it was."""
    folder, before = tmp_path_factory.mktemp("replay"), contents(kept_run)
    done = call_experiment(
        *("replay", f"--checkpoint={kept_run}", "--step=5", "--save", "--pictures=2"),
        f"--output_dir={folder}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(kept_run) == before
    return folder, done.stdout


def test_a_step_is_the_runs_to_the_bit(replayed, kept_run):
    folder, output = replayed
    assert "begins at the checkpoint of step 4: 1 steps to step 5\n" in output
    assert "the run's step, to the bit: the weights before step 6" in output
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["proof"] == {"equal": [4, 6], "differs": []} and summary["base"] == 4
    step = read_step(folder / "replay.npz")
    rows = {row["step"]: row for row in read_digests(RunDirectory(kept_run))}
    assert digest(*step.several("weights_after")) == rows["6"]["weights"]
    way = {row["step"]: row for row in read_digests(RunDirectory(folder))}
    assert list(way) == ["4", "5", "6"] and way["6"]["weights"] == rows["6"]["weights"]
    assert digest(*step.several("weights_before")) == way["5"]["weights"]
    assert float(way["5"]["loss"]) == pytest.approx(step.arrays["terms"].sum(axis=1).mean())
    assert {p.name for p in folder.iterdir()} == {
        *("replay.html", "replay.npz", "summary.json", "digests.csv", "pictures")
    }
    assert len(list((folder / "pictures").iterdir())) == 4


def test_a_step_holds_what_flowed_through_it(replayed):
    step = read_step(replayed[0] / "replay.npz")
    arrays, grid = step.arrays, step.grid
    dataset = data.open("shapes:count=20", split="train", image_size=32)
    batches = data.training_batches(dataset, grid, 8, seed=0, start_step=5, steps=1)
    ((images, targets, indices),) = batches
    for name, value in (("images", images), ("targets", targets), ("indices", indices)):
        np.testing.assert_array_equal(arrays[name], value)
    assert step.about["image_ids"] == [dataset[int(k)].image_id for k in indices]
    semantics = step.config.loss_semantics()
    cells = cell_loss(arrays["predictions"], targets, grid=grid, semantics=semantics)
    np.testing.assert_allclose(arrays["cell_terms"], cells.terms, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(arrays["cell_terms"].sum(1), arrays["terms"], rtol=1e-5, atol=1e-6)
    gradient = cells.gradient.numpy().reshape(arrays["by_predictions"].shape) / 8  # of the mean
    np.testing.assert_allclose(arrays["by_predictions"], gradient, rtol=1e-5, atol=1e-7)
    # That by the last bias is its sum over the images (its outputs are in another order).
    last = arrays["by_predictions"].sum(axis=0).ravel()
    bias = [g for g in step.several("gradients") if g.shape == last.shape][-1]
    np.testing.assert_allclose(np.sort(bias), np.sort(last), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("semantics", ["paper", "darknet", "keras_voc", "tf2_person"])
def test_terms_by_cell_are_the_implementations_own(semantics):
    """A cell alone costs what it costs among others: the probe is the reference's sum by cell."""
    from yolov1.training.replay import cells_of

    config = TrainConfig(semantics=semantics, S=3, image_size=96)
    grid, random = config.grid(4), np.random.default_rng(0)
    predictions = random.random((2, *grid.prediction_shape), np.float32)
    targets = random.random((2, *grid.target_shape), np.float32)
    targets[..., grid.target_object_channel] = random.random((2, 3, 3)) < 0.4
    targets *= targets[..., grid.target_object_channel :][..., :1]
    found = cells_of(config, grid, predictions, targets)
    cells = cell_loss(predictions, targets, grid=grid, semantics=semantics)
    np.testing.assert_allclose(found["cell_terms"], cells.terms, rtol=1e-5, atol=1e-6)


def test_a_file_is_repeated_alone(replayed, kept_run, call_experiment, tmp_path):
    shutil.copy(replayed[0] / "replay.npz", tmp_path / "step.npz")
    done = call_experiment("replay", f"--file={tmp_path / 'step.npz'}", "--pictures=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The same as in the file, to the bit: images, targets, " in done.stdout
    assert "gradients" in done.stdout and (tmp_path / "step" / "replay.html").exists()
    step = read_step(tmp_path / "step.npz")
    step.arrays["terms"][3, 1] += 1
    step.save(tmp_path / "step.npz")
    done = call_experiment("replay", f"--file={tmp_path / 'step.npz'}", "--pictures=0")
    assert done.returncode == 0 and "Not the same as in the file: terms." in done.stdout


def test_what_cannot_be_replayed(kept_run, call_experiment, tmp_path):
    def refused(*arguments):
        done = call_experiment("replay", *arguments, f"--output_dir={tmp_path / 'out'}")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return done.stderr

    run = f"--checkpoint={kept_run}"
    assert "has the steps 0 to 9, got 10" in refused(run, "--step=10")
    assert "is not what" in refused(run, "--step=1", "--dataset=shapes:count=21")
    assert "Give --checkpoint, a run, and --step" in refused(run)
    (tmp_path / "x.npz").write_bytes(b"PK")
    assert "x.npz is " in refused(f"--file={tmp_path / 'x.npz'}")
    copy = tmp_path / "copy"
    shutil.copytree(kept_run, copy)
    config = json.loads((copy / "config.json").read_text())
    config["config"]["fork"] = "elsewhere@4"
    (copy / "config.json").write_text(json.dumps(config))
    assert "begins with step 4 of elsewhere, got 3" in refused(f"--checkpoint={copy}", "--step=3")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_leaves_its_step(small_network, call_experiment, tmp_path):
    """With a rate of 1e30 the first step leaves weights of which nothing can come."""
    run = tmp_path / "run"
    done = call_experiment(
        *("train", f"--output_dir={run}", f"--model={small_network}", "--dataset=shapes:count=16"),
        *("--batch_size=8", "--epochs=4", "--learning_rate=1e30", "--warmup_epochs=0"),
        *("--optimizer=sgd", "--clip_norm=0", "--eval_every=0"),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (file,) = run.glob("nonfinite-*.npz")
    number = int(file.stem.partition("-")[2])
    assert f"not finite at step {number}" in done.stderr
    assert f"python -m experiments.replay --file={file}" in done.stderr
    step = read_step(file)
    assert step.number == number and not np.isfinite(step.arrays["terms"]).all()
    assert file.stat().st_size < 4 << 20 and not step.several("gradients")
    # Of a network that is too large for the file the weights are found in the run beside it.
    step.arrays = {k: v for k, v in step.arrays.items() if not k.startswith("weights_before")}
    step.save(run / "large.npz")
    there = call_experiment("replay", f"--file={run / 'large.npz'}", f"--output_dir={run / 'out'}")
    assert there.returncode == 0, there.stdout + there.stderr
    assert "large.npz has no weights: they are worked out once more" in there.stdout
    terms = [i["terms"] for i in json.loads((run / "out" / "summary.json").read_text())["images"]]
    assert [[str(float(v)) for v in one.values()] for one in terms] == [
        [str(float(v)) for v in row] for row in step.arrays["terms"]
    ]
    # It is repeated alone: nothing of the run is left.
    alone = tmp_path / "alone.npz"
    shutil.move(file, alone)
    shutil.rmtree(run)
    again = call_experiment("replay", f"--file={alone}", f"--output_dir={tmp_path / 'out'}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "The same as in the file, to the bit" in again.stdout
    assert (tmp_path / "out" / "replay.html").exists()


# ----------------------------------------------------------------------------------------- bisect


@pytest.fixture(scope="module")
def planted(replayed, kept_run, small_network, call_experiment, tmp_path_factory):
    """(another run of the same flags, whose implementation of the loss adds a hundredth of a width
    to one cell, of one image, of step 5; the image's place and id and the cell)."""
    step = read_step(replayed[0] / "replay.npz")
    grid = step.grid
    place, cell = map(int, np.argwhere(step.arrays["has_object"])[-1])
    wanted = step.arrays["targets"][place].reshape(grid.cells, -1)[cell]
    path = tmp_path_factory.mktemp("planted") / "run"
    loss_of = TASKS["detect"].loss

    def changed(config, grid):
        loss = loss_of(config, grid)
        if config.output_dir != str(path):
            return loss

        def with_fault(predictions, targets):
            mean, terms = loss(predictions, targets)
            hit = tf.reduce_all(targets == wanted, axis=-1)
            width = tf.where(hit, predictions[..., grid.C + grid.B + 2], 0)
            more = tf.reduce_sum(0.01 * width, axis=[1, 2])
            return mean + tf.reduce_mean(more), terms + more[:, None] * tf.one_hot(1, 5)

        return with_fault

    patch = pytest.MonkeyPatch()
    patch.setitem(TASKS, "detect", TASKS["detect"]._replace(loss=changed))
    flags = (*flags_of(kept_run, small_network), "--keep_every=4", "--digests=3")
    done = call_experiment("train", *flags, f"--output_dir={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    yield path, place, step.about["image_ids"][place], divmod(cell, grid.S)
    patch.undo()


@pytest.mark.slow
def test_a_change_of_one_cell_is_found(planted, kept_run, call_experiment, tmp_path):
    path, place, image, cell = planted
    done = call_experiment("bisect", kept_run, path, f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Their flags and their environments are the same." in done.stdout
    assert "digests: the same up to step 3, others at step 6" in done.stdout
    row, col = cell
    assert "They part at step 5, in the loss of a cell (cell_terms)." in done.stdout
    assert f"First: image {image!r}, cell (row {row}, column {col}), term 'wh': " in done.stdout
    found = json.loads((tmp_path / "bisect.json").read_text())
    assert found["step"] == 5
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["parted"] and summary["step"] == 5 and summary["seconds"] > 0
    what = found["found"]
    names = ("tensor", "image", "place", "cell", "term")
    assert [what[n] for n in names] == ["cell_terms", image, place, [row, col], "wh"]
    assert (what["images"], what["cells"], what["terms"], what["differ"]) == (1, 1, ["wh"], 1)
    assert 0 < abs(what["b"] - what["a"]) < 0.02
    assert what["equal"] == ["indices", "images", "targets", "weights_before", "predictions"]
    drawn = {p.name for p in (tmp_path / "pictures").iterdir()}
    assert drawn == {f"{side}-{kind}.png" for side in "ab" for kind in ("boxes", "loss")}


@pytest.mark.slow
def test_it_is_found_without_digests_too(planted, kept_run, call_experiment, tmp_path):
    """By the checkpoints; and from a step so late that the nearest checkpoints differ already."""
    for k, run in enumerate((kept_run, planted[0])):
        shutil.copytree(run, tmp_path / str(k))
        (tmp_path / str(k) / "digests.csv").unlink()
    # The fault is known by the folder.
    config = tmp_path / "1" / "config.json"
    assert str(planted[0]) in config.read_text()
    for flags, says in (
        ((), "checkpoints: the same up to step 4, others at step 8"),
        (("--until=9",), "step 9\n"),
    ):
        done = call_experiment(
            "bisect", tmp_path / "0", tmp_path / "1", f"--output_dir={tmp_path}", *flags
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert says in done.stdout
        found = json.loads((tmp_path / "bisect.json").read_text())
        assert found["step"] == 5 and found["found"]["cell"] == list(planted[3])


@pytest.mark.slow
def test_a_file_in_place_of_a_run(planted, replayed, kept_run, call_experiment, tmp_path):
    """As of another machine: its step and the digests on its way are all that there is."""
    step = read_step(replayed[0] / "replay.npz")
    step.arrays["by_predictions"][2, 1, 0, 7] += 1
    step.save(tmp_path / "other.npz")
    done = call_experiment("bisect", kept_run, tmp_path / "other.npz", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bisect.json").read_text())["found"]
    assert found["tensor"] == "by_predictions" and found["cell"] == [1, 0]
    assert (
        found["image"] == step.about["image_ids"][2] and found["channel"] == "confidence of box 1"
    )
    step.about["digests"][1]["weights"] = "0"
    step.save(tmp_path / "other.npz")
    done = call_experiment("bisect", kept_run, tmp_path / "other.npz", f"--output_dir={tmp_path}")
    assert "They part before step 5: replay step 4 where the run of the file is" in done.stdout


def test_a_run_never_parts_from_itself(kept_run, call_experiment, tmp_path):
    same = call_experiment("bisect", kept_run, kept_run, f"--output_dir={tmp_path}")
    assert same.returncode == 0, same.stdout + same.stderr
    assert "digests: the same up to step 10" in same.stdout
    assert "They are the same in all that both have" in same.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["parted"] is False and summary["step"] is None
    copy = tmp_path / "copy"
    shutil.copytree(kept_run, copy)
    lines = (copy / "digests.csv").read_text().splitlines(keepends=True)
    (copy / "digests.csv").write_text("".join(lines[:3]))  # what is behind, the checkpoints tell
    other = call_experiment("bisect", kept_run, copy, f"--output_dir={tmp_path}")
    said = "digests: the same up to step 3, the last that both have\ncheckpoints: the same up to"
    assert f"{said} step 10, " in other.stdout
    (copy / "digests.csv").unlink()
    same = call_experiment("bisect", kept_run, copy, f"--output_dir={tmp_path}")
    assert "checkpoints: the same up to step 10, the last that both have" in same.stdout
    for folder in ("last", "kept"):
        shutil.rmtree(copy / "checkpoints" / folder)
    none = call_experiment("bisect", kept_run, copy, f"--output_dir={tmp_path}")
    assert none.returncode == 1 and "give --until=STEP" in none.stderr
    words = call_experiment("bisect", kept_run, f"--output_dir={tmp_path}")
    assert words.returncode == 1 and "Give two runs" in words.stderr


@pytest.mark.slow
def test_a_run_that_was_resumed_with_other_epochs(kept_run, call_experiment, tmp_path):
    """Its steps had the rates of their time; where there is no checkpoint of the change, the way
    leads through both. And bisect names the rate."""
    run = tmp_path / "run"
    shutil.copytree(kept_run, run)
    done = call_experiment("train", f"--output_dir={run}", "--resume", "--epochs=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert RunDirectory(run).epochs_from(8) == {8: 4, 10: 6}
    assert RunDirectory(run).epochs_from(12) == {12: 6}
    for file in (run / "checkpoints").rglob("ckpt-1[02]*"):
        file.unlink()
    done = call_experiment(
        "replay", f"--checkpoint={run}", "--step=11", "--pictures=0", f"--output_dir={tmp_path}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "begins at the checkpoint of step 8: 3 steps to step 11" in done.stdout
    assert "the run's step, to the bit: the weights before step 12" in done.stdout
    fork = tmp_path / "fork"
    done = call_experiment("train", f"--fork={kept_run}@8", f"--output_dir={fork}", "--epochs=5")
    assert done.returncode == 0, done.stdout + done.stderr
    done = call_experiment("bisect", kept_run, fork, f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "They part at step 8, in the learning rate (learning_rate)." in done.stdout
